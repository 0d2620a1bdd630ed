"""How scores are shown, whichever verb has them: a line, intervals, recalls, a confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from fdan_edge.cli.render.console import out
from fdan_edge.errors import printable


def score_line(values: dict[str, Any]) -> str:
    """Write the papers' three scores on one line, from `Scores.to_dict()`."""
    uar, war, wf1 = (100 * float(values[k]) for k in ("uar", "war", "wf1"))
    return f"UAR {uar:.1f} %   WAR {war:.1f} %   w-F1 {wf1:.1f} %   (n = {values['n']})"


def interval_line(values: dict[str, Any]) -> str:
    """Write the intervals of the three scores on one line, from `Evaluation.to_dict()`."""
    intervals = values["intervals"]
    named = {"UAR": "uar", "WAR": "war", "w-F1": "wf1"}
    ranges = ", ".join(f"{name} {_range(intervals[key], 1)}" for name, key in named.items())
    return f"{100 * intervals['level']:.0f} % intervals: {ranges} %"


def print_reliability(values: dict[str, Any]) -> None:
    """Print how sure the scores are, the recall of each class, and how sure the probabilities are."""
    intervals, calibration = values["intervals"], values["calibration"]
    out.print(f"{interval_line(values)}\n({intervals['note']})")
    out.print(_recall_table(values["recall"], intervals))
    out.print(f"probabilities: ECE {100 * calibration['ece']:.1f} %   NLL {calibration['nll']:.3f}")


def confusion_table(labels: list[str], counts: list[list[int]]) -> Table:
    """Lay out a confusion matrix, a row for each true class."""
    table = Table(box=None, padding=(0, 2, 0, 0), caption="rows: true emotion, columns: recognised as")
    table.add_column("")
    for label in labels:
        table.add_column(printable(label), justify="right")
    for label, row in zip(labels, counts, strict=True):
        table.add_row(printable(label), *[str(c) if c else "." for c in row])
    return table


def corpora_table(rows: list[dict[str, Any]]) -> Table:
    """Lay out the scores of several corpora: each with n, uar, war, intervals and, where they differ, classes."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("corpus")
    for name in ("classes", "n", "UAR", f"{100 * rows[0]['intervals']['level']:.0f} % interval", "WAR"):
        table.add_column(name, justify="right")
    for row in rows:
        numbers = (str(len(row["classes"])), str(row["n"]), f"{100 * row['uar']:.1f} %")
        interval = f"{_range(row['intervals']['uar'], 1)} %"
        table.add_row(printable(row["corpus"]), *numbers, interval, f"{100 * row['war']:.1f} %")
    return table


def _recall_table(recall: dict[str, float], intervals: dict[str, Any]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("class")
    table.add_column("recall", justify="right")
    table.add_column(f"{100 * intervals['level']:.0f} % interval", justify="right")
    for name, value in recall.items():
        table.add_row(printable(name), f"{100 * value:.0f} %", f"{_range(intervals['recall'][name], 0)} %")
    return table


def _range(interval: Sequence[float], digits: int) -> str:
    low, high = (f"{100 * edge:.{digits}f}" for edge in interval)
    return f"{low} to {high}"
