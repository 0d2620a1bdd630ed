"""Carry out `fdan-edge demo`: the whole job on the synthetic corpus."""

from __future__ import annotations

import logging
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

from rich.text import Text

from fdan_edge.cli.render import bench as show_bench
from fdan_edge.cli.render.console import out
from fdan_edge.cli.render.scores import interval_line, score_line
from fdan_edge.config import Config
from fdan_edge.data.corpora import Source
from fdan_edge.data.corpora.synthetic.corpus import cache_folder
from fdan_edge.errors import ConfigError, DataError, MissingDependencyError
from fdan_edge.export.pipeline import export_bundle
from fdan_edge.export.plan import installed_target
from fdan_edge.models.backbones.weights import load_weights
from fdan_edge.profiling.bench import Latency, Plan, bench, chosen
from fdan_edge.runs.run_folder import load_run
from fdan_edge.runtime.bundle import Bundle
from fdan_edge.runtime.opening import open_runner
from fdan_edge.runtime.recognition import Recognition, recognize_file
from fdan_edge.training.run import TrainingResult, train

log = logging.getLogger(__name__)

#: Small enough for minutes on two cores.
DEMO = Config(
    backbone="mobilenet_v2", epochs=8, batch_size=16, face_batch_size=16, n_mels=64, hop=512, face_size=48
)


def run_demo(folder: Path) -> None:
    """Train, score, export, run and time; ends with a summary."""
    start = time.perf_counter()
    run = folder / "run"
    remove_earlier_run(run)
    synthetic = [Source("synthetic", None)]
    log.info("1/4  training FDAN on synthetic voices and faces")
    result = train(_with_weights(DEMO), synthetic, run, faces=synthetic)
    log.info("2/4  exporting the acoustic path, and checking it against PyTorch")
    bundle = export_bundle(run, folder / "bundle", targets=["cpu", *_installed_target()], precisions=["fp32"])
    log.info("3/4  naming the emotion in voices of speakers that were held out")
    recognitions = _recognize(bundle.path)
    log.info("4/4  timing it")
    onnx, eager = chosen(str(bundle.path), ["onnxruntime-cpu"])[0], chosen(str(run))[0]
    with onnx.open() as first, eager.open() as second:
        rows = [timed.row for timed in bench([(onnx, first), (eager, second)], Plan(runs=30, starts=1))]
    _summary(result, bundle, recognitions, rows, time.perf_counter() - start)


def remove_earlier_run(run: Path) -> None:
    """Remove the run of an earlier demo.

    Raises:
        DataError: something else is there.
    """
    if not run.exists():
        return
    if not (run / "run.toml").is_file():
        raise DataError(f"{run}: exists and is not a run; name another --out")
    if load_run(run)[1].speech != ["synthetic:"]:
        raise DataError(f"{run}: holds a training on speech that is not the demo's; name another --out")
    shutil.rmtree(run)


def _with_weights(config: Config) -> Config:
    """Take ImageNet weights where they are at hand or can be downloaded; random ones learn more slowly."""
    try:
        load_weights(config.backbone, config.weights)
    except ConfigError as error:
        log.warning(f"starting from random weights: {error}")
        return replace(config, weights="none", epochs=2 * config.epochs)
    return config


def _installed_target() -> list[str]:
    try:
        return [installed_target().name]
    except MissingDependencyError as error:
        log.warning(f"no engine: {error}")
        return []


def _recognize(bundle: Path) -> list[Recognition]:
    """Recognise one recording of each class by the last speaker, whom the split holds out."""
    speaker = sorted(path for path in (cache_folder() / "speech").iterdir() if path.is_dir())[-1]
    with open_runner(bundle) as runner:
        return [recognize_file(runner, path) for path in sorted(speaker.glob("*-00.flac"))]


def _summary(
    result: TrainingResult, bundle: Bundle, recognitions: list[Recognition], rows: list[Latency], seconds: float
) -> None:
    test = result.metrics["test"]
    chance = 100 / len(test["labels"])
    out.rule("fdan-edge demo")
    heard = f"voices of 2 speakers never heard in training (synthetic; chance is {chance:.0f} %)"
    out.print(Text.assemble(("Scores", "bold"), f" on {heard}"))
    out.print(f"  {score_line(test)}\n  {interval_line(test)}\n  ({test['intervals']['note']})")
    out.print(Text.assemble(("\nHeard", "bold"), " by the exported model"))
    for recognition in recognitions:
        assert recognition.path
        true = recognition.path.name.partition("-")[0]
        mark = "right" if true == recognition.emotion else "wrong"
        out.print(
            f"  {true:<9} recognised as {recognition.emotion:<9} {100 * recognition.confidence:>3.0f} %  {mark}"
        )
    out.print(Text.assemble(("\nLatency", "bold"), ", 3 s of audio to probabilities"))
    out.print(show_bench.latency_table(rows))
    gate = bundle.artifacts[0].gate
    assert gate is not None  # every export is checked
    out.print(Text.assemble(("\nCheck", "bold"), f" of the export: {gate.line}"))
    out.print("\nFiles", style="bold")
    for path in sorted(bundle.path.iterdir()):
        out.print(f"  {path}  {path.stat().st_size / 1e6:.2f} MB", markup=False)
    out.print(f"  {result.folder / 'metrics.json'}, {result.folder / 'confusion.png'}", markup=False)
    example = recognitions[0].path
    out.print(f"\nDone in {seconds:.0f} s. Next, with the voice of your choice:")
    out.print(f"  {sys.argv[0]} infer {bundle.path} {example}", markup=False)
