"""One client's sound to its events. The event loop adds sound; worker threads infer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from fdan_edge.audio.resample import Resampler, Samples
from fdan_edge.server.limits import Limits
from fdan_edge.server.prometheus import ServerMetrics
from fdan_edge.streaming.backlog import Backlog, End, Sound
from fdan_edge.streaming.events import to_dict
from fdan_edge.streaming.latency import ArrivalTimes
from fdan_edge.streaming.live import EventStream, process

_TURN_SECONDS = 0.5  # of sound that one turn processes, before other clients have theirs
_REMEMBERED = 2.0  # s of sound before the stream's position whose arrival is remembered


@dataclass(frozen=True)
class Turn:
    """The outcome of one turn."""

    messages: list[str]  # events as JSON
    more: bool  # sound may still wait
    begun: float  # on the clock of time.monotonic
    end: str | None = None  # the reason, after the last turn


class ClientStream:
    """A client's backlog, its resampler and its stream.

    `add` and `stop` are called on the event loop, `turn` in one worker thread at a time.
    """

    def __init__(
        self,
        stream: EventStream,
        rate: int,
        limits: Limits,
        metrics: ServerMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream, self._rate, self._metrics = stream, rate, metrics
        self._backlog = Backlog(rate, limits.backlog)
        self._resampler = Resampler(rate, stream.rate)
        self._arrivals = ArrivalTimes(clock)
        self._received = 0  # samples

    def add(self, samples: Samples) -> None:
        """Queue samples (n,) that have arrived."""
        if not len(samples):
            return
        self._received += len(samples)
        self._arrivals.note(self._received / self._rate)
        self._backlog.put(samples)

    def stop(self, reason: str) -> None:
        """Note that no more comes."""
        self._backlog.close(reason)

    def turn(self) -> Turn:
        """Process what waits, but not so much that other clients wait for long."""
        messages: list[str] = []
        done, begun = 0.0, time.monotonic()
        while done < _TURN_SECONDS:
            piece = self._backlog.take()
            if piece is None:
                return Turn(messages, False, begun)
            seconds = len(piece.samples) / self._rate if isinstance(piece, Sound) else 0.0
            new = process(self._stream, self._resampler, piece)
            events = [self._arrivals.add_latency(event) for event in new]
            self._metrics.record(seconds, events)
            messages += [json.dumps(to_dict(event), allow_nan=False) for event in events]
            if isinstance(piece, End):
                return Turn(messages, False, begun, piece.reason)
            done += seconds
            self._arrivals.forget(self._stream.time - _REMEMBERED)
        return Turn(messages, True, begun)
