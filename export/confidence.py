"""Below which confidence a stream says that it does not know: where the model is as often wrong as right."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from fdan_edge.export.material import Material

#: Where nothing can be fitted; and never more, or a stream would say nothing at all.
USUAL, HIGHEST = 0.5, 0.9
_SMALLEST = 1e-6  # distance of a confidence from 0 and 1, whose logits are no numbers


def unknown_below(material: Material) -> dict[str, Any]:
    """The confidence for the spec's `info`, from the recordings of the run's validation part.

    Like its temperature: the best epoch was chosen on them too, so they flatter the model a little.
    """
    if not material.has_validation:  # what the model was trained on says nothing of how sure it may be
        return _usual("no recording of the validation part is at hand")
    held = material.validation
    if held.truth != "the labels":
        return _usual("the validation part has no labels of the model's classes")
    return fit(held.expected, np.array(held.true))


def fit(probabilities: NDArray[np.float32], labels: NDArray[np.integer[Any]]) -> dict[str, Any]:
    """The confidence c at which P(right | c), logistic in ln(c / (1 - c)), is one half (Platt 1999).

    Args:
        probabilities: of recordings, (n, C).
        labels: their classes, (n,).

    Returns:
        confidence, within 1 / C and `HIGHEST`; recordings; covered: share of them at or above it; accuracy: share
        of these that are recognised rightly. Where nothing can be fitted: `USUAL`, with a note that says why.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    if right.all() or not right.any():
        return _usual(f"all of {len(right)} recordings are {'right' if right.all() else 'wrong'}")
    inside = np.clip(confidence.astype(np.float64), _SMALLEST, 1 - _SMALLEST)
    logits = np.log(inside / (1 - inside))[:, None]
    fitted = LogisticRegression(C=100.0).fit(logits, right)
    slope, offset = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    if slope <= 0:
        return _usual("the sure answers are not more often right than the others")
    limit = float(np.clip(1 / (1 + np.exp(offset / slope)), 1 / probabilities.shape[1], HIGHEST))
    sure = confidence >= limit
    return {
        "confidence": round(limit, 4),
        "recordings": len(right),
        "covered": round(float(sure.mean()), 4),
        "accuracy": round(float(right[sure].mean()), 4) if sure.any() else None,
    }


def _usual(note: str) -> dict[str, Any]:
    return {"confidence": USUAL, "note": note}
