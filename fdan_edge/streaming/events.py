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
class InputWarning:
    """The sound that comes in is of little use; emitted when that begins, and again only after it has ended."""

    time: float  # when it was noticed: the last seconds before show it
    problem: str  # TOO_QUIET, CLIPPED, ONLY_DC, NO_SIGNAL or INTEGERS
    value: float  # what was measured; see `describe`
    type: str = field(default="warning", init=False)


TOO_QUIET, CLIPPED, ONLY_DC, NO_SIGNAL = "too quiet", "clipped", "only DC", "no signal"
INTEGERS = "integers"


@dataclass(frozen=True)
class Ended:
    """Nothing more comes."""

    time: float
    reason: str
    type: str = field(default="ended", init=False)


Event: TypeAlias = Speech | Result | Segment | Silence | Lost | InputWarning | Ended


def to_dict(event: Event) -> dict[str, Any]:
    """Convert an event to plain values for JSON, `type` first; times in ms, probabilities in 1e-6."""
    values = {"type": event.type, **vars(event)}
    if values.get("latency", 0) is None:
        del values["latency"]
    return {name: _rounded(name, value) for name, value in values.items()}


def describe(warning: InputWarning) -> str:
    """Say in a line what is wrong with the sound, and what to do about it."""
    value = warning.value
    return {
        TOO_QUIET: f"too quiet: its peak is at {value:.0f} dBFS; raise the microphone's level",
        CLIPPED: f"clipped: {100 * value:.1f} % of the samples are at full scale; lower the microphone's level",
        ONLY_DC: f"only DC: a constant offset of {value:.3g} and no sound; is the microphone broken?",
        NO_SIGNAL: "no signal: every sample is 0; is the microphone muted?",
        INTEGERS: f"samples far beyond -1..1: taken for whole numbers with a full scale of {value:.0f}",
    }[warning.problem]


def segments(events: Iterable[Event]) -> list[Segment]:
    """Return the segments among events, for what needs nothing else of a stream."""
    return [event for event in events if isinstance(event, Segment)]


def _rounded(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {label: round(p, 6) for label, p in value.items()}
    return (
        round(value, 6 if name in ("confidence", "latency", "value") else 3) if isinstance(value, float) else value
    )
