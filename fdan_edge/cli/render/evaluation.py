"""What `fdan-edge evaluate` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fdan_edge.cli.render.console import errors, out
from fdan_edge.cli.render.scores import confusion_table, corpora_table, print_reliability, score_line
from fdan_edge.errors import printable

if TYPE_CHECKING:
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
