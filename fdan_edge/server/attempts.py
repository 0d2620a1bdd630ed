"""Slow down those who try tokens, by address."""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from collections.abc import Callable

from fdan_edge.server.limits import Bucket

_ADDRESSES = 4096  # that are remembered
_PAUSE = 0.05, 0.5  # s, at random: everyone who waits has the same chance of the next turn


class Attempts:
    """Counts wrong tokens by the address that they came from.

    After some at once, an address may be wrong only so many times a second. A right token costs nothing, but it
    waits as a wrong one would: otherwise the time of an answer would tell which one it is.

    Args:
        rate: wrong tokens a second, of an address.
        burst: of them at once.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def wait(self, group: str) -> float:
        """Return the seconds to wait before `group` may try again; 0: it may now."""
        bucket = self._buckets.get(group)
        if not bucket or bucket.has(1):
            return 0.0
        return random.uniform(*_PAUSE)

    def failed(self, group: str) -> None:
        """Note a wrong token."""
        bucket = self._buckets.pop(group, None) or Bucket(self._rate, self._burst, self._clock)
        bucket.spend(1)
        self._buckets[group] = bucket
        if len(self._buckets) > _ADDRESSES:
            self._buckets.popitem(last=False)
