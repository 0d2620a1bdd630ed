"""Limit what a client may use, so that one cannot take the machine from the others."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The limits of a server; times in seconds."""

    clients: int = 16  # that stream at once
    guests: int = 256  # connections that are not let in: what is open beside the clients
    message: int = 65536  # bytes
    speed: float = 2.0  # seconds of sound per second, in the long run
    burst: float = 15.0  # seconds of sound at once: what a network holds back and then delivers
    backlog: float = 5.0  # of sound that waits to be processed
    late: float = 0.5  # that sound may wait for a thread, on average, before clients must go
    respite: float = 1.0  # between two times that some must
    busy: float = 10.0  # after which others may come again
    tls: float = 5.0  # until TLS is agreed upon
    request: float = 10.0  # from a connection to its first answer, from answer to answer, from end to close
    greeting: float = 5.0  # until the first message; and as long for a token's turn, where wrong ones were tried
    attempts: float = 10.0  # wrong tokens a second, of an address
    attempts_at_once: float = 20.0
    idle: float = 30.0  # between messages
    sending: float = 10.0  # until a message to a client is on its way


class Bucket:
    """Holds something that is spent, and refills with time.

    Args:
        rate: that a second adds.
        burst: at most and at first.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left, self._then = burst, clock()

    def has(self, amount: float) -> bool:
        """Return whether so much is there."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._then) * self._rate)
        self._then = now
        return self._left >= amount

    def spend(self, amount: float) -> bool:
        """Take so much; return whether it was there."""
        was_there = self.has(amount)
        self._left -= amount
        return was_there


class RateLimiter:
    """Limits the rate of sound with a bucket that refills with time, up to a burst.

    Args:
        speed: seconds of sound that a second adds.
        burst: seconds of sound, at most and at first.
    """

    #: Seconds that any message costs at least; else empty ones would be free.
    MIN_COST = 0.005

    def __init__(self, speed: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._bucket = Bucket(speed, burst, clock)

    def spend(self, seconds: float) -> bool:
        """Take so many seconds of sound from the bucket; return whether they were in it."""
        return self._bucket.spend(max(seconds, self.MIN_COST))
