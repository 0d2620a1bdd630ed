"""What the verbs print for people; results go to standard output."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from fdan_edge.errors import AudioError

if TYPE_CHECKING:
    from fdan_edge.bench import Latency
    from fdan_edge.doctor import Finding
    from fdan_edge.evaluate import Evaluation
    from fdan_edge.export.pipeline import Exported
    from fdan_edge.infer import Recognition
    from fdan_edge.scan import Scan

out = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


def fitted(folder: Path, metrics: dict[str, Any]) -> None:
    """Scores of a training, and what to do next."""
    test, val = metrics["test"], metrics["val"]
    out.print(f"[bold]{metrics['method']}[/], {metrics['protocol']}")
    out.print(f"best epoch {metrics['best_epoch']}: validation UAR {100 * val['uar']:.1f} % (n = {val['n']})")
    out.print(scores(test))
    out.print(_recalls(test["recall"]))
    out.print(f"run folder {folder}: checkpoint.safetensors, metrics.json, epochs.jsonl, confusion.png")
    out.print(f"next: fdan-edge export {folder} --onnx --out bundles/{folder.name}")


def evaluation(done: Evaluation) -> None:
    """Scores with recalls and confusion matrix."""
    out.print(f"[bold]{done.part}[/]")
    out.print(scores(done.scores.to_dict()))
    out.print(_confusion(done.scores.labels, done.scores.confusion, done.scores.recall))
    if done.skipped:
        out.print(f"{done.skipped} recordings are of classes that the model does not know: not scored")
    for line in done.broken:
        errors.print(f"left out: {line}", markup=False)


def exported(made: Exported) -> None:
    """The files of a new bundle."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("file")
    table.add_column("MB", justify="right")
    for name, size in made.files.items():
        table.add_row(name, f"{size / 1e6:.2f}")
    out.print(f"[bold]bundle {made.folder}[/]")
    out.print(table)
    out.print(f"checked: {made.check.line()}", markup=False)
    out.print(f"next: fdan-edge infer {made.folder} FILE.wav")


def exported_dict(made: Exported) -> dict[str, Any]:
    """The same for programs."""
    engine = made.engine.to_dict() if made.engine else None
    return {"bundle": str(made.folder), "files": made.files, "check": made.check.to_dict(), "engine": engine}


class Recognitions:
    """Prints each result as soon as it is there: a row of a table, or a line of JSON."""

    def __init__(self, as_json: bool, names: Sequence[str]) -> None:
        self.as_json = as_json
        # What all names share says nothing: show them below their common folder.
        self.base = os.path.commonpath([str(Path(n).parent) for n in names]) if len(names) > 1 else ""
        self.width = max((len(self._short(n)) for n in names), default=4)
        if not as_json:
            if self.base:
                out.print(f"in {self.base}", markup=False)
            out.print(f"{'file':<{self.width}}  emotion   confidence  seconds", style="bold", markup=False)

    def result(self, recognition: Recognition) -> None:
        """One recognised file."""
        if self.as_json:
            out.out(json.dumps(recognition.to_dict(), ensure_ascii=False), highlight=False)
            return
        name = self._short(str(recognition.path))
        percent = f"{100 * recognition.confidence:.0f} %"
        out.out(
            f"{name:<{self.width}}  {recognition.emotion:<8}  {percent:>10}  {recognition.seconds:>7.2f}",
            highlight=False,
        )

    def error(self, path: Path, error: AudioError) -> None:
        """One file that could not be used."""
        if self.as_json:
            out.out(json.dumps({"path": str(path), "error": str(error)}, ensure_ascii=False), highlight=False)
        errors.print(f"error: {error}", markup=False)

    def _short(self, name: str) -> str:
        return os.path.relpath(name, self.base) if self.base else name


def latency(rows: Sequence[Latency]) -> None:
    """The latency table."""
    first = rows[0]
    out.print(latency_table(rows))
    heard = f"{first.seconds_of_audio:g} s of audio per call"
    out.print(f"{heard}, batch {first.batch}, {first.runs} calls each in turn; RTF: p50 over the audio's length")


def latency_table(rows: Sequence[Latency]) -> Table:
    """Rows of latencies as a table; the ratio is to the first row."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("target")
    table.add_column("runner")
    for name in ("p50 ms", "p95 ms", "p99 ms", "RTF", "cold start ms", "peak MiB", "ratio"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            row.target,
            row.runner,
            f"{row.p50:.1f}",
            f"{row.p95:.1f}",
            f"{row.p99:.1f}",
            f"{row.real_time_factor:.4f}",
            f"{row.cold_start:.0f}",
            f"{row.peak_memory_mib:.0f}",
            f"{row.p50 / rows[0].p50:.2f}",
        )
    return table


def findings(rows: Sequence[Finding]) -> None:
    """The doctor's report."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for row in rows:
        mark = "[green]yes[/]" if row.works else "[yellow]no[/]"
        table.add_row(mark, row.ability, row.detail.replace("[", "\\["))
    out.print(table)


def scans(found: Sequence[Scan]) -> None:
    """What corpora hold."""
    for one in found:
        hours = f", {one.hours:.2f} h" if one.modality == "speech" else ""
        out.print(f"[bold]{one.source}[/]: {one.items} {one.modality}{hours}, {len(one.speakers)} speakers")
        table = Table(box=None, padding=(0, 2, 0, 0))
        table.add_column("class")
        table.add_column(one.modality, justify="right")
        for name, count in one.classes.items():
            table.add_row(name, str(count))
        out.print(table)
        if one.speakers:
            per = [f"{name} {count}" for name, count in one.speakers.items()]
            out.print(f"per speaker: {', '.join(per)}")
        for line in one.broken:
            errors.print(f"broken: {line}", markup=False)


def scores(values: dict[str, Any]) -> str:
    """The papers' three scores on one line, from `Scores.to_dict()`."""
    uar, war, wf1 = (100 * float(values[k]) for k in ("uar", "war", "wf1"))
    return f"UAR {uar:.1f} %   WAR {war:.1f} %   w-F1 {wf1:.1f} %   (n = {values['n']})"


def _recalls(recall: dict[str, float]) -> str:
    return "recall: " + ", ".join(f"{name} {100 * value:.0f} %" for name, value in recall.items())


def _confusion(labels: list[str], counts: list[list[int]], recall: dict[str, float]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), caption="rows: true emotion, columns: recognised as")
    table.add_column("")
    for label in labels:
        table.add_column(label, justify="right")
    table.add_column("recall", justify="right")
    for label, row in zip(labels, counts, strict=True):
        share = f"{100 * recall[label]:.0f} %" if label in recall else "-"
        table.add_row(label, *[str(c) if c else "." for c in row], share)
    return table
