"""Measure how long results take, from the arrival of their last sample. Imports no torch."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from fdan_edge.streaming.events import Event, Result

_REMEMBERED = 10_000  # arrivals; more than wait anywhere
_ROUNDING = 1e-3  # s; a time in samples of one rate is rounded to samples of the other


class ArrivalTimes:
    """Remembers when sound arrived, to add the latency to results.

    One thread may note arrivals while another one asks for latencies.

    Args:
        clock: gives the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._arrivals: deque[tuple[float, float]] = deque(maxlen=_REMEMBERED)  # s of sound so far; clock

    def note(self, seconds: float, arrived: float | None = None) -> None:
        """Remember that the sound until `seconds` arrived at `arrived`; None: now."""
        self._arrivals.append((seconds, self._clock() if arrived is None else arrived))

    def latency(self, seconds: float) -> float | None:
        """Return how long ago the sound until `seconds` arrived, and forget what arrived before; None: unknown."""
        # The resampler gives sound later than it takes it, so this is not always the last arrival.
        while len(self._arrivals) > 1 and self._arrivals[0][0] < seconds - _ROUNDING:
            self._arrivals.popleft()
        return self._clock() - self._arrivals[0][1] if self._arrivals else None

    def forget(self, seconds: float) -> None:
        """Forget when the sound before `seconds` arrived."""
        while len(self._arrivals) > 1 and self._arrivals[0][0] < seconds:
            self._arrivals.popleft()

    def add_latency(self, event: Event) -> Event:
        """Return a result with its latency, any other event as it is.

        The last result of a speech waits for the pause that ends it; its latency would say nothing.
        """
        if isinstance(event, Result) and not event.final:
            return replace(event, latency=self.latency(event.time))
        return event
