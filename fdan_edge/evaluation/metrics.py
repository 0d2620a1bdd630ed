"""The papers' scores: WAR, UAR and weighted F1."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Scores:
    """Scores of one set of predictions, as shares of 1."""

    n: int
    war: float  # weighted average recall: accuracy
    uar: float  # unweighted average recall over the classes that occur
    wf1: float  # F1 weighted by class size
    recall: dict[str, float]  # of each class that occurs
    confusion: list[list[int]]  # rows: true class, columns: predicted
    labels: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def line(self) -> str:
        """Format the three scores in percent, for people."""
        return (
            f"UAR {100 * self.uar:.1f} %  WAR {100 * self.war:.1f} %  w-F1 {100 * self.wf1:.1f} %  (n = {self.n})"
        )


def score(true: list[int], predicted: list[int], labels: list[str]) -> Scores:
    """Score predicted class indices against the true ones."""
    # A second to import, which a training would wait before its first step.
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

    present = sorted(set(true))
    recalls = recall_score(true, predicted, labels=present, average=None, zero_division=0.0)
    return Scores(
        n=len(true),
        war=float(accuracy_score(true, predicted)),
        uar=float(np.mean(recalls)),
        wf1=float(f1_score(true, predicted, average="weighted", zero_division=0.0)),
        recall={labels[c]: float(r) for c, r in zip(present, recalls, strict=True)},
        confusion=confusion_matrix(true, predicted, labels=range(len(labels))).tolist(),
        labels=list(labels),
    )


def information(probabilities: NDArray[np.floating[Any]]) -> float:
    """Compute the mutual information of recordings and predicted classes, in nats: H(mean p) - mean H(p).

    High where the model is sure of each recording and uses all classes. It needs no labels, and so can choose
    between models for a corpus that has none (Shi & Sha 2012, "Information-Theoretical Learning of Discriminative
    Clusters for Unsupervised Domain Adaptation").

    Args:
        probabilities: (n, C), rows that sum to 1.
    """
    from scipy.stats import entropy  # late, as sklearn is above

    value = float(entropy(probabilities.mean(axis=0)) - entropy(probabilities, axis=1).mean())
    return max(0.0, value)  # rounding may leave less
