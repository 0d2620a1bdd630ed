"""The confidence below which a model is more often wrong than right, from recordings that are new to it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdan_edge.streaming.unknown_threshold import DEFAULT_THRESHOLD, ThresholdCurve

_SMALLEST = 1e-6  # distance of a confidence from 0 and 1, whose logits are no numbers


def fit_unknown(
    probabilities: NDArray[np.float32],
    labels: NDArray[np.integer[Any]],
    seconds: NDArray[np.floating[Any]],
    recordings: int,
    longest: float,
) -> dict[str, Any]:
    """Fit the confidence c at which P(right | c, s) is one half (Platt 1999).

    P is logistic in ln(c / (1 - c)) and ln(s).

    Args:
        probabilities: of recordings and of their beginnings, (n, C).
        labels: their classes, (n,).
        seconds: what was heard of them, (n,).
        recordings: how many of them, the first, are heard in full and are no copies.
        longest: seconds that the model hears at most.

    Returns:
        logit: offset and slope in ln(s) of the logit of that confidence, for `streaming.unknown_threshold`;
        confidence: after `longest`; recordings; covered: share of whole recordings at or above it; accuracy: share
        of these that are recognised rightly. Where nothing can be fitted: `DEFAULT_THRESHOLD`, with a note that
        says why.
    """
    from sklearn.linear_model import (
        LogisticRegression,  # a second, which a training would wait before its first step
    )

    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    if right.all() or not right.any():
        return usual_threshold(f"all of {recordings} recordings are {'right' if right.all() else 'wrong'}")
    inside = np.clip(confidence.astype(np.float64), _SMALLEST, 1 - _SMALLEST)
    known = np.stack([np.log(inside / (1 - inside)), np.log(seconds)], axis=1)
    fitted = LogisticRegression(C=100.0, tol=1e-8, max_iter=1000).fit(known, right)
    sureness, length = (float(value) for value in fitted.coef_[0])
    if sureness <= 0:
        return usual_threshold("the sure answers are not more often right than the others")
    logit = [round(-float(fitted.intercept_[0]) / sureness, 4), round(-length / sureness, 4)]
    doubt = ThresholdCurve(logit[0], logit[1], 1 / probabilities.shape[1], longest)
    limits = np.array([doubt(spoken) for spoken in seconds[:recordings]])
    sure, right = confidence[:recordings] >= limits, right[:recordings]
    return {
        "confidence": round(doubt(longest), 4),
        "logit": logit,
        "recordings": recordings,
        "covered": round(float(sure.mean()), 4),
        "accuracy": round(float(right[sure].mean()), 4) if sure.any() else None,
    }


def usual_threshold(note: str) -> dict[str, Any]:
    """Return the usual confidence, and why there is no better one."""
    return {"confidence": DEFAULT_THRESHOLD, "note": note}
