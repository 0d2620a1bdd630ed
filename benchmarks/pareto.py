"""Accuracy against latency of trained runs in every precision: which models are worth choosing.

    python benchmarks/pareto.py RUN... --out benchmarks/results/pareto

Each run is exported for one target in each precision, and what passes the gate is scored on the run's test part,
with intervals by speaker, and timed, all in one run by turns. Writes OUT.json, OUT.md, OUT.png and OUT.svg.
Bundles are kept in --bundles: the same command again exports only what is not there yet.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np

from fdan_edge.data.corpora import parse_source
from fdan_edge.errors import FdanEdgeError
from fdan_edge.evaluation import plots
from fdan_edge.evaluation.confidence_intervals import Interval, percentiles, uar_draws
from fdan_edge.evaluation.predictions import Predictions
from fdan_edge.evaluation.score_items import Evaluation
from fdan_edge.evaluation.score_model import evaluate
from fdan_edge.profiling.bench import Latency, Plan, bench
from fdan_edge.runs.run_folder import load_model, load_run
from fdan_edge.runtime.bundle import MANIFEST, MODEL, Bundle
from fdan_edge.runtime.deploy_targets import TARGETS, find_target
from fdan_edge.runtime.opening import Variant, variants
from fdan_edge.utils import messages
from fdan_edge.utils.files import sha256, write_json, write_text
from fdan_edge.utils.machine import machine_info

log = logging.getLogger("fdan_edge.benchmarks")


@dataclass(frozen=True)
class Wanted:
    """One run in one precision."""

    run: Path
    precision: str
    folder: Path  # of its bundle

    @property
    def refusal(self) -> Path:
        """The file that says why there is no bundle."""
        return self.folder.with_name(f"{self.folder.name}.refused")


@dataclass(frozen=True)
class Row:
    """One file of one model."""

    name: str  # of the run
    backbone: str
    teacher: str  # its backbone; "": none
    log_mel: str  # bands x frames
    precision: str
    parameters: int
    megabytes: float
    milliseconds: float  # p50 of a call with one window
    p95: float
    peak_mib: float  # resident memory of a fresh process up to its first answer
    uar: float  # share of 1
    interval: Interval  # 95 %
    best: bool = False  # no other file is as fast and recognises more


def main() -> None:
    given = arguments()
    wanted = [
        Wanted(run, precision, given.bundles / f"{run.resolve().name}-{given.target}-{precision}")
        for run in given.runs
        for precision in given.precision or find_target(given.target).precisions
    ]
    for one in wanted:
        if not current(one):
            export(one, given.target)
    there = [one for one in wanted if current(one)]
    if not there:
        raise SystemExit("nothing passed its gate")
    said = [score(one) for one in there]
    times = timed([one.folder for one in there], given.calls, given.threads)
    rows = [row(*one) for one in zip(there, said, times, strict=True)]
    differences = compared(rows, [ordered(one.predictions) for one in said])
    refused = [one.refusal.read_text(encoding="utf-8").strip() for one in wanted if one not in there]
    write(given, marked(rows), differences, refused, said[0].intervals.note())


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="finished run folders, of one test part")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/pareto"))
    parser.add_argument("--target", choices=list(TARGETS), default="cpu")
    parser.add_argument("--precision", action="append", default=[], help="repeat for more; none: the target's")
    parser.add_argument("--bundles", type=Path, default=Path("bundles/pareto"), help="where they are kept")
    parser.add_argument("--calls", type=int, default=100, help="timed calls of each file")
    parser.add_argument("--threads", type=int, default=0, help="of the runtime; 0: all cores")
    return parser.parse_args()


def current(one: Wanted) -> bool:
    """Whether there is a bundle of these weights."""
    path = one.folder / MANIFEST
    if not path.is_file() or path.stat().st_mtime < (one.run / "checkpoint.safetensors").stat().st_mtime:
        return False
    return Bundle.open(one.folder).manifest.split_sha256 == sha256(one.run / "split.json")


def export(one: Wanted, target: str) -> None:
    """Make the bundle, or note why it was refused."""
    log.info(f"exporting {one.folder.name}")
    # Forced: whether int8 is faster is what the table says.
    options = ["--target", target, "--precision", one.precision, "--out", str(one.folder), "--force"]
    command = [sys.executable, "-m", "fdan_edge", "export", str(one.run), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    one.refusal.unlink(missing_ok=True)
    if not done.returncode:
        return
    last = done.stderr.strip().splitlines()[-1]
    if not last.startswith("error: "):  # not a refusal: something is broken
        raise SystemExit(done.stderr)
    write_text(one.refusal, f"{one.run.resolve().name} in {one.precision}: {last.removeprefix('error: ')}\n")
    log.info(last)


def score(one: Wanted) -> Evaluation:
    """What the bundle says of the run's test part."""
    return evaluate(one.folder, [parse_source(text) for text in load_run(one.run)[1].speech], "test", run=one.run)


def timed(bundles: Sequence[Path], calls: int, threads: int) -> list[Latency]:
    """The times of each bundle, measured by turns."""
    with ExitStack() as stack:
        opened = [(one, stack.enter_context(one.open(threads))) for one in map(first_choice, bundles)]
        return [one.row for one in bench(opened, Plan(calls, threads=threads))]


def first_choice(folder: Path) -> Variant:
    """How a bundle of one file runs here."""
    found = variants(str(folder))
    if not found:
        raise FdanEdgeError(f"{folder}: nothing in it runs on this machine")
    return found[0]


def row(one: Wanted, said: Evaluation, times: Latency) -> Row:
    """All that is known of one bundle."""
    path, config, info, _ = load_model(one.run)
    # Faces and what told corpora apart stay behind.
    left = [p for name, p in path.model.named_parameters() if not name.startswith(("visual.", "domain."))]
    return Row(
        name=one.run.resolve().name,
        backbone=config.backbone,
        teacher=info.teacher.get("backbone", ""),
        log_mel=f"{config.n_mels}x{config.frames}",
        precision=one.precision,
        parameters=sum(p.numel() for p in left),
        megabytes=(one.folder / MODEL).stat().st_size / 1e6,
        milliseconds=times.p50,
        p95=times.p95,
        peak_mib=times.start.peak_mib if times.start else float("nan"),
        uar=said.scores.uar,
        interval=said.intervals.uar,
    )


def marked(rows: list[Row]) -> list[Row]:
    """The rows from fast to slow, those marked that nothing as fast is better than."""
    made, top = [], -1.0
    for one in sorted(rows, key=lambda one: (one.milliseconds, -one.uar)):
        made.append(replace(one, best=one.uar > top))
        top = max(top, one.uar)
    return made


def ordered(said: Predictions) -> Predictions:
    """By key, so that the draws of all models are of the same speakers."""
    return Predictions(said.labels, sorted(said.recordings, key=lambda one: one.key))


def compared(rows: list[Row], said: list[Predictions]) -> list[dict[str, Any]]:
    """UAR of each student less that of the same network without a teacher, in points, by draws of speakers."""
    made = []
    for own, heard in zip(rows, said, strict=True):
        for other, theirs in zip(rows, said, strict=True):
            alike = all(getattr(own, n) == getattr(other, n) for n in ("backbone", "log_mel", "precision"))
            if not (own.teacher and not other.teacher and alike):
                continue
            if [one.key for one in heard.recordings] != [one.key for one in theirs.recordings]:
                continue
            low, high = percentiles(np.round(100 * (draws(heard) - draws(theirs)), 9))
            names = {"student": own.name, "plain": other.name, "precision": own.precision}
            made.append({**names, "points": 100 * (own.uar - other.uar), "interval": [low, high]})
    return made


def draws(said: Predictions) -> np.ndarray:
    return uar_draws(said.true, said.recognized, said.labels, [one.speaker for one in said.recordings])


def write(
    given: argparse.Namespace, rows: list[Row], differences: list[dict[str, Any]], refused: list[str], note: str
) -> None:
    """The results as JSON, Markdown and pictures."""
    here = machine_info()
    threads = f"{given.threads} thread{'s' * (given.threads > 1)}" if given.threads else f"{here['cores']} cores"
    where = f"target {given.target}, {threads}"
    values = {
        "target": given.target,
        "machine": here,
        "threads": given.threads,
        "calls": given.calls,
        "note": note,
    }
    plain = {"rows": [asdict(one) for one in rows], "differences": differences, "refused": refused}
    write_json(Path(f"{given.out}.json"), json.loads(json.dumps({**values, **plain})))
    write_text(
        Path(f"{given.out}.md"),
        markdown(rows, differences, refused, f"{where} of {here['processor']}; UAR: {note}"),
    )
    points = [plots.Choice(one.name, one.precision, one.milliseconds, one.uar, one.interval) for one in rows]
    plots.trade_off(points, f"Waveform to probabilities, one window: {where}", given.out)


def markdown(rows: list[Row], differences: list[dict[str, Any]], refused: list[str], note: str) -> str:
    """The table from fast to slow, and what distillation gave."""
    heads = ("model", "teacher", "log-mel", "precision", "weights", "MB", "p50 ms", "p95 ms", "peak MiB", "UAR %")
    lines = [f"| {' | '.join(heads)} |", "|---|---|---|---|--:|--:|--:|--:|--:|---|"]
    for one in rows:
        mark = "**" if one.best else ""
        low, high = (100 * edge for edge in one.interval)
        cells = (
            f"{mark}{one.name}{mark}", one.teacher or "-", one.log_mel, one.precision,
            f"{one.parameters / 1e6:.2f} M", f"{one.megabytes:.2f}", f"{one.milliseconds:.1f}", f"{one.p95:.1f}",
            f"{one.peak_mib:.0f}", f"{mark}{100 * one.uar:.1f}{mark} ({low:.1f} to {high:.1f})",
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"Bold: nothing as fast recognises more. {note}."]
    if differences:
        lines += ["", "| student | against | precision | UAR, points |", "|---|---|---|---|"]
    for pair in differences:
        low, high = pair["interval"]
        points = f"{pair['points']:+.1f} ({low:+.1f} to {high:+.1f})"
        lines.append(f"| {pair['student']} | {pair['plain']} | {pair['precision']} | {points} |")
    lines += ["", *(f"- refused: {shorten(line, 240)}" for line in refused)] if refused else []
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    with messages.shown():
        main()
