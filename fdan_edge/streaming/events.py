"""What a stream tells. Times are seconds of sound since its start, lost sound included. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

#: The label of what no class is sure enough of.
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Speech:
    """Somebody has begun to speak."""

    time: float
    type: str = field(default="speech", init=False)


@dataclass(frozen=True)
class Result:
    """What the last seconds of speech sound like: at each hop while somebody speaks, and once at the end of it."""

    time: float  # the last sample that was heard
    start: float  # the first sample that was heard
    label: str  # of the model's labels, or UNKNOWN
    confidence: float  # probability of `label`; of the likeliest where that is UNKNOWN
    probabilities: dict[str, float]  # smoothed
    raw: dict[str, float]  # of this window alone
    final: bool = False  # the one at the end, told once the pause is long enough to be one
    latency: float | None = field(default=None, compare=False)  # s from the last sample's arrival, where known
    type: str = field(default="result", init=False)


@dataclass(frozen=True)
class Segment:
    """A stretch of speech under one label, told when it ends."""

    start: float
    end: float
    label: str
    confidence: float  # mean probability of `label`; of the likeliest where that is UNKNOWN
    probabilities: dict[str, float]  # mean of the smoothed ones
    type: str = field(default="segment", init=False)


@dataclass(frozen=True)
class Silence:
    """The speaking has stopped: `time` is where, told a pause later."""

    time: float
    type: str = field(default="silence", init=False)


@dataclass(frozen=True)
class Lost:
    """Sound that was not heard: its source dropped it, or the machine is too slow for it."""

    time: float  # where it would have begun
    seconds: float
    reason: str
    type: str = field(default="lost", init=False)


@dataclass(frozen=True)
class Ended:
    """Nothing more comes."""

    time: float
    reason: str
    type: str = field(default="ended", init=False)


Event: TypeAlias = Speech | Result | Segment | Silence | Lost | Ended


def to_dict(event: Event) -> dict[str, Any]:
    """Plain values for JSON, `type` first; times in ms, probabilities in 1e-6."""
    values = {"type": event.type, **vars(event)}
    if values.get("latency", 0) is None:
        del values["latency"]
    return {name: _rounded(name, value) for name, value in values.items()}


def _rounded(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {label: round(p, 6) for label, p in value.items()}
    return round(value, 6 if name in ("confidence", "latency") else 3) if isinstance(value, float) else value
