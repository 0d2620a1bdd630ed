"""Limit what a client may use, so that one cannot take the machine from the others."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The limits of a server; times in seconds."""

    clients: int = 16  # that stream at once
    waiting: int = 64  # connections that have not sent their first message
    message: int = 65536  # bytes
    speed: float = 2.0  # seconds of sound per second, in the long run
    burst: float = 15.0  # seconds of sound at once: what a network holds back and then delivers
    backlog: float = 5.0  # of sound that waits to be processed
    late: float = 0.5  # that sound may wait for a thread, on average, before clients must go
    respite: float = 1.0  # between two times that some must
    busy: float = 10.0  # after which others may come again
    greeting: float = 5.0  # until the first message
    idle: float = 30.0  # between messages
    sending: float = 10.0  # until a message to a client is on its way


class RateLimiter:
    """Limits the rate of sound with a bucket that refills with time, up to a burst.

    Args:
        speed: seconds of sound that a second adds.
        burst: seconds of sound, at most and at first.
    """

    #: Seconds that any message costs at least; else empty ones would be free.
    MIN_COST = 0.005

    def __init__(self, speed: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._speed, self._burst, self._clock = speed, burst, clock
        self._left, self._then = burst, clock()

    def spend(self, seconds: float) -> bool:
        """Take so many seconds of sound from the bucket; return whether they were in it."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._then) * self._speed)
        self._then = now
        self._left -= max(seconds, self.MIN_COST)
        return self._left >= 0
