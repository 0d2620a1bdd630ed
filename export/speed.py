"""Whether a lower precision is worth it: two artifacts timed in turn, on this machine."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import numpy as np

from fdan_edge.profiling.bench import time_block
from fdan_edge.runtime.manifest import SpeedReport
from fdan_edge.runtime.runner import Runner

_ROUNDS, _CALLS = 5, 8
_REST = 0.3  # seconds: the other session's threads spin for a while after a call and hold the cores


@dataclass(frozen=True)
class Speed:
    """Median milliseconds of a call with one window, all cores."""

    ms: float
    other_ms: float
    other: str  # the precision that it is compared with

    @property
    def ratio(self) -> float:
        """Below 1 is faster than the other."""
        return self.ms / self.other_ms

    def report(self) -> SpeedReport:
        """Give the record for bundle.json, rounded."""
        return SpeedReport(round(self.ms, 4), round(self.other_ms, 4), self.other, round(self.ratio, 4))

    def line(self) -> str:
        """Say the result in one line, for people."""
        return f"{self.ms:.1f} ms a window here, {self.ratio:.2f} of {self.other}'s {self.other_ms:.1f} ms"


def compare_speed(artifact: Runner, other: Runner, precision: str) -> Speed:
    """Time two runners in turn by blocks.

    Args:
        artifact: that should be faster.
        other: that it is compared with.
        precision: of the other, for people.
    """
    windows = np.random.default_rng(0).standard_normal((1, artifact.spec.window)).astype(np.float32) * np.float32(
        0.1
    )
    times: tuple[list[float], list[float]] = [], []
    for _ in range(_ROUNDS):
        for runner, seconds in zip((artifact, other), times, strict=True):
            time.sleep(_REST)
            seconds += time_block(runner, windows, _CALLS)
    ms, other_ms = (1000 * statistics.median(seconds) for seconds in times)
    return Speed(ms, other_ms, precision)
