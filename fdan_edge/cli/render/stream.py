"""What `fdan-edge stream` prints besides its live view: lines of JSON, a line for each segment, a summary."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from typing_extensions import assert_never

from fdan_edge.errors import printable
from fdan_edge.streaming.events import (
    UNKNOWN,
    Ended,
    Event,
    InputWarning,
    Lost,
    Result,
    Segment,
    Silence,
    Speech,
    describe,
    to_dict,
)

log = logging.getLogger(__name__)


class JsonLines:
    """Prints every event as a line of JSON, at once.

    Args:
        fields: that every line has, after its type.
    """

    def __init__(self, fields: Mapping[str, Any] | None = None) -> None:
        self._fields = fields or {}

    def __call__(self, events: Sequence[Event]) -> None:
        for event in events:
            line(json.dumps({"type": event.type, **self._fields, **to_dict(event)}, ensure_ascii=False))


class Lines:
    """Prints a plain line for each segment, and on standard error what is wrong with the sound.

    Args:
        labels: of the model.
        prefix: of every line.
    """

    def __init__(self, labels: Sequence[str], prefix: str = "") -> None:
        self._prefix = prefix
        self._width = max(cell_len(name) for name in (UNKNOWN, *labels))

    def __call__(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, InputWarning):
                log.warning("%s%s  %s", self._prefix, clock(event.time, 1), describe(event))
            elif isinstance(event, Segment):
                times = f"{clock(event.start, 1)} - {clock(event.end, 1)}"
                blanks = " " * (self._width - cell_len(event.label))
                line(f"{self._prefix}{times}  {event.label}{blanks}  {100 * event.confidence:3.0f} %")


def line(text: str) -> None:
    """Print a line on standard output at once, so that a reader follows.

    Raises:
        BrokenPipeError: nobody reads any more; Python's own flush at the end will not fail on it again.
    """
    if sys.stdout is None:  # closed by who started us
        return
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        raise


def clock(seconds: float, digits: int = 0) -> str:
    """Write a time as 1:02:03, or 2:03 in the first hour."""
    ticks = round(seconds * 10**digits)
    whole, part = divmod(ticks, 10**digits)
    minutes, rest = divmod(whole, 60)
    text = f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
    return f"{text}.{part:0{digits}}" if digits else text


def devices(microphones: Sequence[tuple[int, str, bool]]) -> None:
    """Print microphones with their numbers."""
    for number, name, default in microphones:
        line(f"{number:>3}  {printable(name)}{'  (the default)' if default else ''}")
    if not microphones:
        line("no microphone on this machine")


class Summary:
    """Counts what was recognised, for a line at the end."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._lost = 0.0  # s
        self._reasons: list[str] = []
        self._problems: list[str] = []
        self._end: Ended | None = None

    def __call__(self, events: Sequence[Event]) -> None:
        for event in events:
            self._count(event)

    def _count(self, event: Event) -> None:
        match event:
            case Segment():
                self._seconds[event.label] += event.end - event.start
            case Lost():
                self._lost += event.seconds
                if event.reason not in self._reasons:
                    self._reasons.append(event.reason)
            case InputWarning():
                if event.problem not in self._problems:
                    self._problems.append(event.problem)
            case Ended():
                self._end = event
            case Speech() | Result() | Silence():
                pass
            case _:
                assert_never(event)

    def __str__(self) -> str:
        if not self._end:
            return ""
        most_first = sorted(self._seconds.items(), key=lambda label_seconds: -label_seconds[1])
        phrases = [f"{label} {seconds:.1f} s" for label, seconds in most_first]
        lost = f"; lost {self._lost:.1f} s ({', '.join(self._reasons)})" if self._reasons else ""
        problems = f"; input: {', '.join(self._problems)}" if self._problems else ""
        summary = f"heard {clock(self._end.time)}: {', '.join(phrases) or 'no speech'}{lost}{problems}"
        return printable(f"{summary}; {self._end.reason}")
