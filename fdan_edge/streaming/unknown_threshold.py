"""Below which confidence a stream says that it does not know. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeGuard

from fdan_edge.runtime.model_spec import ModelSpec

#: Where a model does not say: calibrated probabilities of whole recordings are right as often as wrong there.
DEFAULT_THRESHOLD = 0.5
MAX_THRESHOLD = 0.9  # above it a stream would say nothing at all


@dataclass(frozen=True)
class ThresholdCurve:
    """A confidence that depends on how much was heard: what is said of half a word is seldom right.

    Its logit is `offset` + `slope` ln(seconds), as `fdan_edge.export.unknown_threshold` fits it.
    """

    offset: float
    slope: float
    lowest: float  # 1 / classes
    longest: float  # s that the model hears at most

    def __call__(self, seconds: float) -> float:
        """The confidence after so many seconds of speech."""
        heard = min(max(seconds, 0.1), self.longest)
        confidence = 1 / (1 + math.exp(-(self.offset + self.slope * math.log(heard))))
        return min(max(confidence, self.lowest), MAX_THRESHOLD)


@dataclass(frozen=True)
class FixedThreshold:
    """The same confidence at any time."""

    confidence: float

    def __call__(self, seconds: float) -> float:  # noqa: ARG002
        """The confidence."""
        return self.confidence


def unknown_threshold(spec: ModelSpec, wanted: float | None = None) -> ThresholdCurve | FixedThreshold:
    """As wanted, else what the model's metadata say of it, else DEFAULT_THRESHOLD."""
    if wanted is not None:
        return FixedThreshold(wanted)
    own = spec.info.get("unknown_below")
    found: dict[str, Any] = own if isinstance(own, dict) else {}
    logit, confidence = found.get("logit"), found.get("confidence")
    if isinstance(logit, list) and len(logit) == 2 and all(_number(value) for value in logit):
        return ThresholdCurve(logit[0], logit[1], 1 / len(spec.labels), spec.window / spec.sample_rate)
    return (
        FixedThreshold(confidence)
        if _number(confidence) and 0 <= confidence <= 1
        else FixedThreshold(DEFAULT_THRESHOLD)
    )


def _number(value: Any) -> TypeGuard[float]:
    return type(value) in (int, float) and abs(value) < 100
