"""The confidence below which the label of a result is "unknown". Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeGuard

from fdan_edge.runtime.model_spec import ModelSpec

#: For models that carry none: a label with this calibrated probability is right as often as wrong.
DEFAULT_THRESHOLD = 0.5
MAX_THRESHOLD = 0.9  # above it nearly every result would be unknown

#: Gives the confidence after so many seconds of speech.
Threshold: TypeAlias = Callable[[float], float]


@dataclass(frozen=True)
class ThresholdCurve:
    """A threshold that falls with the length of the speech: a label from half a word is seldom right.

    Its logit is `offset` + `slope` ln(seconds), as `fdan_edge.export.unknown_threshold` fits it.
    """

    offset: float
    slope: float
    lowest: float  # 1 / classes
    longest: float  # s of the model's window

    def __call__(self, seconds: float) -> float:
        """Return the confidence after so many seconds of speech."""
        length = min(max(seconds, 0.1), self.longest)
        confidence = 1 / (1 + math.exp(-(self.offset + self.slope * math.log(length))))
        return min(max(confidence, self.lowest), MAX_THRESHOLD)


@dataclass(frozen=True)
class FixedThreshold:
    """The same confidence for any length."""

    confidence: float

    def __call__(self, seconds: float) -> float:  # noqa: ARG002
        """Return the confidence."""
        return self.confidence


def unknown_threshold(spec: ModelSpec, wanted: float | None = None) -> ThresholdCurve | FixedThreshold:
    """Return the threshold that is wanted, else the one in the model's metadata, else DEFAULT_THRESHOLD."""
    if wanted is not None:
        return FixedThreshold(wanted)
    metadata = spec.info.get("unknown_below")
    own: dict[str, Any] = metadata if isinstance(metadata, dict) else {}
    logit, confidence = own.get("logit"), own.get("confidence")
    if isinstance(logit, list) and len(logit) == 2 and all(_is_number(value) for value in logit):
        return ThresholdCurve(logit[0], logit[1], 1 / len(spec.labels), spec.window / spec.sample_rate)
    if _is_number(confidence) and 0 <= confidence <= 1:
        return FixedThreshold(confidence)
    return FixedThreshold(DEFAULT_THRESHOLD)


def _is_number(value: Any) -> TypeGuard[float]:
    return type(value) in (int, float) and abs(value) < 100
