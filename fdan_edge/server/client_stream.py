"""One client's sound to its events. Sound comes on the event loop; it is heard in worker threads."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from fdan_edge.server.limits import Limits
from fdan_edge.server.prometheus import Metrics
from fdan_edge.streaming.backlog import Backlog, Converter, End, Hole, Piece, Samples, Sound
from fdan_edge.streaming.events import Event, Result, to_dict

_TURN = 0.5  # s of sound that one turn hears, before others have theirs
_KEPT = 2.0  # s of sound whose arrival is remembered beyond what was heard


class Hearing(Protocol):
    """The face of `fdan_edge.streaming.session.Stream`."""

    rate: int

    @property
    def time(self) -> float:
        """Seconds heard so far."""
        ...

    def push(self, samples: Samples) -> list[Event]:
        """Hear samples (n,) at `rate`."""
        ...

    def lost(self, samples: int, reason: str) -> list[Event]:
        """So many never came."""
        ...

    def finish(self, reason: str) -> list[Event]:
        """Nothing more comes."""
        ...


@dataclass(frozen=True)
class Turn:
    """What one turn told."""

    messages: list[str]  # events as JSON
    more: bool  # sound may still wait
    begun: float  # on the clock of time.monotonic
    end: str | None = None  # the reason, after the last


class Arrivals:
    """When the sound until a time came, to know how long a result took."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._marks: deque[tuple[float, float]] = deque()  # seconds of sound so far, and when they were there

    def mark(self, seconds: float) -> None:
        """All sound until `seconds` is there now."""
        self._marks.append((seconds, self._clock()))

    def ago(self, seconds: float) -> float | None:
        """How long ago the sound until `seconds` was there; earlier sound is forgotten."""
        self.forget(seconds)
        return self._clock() - self._marks[0][1] if self._marks else None

    def forget(self, seconds: float) -> None:
        """Of sound before `seconds` nobody asks any more."""
        while self._marks and self._marks[0][0] < seconds - 1e-6:
            self._marks.popleft()


class Listener:
    """A client's backlog, its way to the model's rate, and its stream.

    `bring` and `stop` are called on the event loop, `turn` in one worker thread at a time.
    """

    def __init__(
        self,
        stream: Hearing,
        rate: int,
        limits: Limits,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream, self._rate, self._metrics = stream, rate, metrics
        self._backlog = Backlog(rate, limits.backlog)
        self._convert = Converter(rate, stream.rate)
        self._arrivals = Arrivals(clock)
        self._brought = 0  # samples

    def bring(self, samples: Samples) -> None:
        """Sound (n,) has come."""
        if not len(samples):
            return
        self._brought += len(samples)
        self._arrivals.mark(self._brought / self._rate)
        self._backlog.put(samples)

    def stop(self, reason: str) -> None:
        """No more comes."""
        self._backlog.close(reason)

    def turn(self) -> Turn:
        """Hear what waits, but not so much that others wait for long."""
        messages: list[str] = []
        heard, begun = 0.0, time.monotonic()
        while heard < _TURN:
            piece = self._backlog.take()
            if piece is None:
                return Turn(messages, False, begun)
            seconds = len(piece.samples) / self._rate if isinstance(piece, Sound) else 0.0
            events = [self._timed(event) for event in self._hear(piece)]
            self._metrics.heard(seconds, events)
            messages += [json.dumps(to_dict(event), allow_nan=False) for event in events]
            if isinstance(piece, End):
                return Turn(messages, False, begun, piece.reason)
            heard += seconds
            self._arrivals.forget(self._stream.time - _KEPT)
        return Turn(messages, True, begun)

    def _hear(self, piece: Piece) -> list[Event]:
        if isinstance(piece, Sound):
            return self._stream.push(self._convert(piece.samples))
        if isinstance(piece, Hole):
            before = self._stream.push(self._convert.rest())  # nothing is heard across a hole
            return [*before, *self._stream.lost(self._convert.length(piece.samples), piece.reason)]
        return [*self._stream.push(self._convert.rest()), *self._stream.finish(piece.reason)]

    def _timed(self, event: Event) -> Event:
        """With its latency; a final result has none, because it waits for the pause that ends the speech."""
        if not isinstance(event, Result) or event.final:
            return event
        return replace(event, latency=self._arrivals.ago(event.time))
