"""What `fdan-edge evaluate` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from fdan_edge.cli.render.console import errors, out
from fdan_edge.cli.render.scores import confusion_table, corpora_table, print_reliability, score_line
from fdan_edge.errors import INSTALL_VIDEO, printable

if TYPE_CHECKING:
    from fdan_edge.evaluation.robustness import Robustness
    from fdan_edge.evaluation.score_items import Evaluation


def evaluated(evaluation: Evaluation) -> None:
    """Print scores with recalls and confusion matrix."""
    out.print(evaluation.part, style="bold")
    values = evaluation.to_dict()
    out.print(score_line(values))
    print_reliability(values)
    out.print(confusion_table(evaluation.scores.labels, evaluation.scores.confusion))
    if "corpora" in values:
        out.print(corpora_table(values["corpora"]))
    out.print(f"audit: {evaluation.audit}")
    if evaluation.skipped:
        out.print(f"{evaluation.skipped} recordings are of classes that the model does not know: not scored")
    for line in evaluation.broken:
        errors.print(f"left out: {printable(line)}", markup=False)


def disturbed(scored: Robustness) -> None:
    """Print the scores under each condition."""
    out.print(scored.part, style="bold")
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("condition", no_wrap=True)
    for name in ("UAR %", "95 % interval", "change", "unknown %", "right %"):
        table.add_column(name, justify="right")
    for row in scored.rows:
        low, high = row.interval
        numbers = (f"{100 * row.uar:.1f}", f"{100 * low:.0f} to {100 * high:.0f}", f"{100 * row.change:+.1f}")
        right = "" if row.right is None else f"{100 * row.right:.1f}"
        table.add_row(row.condition, *numbers, f"{100 * row.unknown:.1f}", right)
    out.print(table)
    out.print(f"n = {scored.n}\n({scored.resampled})")
    out.print("change: against the same recordings as they are; right: of what is not unknown")
    out.print(f"audit: {scored.audit}")
    if scored.codecs_left_out:
        out.print(f"left out: {', '.join(scored.codecs_left_out)}; {INSTALL_VIDEO} encodes them")
    if scored.skipped:
        out.print(f"{scored.skipped} recordings are of classes that the model does not know: not scored")
    if scored.folder:
        out.print(f"written: {printable(scored.folder)}/robustness.json, .md, .png, .svg")
    for line in scored.broken:
        errors.print(f"left out: {printable(line)}", markup=False)
