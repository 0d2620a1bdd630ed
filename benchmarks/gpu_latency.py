"""The acoustic path on a GPU, every way in the same run: 3 s of audio on the host to probabilities on the host.

    python benchmarks/gpu_latency.py --out benchmarks/results/latency-gpu.json
    python benchmarks/gpu_latency.py --targets RUN BUNDLE          # of your own model
    python benchmarks/gpu_latency.py --device cpu --runs 5         # the same on a processor: whether it works

PyTorch eager and compiled (CUDA graphs), ONNX Runtime on CUDA, TensorRT where it runs; fp32, fp16 and int8.
Without `--targets` networks with random weights are made and exported, which take as long as trained ones; they
pass no gate. What cannot run here is listed with the reason. The roofline estimate of each ONNX file is held
against the time between its copies.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from fdan_edge.config import Config
from fdan_edge.errors import FdanEdgeError, one_line
from fdan_edge.export.precision import CalibrationSet, lower
from fdan_edge.export.to_onnx import export_graph, with_front_end
from fdan_edge.models.fdan import Fdan, build_frontend
from fdan_edge.profiling.bench import Blocks, ratio_of, rounded, time_block
from fdan_edge.profiling.breakdown import breakdown
from fdan_edge.profiling.cards import Card, card_of
from fdan_edge.profiling.graph_cost import cost
from fdan_edge.profiling.roofline import calibrate, costs, estimate, is_fp32
from fdan_edge.runs import run_folder
from fdan_edge.runs.torch_runner import TorchRunner
from fdan_edge.runtime.bundle import new_bundle, write_manifest
from fdan_edge.runtime.deploy_targets import PRECISIONS, TARGETS
from fdan_edge.runtime.manifest import Artifact, Manifest
from fdan_edge.runtime.opening import Variant, variants
from fdan_edge.runtime.runner import Runner
from fdan_edge.runtime.runtime_choice import RUNTIMES, why_not
from fdan_edge.runtime.source import Source
from fdan_edge.runtime.tensorrt.engines import build_for
from fdan_edge.utils.files import write_json
from fdan_edge.utils.machine import machine_info

RATIO_TARGET = 0.15  # of PyTorch eager, in fp32, at batch 1
BATCHES = (1, 4, 16, 64)
ON_GPU = ("torch-cuda", "torch-compile", "onnxruntime-cuda", "tensorrt-rtx", "tensorrt")
ON_CPU = ("torch", "onnxruntime-cpu")
BLOCKS = 5
COMPILED = (1, 64)  # batch sizes of torch.compile, which takes a minute for each
CLASSES = ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]
#: Where artifacts are made for: TensorRT for RTX takes the same files as classic TensorRT.
MADE_FOR = {"cuda": ("cuda", "rtx"), "cpu": ("cpu",)}


@dataclass(frozen=True)
class Model:
    """One network, as a run folder and as a bundle of every precision."""

    name: str
    run: Path
    bundle: Path
    notes: list[str]  # what could not be made


def main(argv: Sequence[str] | None = None) -> None:
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("no CUDA GPU that this PyTorch can use; --device cpu times the processor")
    card = card_of(torch.cuda.get_device_name()) if arguments.device == "cuda" else calibrate()
    result: dict[str, Any] = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine_info(),
        "torch": torch.__version__,
        "device": arguments.device,
        "gpu": torch.cuda.get_device_name() if arguments.device == "cuda" else None,
        "card": card.name if card else None,
        "models": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        for model in models(arguments, Path(folder)):

            def keep(made: dict[str, Any], name: str = model.name) -> None:
                result["models"][name] = made
                if arguments.out:
                    write_json(arguments.out, result)

            measured(model, arguments, card, keep)
            print("\n".join(table(model.name, result["models"][model.name])), flush=True)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--device", choices=("cuda", "cpu"), default="cuda")
    add("--targets", nargs=2, metavar=("RUN", "BUNDLE"), help="of one model; else --backbones are made")
    add("--backbones", nargs="+", default=["mobilenet_v2", "resnet34"])
    add("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    add("--runtimes", nargs="+", choices=RUNTIMES, metavar="NAME", help="default: all of the device")
    add("--batches", nargs="+", type=_batch, default=list(BATCHES), metavar="N")
    add("--runs", type=int, default=200, help="timed calls of each way at each batch size")
    add("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="of the networks made")
    add("--out", type=Path, help="JSON")
    return parser


def models(arguments: argparse.Namespace, folder: Path) -> Iterator[Model]:
    """What is timed, made where it was not given."""
    if arguments.targets:
        run, made = map(Path, arguments.targets)
        yield Model(made.name, run, made, [])
        return
    for backbone in arguments.backbones:
        words = [f"backbone={backbone}", "weights=none", *arguments.settings]
        run = untrained(folder / backbone, words)
        notes = write_bundle(run, folder / f"{backbone}-bundle", MADE_FOR[arguments.device], arguments.precisions)
        yield Model(backbone, run, folder / f"{backbone}-bundle", notes)


def untrained(folder: Path, words: list[str]) -> Path:
    """A run folder with random weights."""
    config = Config.load(None, words)
    torch.manual_seed(0)
    model = Fdan(config, len(CLASSES), faces=False, pretrained=False)
    info = run_folder.RunInfo(CLASSES, [], [], "not trained", {})
    folder.mkdir()
    run_folder.save_run(folder, config, info)
    run_folder.save_tensors(folder / "checkpoint.safetensors", model.state_dict(), {"epoch": 0, "faces": False})
    return folder


def write_bundle(run: Path, out: Path, targets: Sequence[str], precisions: Sequence[str]) -> list[str]:
    """A bundle of an untrained run, calibrated on noise; gives what could not be made."""
    notes: list[str] = []
    entries, engines = [], []
    with TorchRunner(run) as runner, new_bundle(out) as folder:
        graph = export_graph(runner.path, runner.spec)
        lean = graph
        if {*precisions} - {"fp32"}:
            lean = with_front_end(graph, build_frontend(runner.config, exact=False), runner.spec.window)
        heard = noise(np.random.default_rng(0), 8, runner)
        for precision in precisions:
            file = folder / ("model.onnx" if precision == "fp32" else f"model.{precision}.onnx")
            target = TARGETS[targets[0]]
            if precision not in target.precisions:
                continue
            made = lower(
                graph if precision == "fp32" else lean, file, target, precision, CalibrationSet(heard, heard)
            )
            count = cost(onnx.load(str(file)))
            entries.append(Artifact(file.name, precision, made.format, tuple(targets), made.opset, cost=count))
            for name in targets:
                if not TARGETS[name].engine:
                    continue
                try:
                    built, notes_of_file = build_for(TARGETS[name], file, precision)
                except FdanEdgeError as error:
                    built, notes_of_file = [], [one_line(error)]
                engines += [engine.listed(file.name, name) for engine in built]
                notes += [f"{file.name}, target {name}: {note}" for note in notes_of_file]
        manifest = Manifest(spec=runner.spec, artifacts=tuple(entries), engines=tuple(engines))
        write_manifest(folder, manifest)
    return notes


def measured(
    model: Model, arguments: argparse.Namespace, card: Card | None, keep: Callable[[dict[str, Any]], None]
) -> None:
    """Rows of every way at every batch size, the verdict on the target, and how far the estimates are off.

    `keep` gets what there is after each batch size: a run that is stopped leaves it. What takes a minute to
    compile comes last.
    """
    wanted = arguments.runtimes or (ON_GPU if arguments.device == "cuda" else ON_CPU)
    left_out, rows = [*model.notes], list[dict[str, Any]]()
    with ExitStack() as stack:
        ways = opened(model, wanted, stack, left_out)
        slow = [way for way in ways if way[0].runtime == "torch-compile"]
        quick = [way for way in ways if way not in slow]
        eager = [way for way in quick if is_eager(way[0])]
        turns = [(quick, batch) for batch in arguments.batches]
        turns += [([*eager, *slow], batch) for batch in arguments.batches if slow and batch in COMPILED]
        for some, batch in turns:
            made = at_batch(some, batch, arguments.runs, left_out)
            rows += [row for row in made if some is quick or row["runtime"] == "torch-compile"]
            checks = estimated(rows, model.bundle, card) if card else []
            keep({"rows": rounded(rows), "left_out": left_out, **verdict(rows), "estimates": rounded(checks)})


def is_eager(variant: Variant) -> bool:
    """Whether it is what the others are compared with."""
    return variant.runtime in ("torch", "torch-cuda") and variant.precision == "fp32"


def opened(
    model: Model, wanted: Sequence[str], stack: ExitStack, left_out: list[str]
) -> list[tuple[Variant, Runner]]:
    """Everything that runs here, open; PyTorch eager in fp32, which the others are compared with, first."""
    found = [v for target in (model.run, model.bundle) for v in variants(target) if v.runtime in wanted]
    found.sort(key=lambda v: (not v.runtime.startswith("torch"), v.runtime == "torch-compile"))
    for runtime in wanted:
        if not any(variant.runtime == runtime for variant in found):
            reason = None if runtime.startswith("torch") else why_not(Source.open(model.bundle), runtime)
            left_out.append(f"{runtime}: {reason or 'nothing that it could run'}")
    ways = []
    for variant in found:
        try:
            ways.append((variant, stack.enter_context(variant.open())))
        except FdanEdgeError as error:
            left_out.append(f"{variant.precision} by {variant.runtime}: {one_line(error)}")
    return ways


def at_batch(
    ways: Sequence[tuple[Variant, Runner]], batch: int, runs: int, left_out: list[str]
) -> list[dict[str, Any]]:
    """Time every way at a batch size, in turn by blocks; one that fails is listed, and the others go on."""
    chance = np.random.default_rng(0)
    timed: list[tuple[Variant, Runner, Blocks]] = [(*way, []) for way in ways]
    for _ in range(BLOCKS):
        for one in list(timed):
            variant, runner, blocks = one
            try:
                blocks.append(time_block(runner, noise(chance, batch, runner), max(runs // BLOCKS, 1)))
            except Exception as error:  # of any runtime
                timed.remove(one)
                left_out.append(
                    f"{variant.precision} by {variant.runtime}, batch {batch}: {one_line(error)[:200]}"
                )
    eager = next((blocks for variant, _, blocks in timed if is_eager(variant)), None)
    return [row(variant, runner, blocks, batch, eager) for variant, runner, blocks in timed]


def noise(chance: np.random.Generator, count: int, runner: Runner) -> NDArray[np.float32]:
    """Windows that a runner takes."""
    return (0.1 * chance.standard_normal((count, runner.spec.window))).astype(np.float32)


def row(variant: Variant, runner: Runner, blocks: Blocks, batch: int, eager: Blocks | None) -> dict[str, Any]:
    """Milliseconds from host to host, and by part where the runner tells; the ratio is to PyTorch eager."""
    windows = noise(np.random.default_rng(0), batch, runner)
    milliseconds = 1000 * np.concatenate([np.asarray(block) for block in blocks])
    p50, p95, p99 = (float(v) for v in np.percentile(milliseconds, [50, 95, 99]))
    ratio = ratio_of(blocks, eager) if eager else None
    return {
        "artifact": variant.artifact,
        "precision": variant.precision,
        "runtime": variant.runtime,
        "batch": batch,
        "calls": len(milliseconds),
        "p50": p50,
        "p95": p95,
        "p99": p99,
        "min": float(milliseconds.min()),
        "windows_per_second": 1000 * batch / p50,
        "ratio": [ratio.value, ratio.low, ratio.high] if ratio else None,
        "parts": breakdown(variant, runner, windows, p50),
    }


def verdict(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The best way at batch 1 that is not PyTorch's, as a share of PyTorch eager's time."""
    others = [r for r in rows if r["batch"] == 1 and r["ratio"] and not r["runtime"].startswith("torch")]
    if not others:
        return {"best": None, "met": None}
    best = min(others, key=lambda one: float(one["p50"]))
    way = f"{best['precision']} by {best['runtime']}"
    return {"best": {"way": way, "ratio": round(best["ratio"][0], 4)}, "met": best["ratio"][0] <= RATIO_TARGET}


def estimated(rows: Sequence[dict[str, Any]], target: Path, card: Card) -> list[dict[str, Any]]:
    """Rooflines of the ONNX files beside what was measured: estimate over measured, below 1 is too fast."""
    found = []
    counted = costs(target)
    for one in rows:
        known = counted.get(one["artifact"])
        if known is None or (not card.fuses and not is_fp32(known)):  # this processor's one peak is of fp32
            continue
        made = estimate(known, card, artifact=one["artifact"], batch=one["batch"])
        clock = one["parts"].get("compute", one["min"])
        names = ("artifact", "precision", "runtime", "batch")
        told = {"estimate": made.total, "measured": clock, "share": made.total / clock, "bound": made.bound}
        found.append({**{name: one[name] for name in names}, **told})
    return found


def table(name: str, made: dict[str, Any]) -> list[str]:
    """For the terminal."""
    head = f"{name + ', ms':<34} {'batch':>5} {'p50':>9} {'p95':>9} {'p99':>9} {'of eager':>9}"
    lines = [f"{head} {'compute':>9} {'roofline':>9}"]
    checks = {(e["artifact"], e["runtime"], e["batch"]): e for e in made["estimates"]}
    for one in made["rows"]:
        way = f"{one['precision']} {one['runtime']}"
        check = checks.get((one["artifact"], one["runtime"], one["batch"]))
        told = [f"{check[key]:.3f}" for key in ("measured", "estimate")] if check else ["", ""]
        ratio = f"{one['ratio'][0]:.3f}" if one["ratio"] else "-"
        cells = [*(f"{one[key]:.3f}" for key in ("p50", "p95", "p99")), ratio, *told]
        lines.append(f"{way:<34} {one['batch']:>5} " + " ".join(f"{cell:>9}" for cell in cells))
    if checks:
        lines.append(
            "  compute: between the copies, on a processor the fastest call; roofline: estimate of the same"
        )
    lines += [f"  not run: {line}" for line in made["left_out"]]
    if made["best"]:
        told_of = "met" if made["met"] else "not met"
        lines.append(
            f"  best at batch 1: {made['best']['way']}, {made['best']['ratio']:.3f} of PyTorch eager; "
            f"at most {RATIO_TARGET:g} wanted: {told_of}"
        )
    return lines


def _batch(word: str) -> int:
    """A `type` of argparse."""
    if not word.isdecimal() or not int(word):
        raise argparse.ArgumentTypeError(f"{word!r} is not a number of windows; valid: 1 or more")
    return int(word)


if __name__ == "__main__":
    try:
        main()
    except FdanEdgeError as error:
        sys.exit(f"error: {one_line(error)}")
