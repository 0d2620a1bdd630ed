"""Events of a stream. Times are seconds of sound since its start, lost sound included. Imports no torch.

An event is a frozen dataclass with the name of its type in `type`, and a member of `Event`. JSON, the server's
protocol and `infer --windows --json` take every member as it is. What shows events to people matches on each of
them and ends with `assert_never`, so that mypy names every place that does not know a new one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

#: The label where no class is sure enough.
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Speech:
    """Speech has begun."""

    time: float
    type: str = field(default="speech", init=False)


@dataclass(frozen=True)
class Result:
    """The emotion in the last seconds of speech: at each hop during speech, and once at its end."""

    time: float  # of the last sample of the window
    start: float  # of the first sample of the window
    label: str  # of the model's labels, or UNKNOWN
    confidence: float  # probability of `label`; of the likeliest where that is UNKNOWN
    probabilities: dict[str, float]  # smoothed
    raw: dict[str, float]  # of this window alone
    final: bool = False  # the one at the end of the speech, which waits until the pause is long enough to be one
    latency: float | None = field(default=None, compare=False)  # s from the last sample's arrival, where known
    type: str = field(default="result", init=False)


@dataclass(frozen=True)
class Segment:
    """A stretch of speech under one label; emitted when it ends."""

    start: float
    end: float
    label: str
    confidence: float  # mean probability of `label`; of the likeliest where that is UNKNOWN
    probabilities: dict[str, float]  # mean of the smoothed ones
    type: str = field(default="segment", init=False)


@dataclass(frozen=True)
class Silence:
    """Speech has ended at `time`; emitted once the pause is long enough to be one."""

    time: float
    type: str = field(default="silence", init=False)


@dataclass(frozen=True)
class Lost:
    """Sound is missing: its source dropped it, or the machine is too slow for it."""

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
    """Convert an event to plain values for JSON, `type` first; times in ms, probabilities in 1e-6."""
    values = {"type": event.type, **vars(event)}
    if values.get("latency", 0) is None:
        del values["latency"]
    return {name: _rounded(name, value) for name, value in values.items()}


def segments(events: Iterable[Event]) -> list[Segment]:
    """Return the segments among events, for what needs nothing else of a stream."""
    return [event for event in events if isinstance(event, Segment)]


def _rounded(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {label: round(p, 6) for label, p in value.items()}
    return round(value, 6 if name in ("confidence", "latency") else 3) if isinstance(value, float) else value
