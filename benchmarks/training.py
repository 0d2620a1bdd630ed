"""Training, measured: our step against the authors' recipe, and what a training survives and takes.

    python benchmarks/training.py --speech ravdess:../shared/data/ravdess --faces fer2013:../shared/data/fer2013
    python benchmarks/training.py --only steps --backbones mobilenet_v2 resnet34 --steps 5 --rounds 3

Sections, of which `--only` chooses some; what an earlier run wrote of the others stays in the result:

    steps    samples/s at 224x224, batch 32+32: authors_recipe.py, our training loop, and our two backbones alone.
             Each way is a fresh process, by turns with the others for `--rounds` rounds; medians are compared.
             On a GPU ours and the backbones in several precisions and modes of torch.compile.
    resume   a small training killed at random moments with SIGKILL, against one that was left alone
    start    seconds from the command to the first step, with a warm cache
    epoch    seconds of an epoch of mobilenet_v2, faces at 48x48: all trained, and the first stages frozen
    scaling  the same with 1 and with 2 processes of one thread

Without `--speech` and `--faces` the project's own synthetic corpus is used.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
import training_runs as runs
from sources import absolute_source
from training_steps import WAYS, Measure

from fdan_edge.utils import messages
from fdan_edge.utils.files import write_json
from fdan_edge.utils.machine import busy_warning, machine_info

HERE = Path(__file__).resolve().parent
SECTIONS = ("steps", "resume", "start", "epoch", "scaling")
#: Of ours and the ceiling on a GPU: precision and mode of torch.compile.
ON_GPU = (("fp32", "none"), ("bf16", "none"), ("bf16", "default"), ("bf16", "reduce-overhead"))
CPU_TARGET, GPU_TARGET, SHARE_TARGET = 2.0, 10.0, 0.6

Say = Callable[[str], None]


def main(argv: Sequence[str] | None = None) -> None:
    arguments = _arguments(argv)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    out = arguments.out or HERE / "results" / f"training-{'gpu' if device == 'cuda' else 'cpu'}.json"
    result: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}

    def keep(name: str, made: dict[str, Any], *, unfinished: bool = False) -> None:
        if unfinished and not arguments.out:  # what is published is not mixed with what may be stopped
            return
        origin = {"date": datetime.now(timezone.utc).isoformat(timespec="seconds"), "machine": machine_info()}
        corpora = {name: getattr(arguments, name).partition(":")[0] for name in ("speech", "faces")}
        result.pop(f"unfinished {name}", None)
        result[f"unfinished {name}" if unfinished else name] = {**made, **origin, **corpora}
        write_json(out, result)

    sections: dict[str, Callable[[], dict[str, Any]]] = {
        "steps": lambda: steps(arguments, device, _say, lambda made: keep("steps", made, unfinished=True)),
        "resume": lambda: runs.resume(arguments.kills, _say),
        "start": lambda: runs.start(arguments.speech, arguments.faces, arguments.rounds, _say),
        "epoch": lambda: runs.epoch(arguments.speech, arguments.faces, _say),
        "scaling": lambda: runs.scaling(arguments.speech, arguments.faces, _say),
    }
    for name in arguments.only:
        _say(f"{name} ... {busy_warning()}")
        keep(name, sections[name]())
    print("\n".join(["", *table(result)]))


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--speech", type=absolute_source, default="synthetic:", help="corpus:path")
    add("--faces", type=absolute_source, default="synthetic:", help="corpus:path")
    add("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    add("--backbones", nargs="+", default=["mobilenet_v2"], help="e.g. mobilenet_v2 resnet34")
    add("--ways", nargs="+", choices=WAYS, default=[way for way in WAYS if way != "pictures"])
    add("--steps", type=int, default=0, help="timed in a process (default: 3, on a GPU 32)")
    add("--rounds", type=int, default=2, help="processes of each way")
    add("--batch", type=int, default=32, help="voices, and as many faces")
    add("--threads", type=int, default=0, help="of torch; 0: as torch chooses")
    add("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="of ours")
    add("--kills", type=int, default=2)
    add("--out", type=Path, help="default: benchmarks/results/training-cpu.json, or -gpu")
    return parser.parse_args(argv)


def _say(text: str) -> None:
    print(f"{datetime.now():%H:%M:%S} {text}", flush=True)


def steps(
    arguments: argparse.Namespace, device: str, say: Say, keep: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Every way of every backbone, a process each, in rounds; and what that is in ratios.

    `keep` gets what there is after each process: a run that is stopped leaves it.
    """
    count = arguments.steps or (32 if device == "cuda" else 3)
    made: dict[str, Any] = {"batch": arguments.batch, "steps": count, "device": device, "torch": torch.__version__}
    made |= {"gpu": torch.cuda.get_device_name()} if device == "cuda" else {}
    for backbone in arguments.backbones:
        measures = {
            name: Measure(
                way,
                backbone,
                arguments.speech,
                arguments.faces,
                count,
                warm_up=12 if device == "cuda" else 1,  # a GPU's first steps compile, and find their algorithms
                batch=arguments.batch,
                threads=arguments.threads,
                settings=[*arguments.settings, *own],
            )
            for name, way, own in variants(arguments.ways, device)
        }
        rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in measures}
        for turn in range(arguments.rounds):
            for name, measure in measures.items():
                got = in_a_process(measure)
                rounds[name].append(got)
                told = got.get("error") or f"{got['ms']:.0f} ms, {got['samples_per_second']:.1f} samples/s"
                say(f"{backbone}, {name}, round {turn + 1} of {arguments.rounds}: {told}")
                made.setdefault("backbones", {})[backbone] = compared(rounds, device)
                keep(made)
    return made


def variants(ways: Sequence[str], device: str) -> list[tuple[str, str, list[str]]]:
    """(name, way, settings) of all that is timed: on a GPU, ours and its ceiling have several."""
    found: list[tuple[str, str, list[str]]] = []
    for way in ways:
        if device == "cuda" and way in ("ours", "ceiling"):
            found += [(f"{way} {p} {c}", way, [f"precision={p}", f"torch_compile={c}"]) for p, c in ON_GPU]
        else:
            found.append((way, way, []))
    return found


def in_a_process(measure: Measure) -> dict[str, Any]:
    """What it measured, or {"error": why it failed}."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(asdict(measure), file)
        file.flush()
        command = [sys.executable, str(HERE / "training_steps.py"), file.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:200]}
    made: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return made


def compared(rounds: dict[str, list[dict[str, Any]]], device: str) -> dict[str, Any]:
    """Medians of the rounds, and of each of ours the ratios that the targets are about.

    Args:
        rounds: name of a way -> what each round measured.
        device: cpu or cuda.
    """
    ways: dict[str, Any] = {}
    for name, made in rounds.items():
        good = [one for one in made if "error" not in one]
        if not good:
            ways[name] = {"error": made[-1]["error"] if made else "not run"}
            continue
        ways[name] = {
            "ms": statistics.median(one["ms"] for one in good),
            "samples_per_second": statistics.median(one["samples_per_second"] for one in good),
            "peak_mib": max(one.get("peak_mib", 0.0) for one in good),
            "rounds": made,
        }
    ratios = {name: _ratios(name, ways) for name in ways if name.startswith("ours") and "ms" in ways[name]}
    return {"ways": ways, "ratios": ratios, "targets": _targets(ratios, device)}


def _ratios(name: str, ways: dict[str, Any]) -> dict[str, float]:
    """Of one of ours: how many times as fast as each recipe, and its share of its own ceiling."""
    own = ways[name]["samples_per_second"]
    made = {
        f"times_{way}": own / ways[way]["samples_per_second"]
        for way in ("recipe", "pictures", "memory")
        if "ms" in ways.get(way, {})
    }
    limit = ways.get(name.replace("ours", "ceiling"), {})
    return made | ({"share_of_ceiling": own / limit["samples_per_second"]} if "ms" in limit else {})


def _targets(ratios: dict[str, dict[str, float]], device: str) -> list[dict[str, Any]]:
    """What was asked for, and whether the best of ours has it."""
    wanted = {"times_recipe": GPU_TARGET if device == "cuda" else CPU_TARGET}
    wanted |= {"share_of_ceiling": SHARE_TARGET} if device == "cuda" else {}
    found = []
    for what, least in wanted.items():
        reached = max((ratio[what] for ratio in ratios.values() if what in ratio), default=None)
        if reached is not None:
            found.append({"what": what, "least": least, "reached": reached, "met": reached >= least})
    return found


def table(result: dict[str, Any]) -> list[str]:
    """Markdown, and a line of each section."""
    lines: list[str] = []
    for backbone, made in result.get("steps", {}).get("backbones", {}).items():
        lines += _steps_table(backbone, made, result["steps"]["batch"])
    for name in SECTIONS[1:]:
        if name in result:
            lines += [f"{name}: {result[name].get('line', '')}"]
    return lines


def _steps_table(backbone: str, made: dict[str, Any], batch: int) -> list[str]:
    lines = [
        f"| {backbone}, {batch}+{batch} at 224x224 | ms per step | samples/s | times recipe | of the ceiling |",
        "|---|---|---|---|---|",
    ]
    for name, way in made["ways"].items():
        if "error" in way:
            lines.append(f"| {name} | {way['error']} | | | |")
            continue
        ratio = made["ratios"].get(name, {})
        times = f"{ratio['times_recipe']:.2f}" if "times_recipe" in ratio else ""
        share = f"{100 * ratio['share_of_ceiling']:.0f} %" if "share_of_ceiling" in ratio else ""
        lines.append(f"| {name} | {way['ms']:.1f} | {way['samples_per_second']:.1f} | {times} | {share} |")
    lines.append("")
    for target in made["targets"]:
        verdict = "met" if target["met"] else "not met"
        lines.append(f"{target['what']}: {target['reached']:.2f}, at least {target['least']:g} wanted: {verdict}")
    return [*lines, ""]


if __name__ == "__main__":
    with messages.shown():
        main()
