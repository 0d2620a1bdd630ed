"""Whether a lower precision is worth it: two artifacts timed in turn, on this machine."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fdan_edge.profiling.bench import time_block
from fdan_edge.runtime.opening import Runner

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

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {name: round(v, 4) if isinstance(v, float) else v for name, v in asdict(self).items()} | {
            "ratio": round(self.ratio, 4)
        }

    def line(self) -> str:
        """One line for people."""
        return f"{self.ms:.1f} ms a window here, {self.ratio:.2f} of {self.other}'s {self.other_ms:.1f} ms"


def compare_speed(made: Runner, other: Runner, precision: str) -> Speed:
    """Time two runners in turn by blocks.

    Args:
        made: the artifact.
        other: the one that it should beat.
        precision: of the other, for people.
    """
    windows = np.random.default_rng(0).standard_normal((1, made.spec.window)).astype(np.float32) * np.float32(0.1)
    times: tuple[list[float], list[float]] = [], []
    for _ in range(_ROUNDS):
        for runner, kept in zip((made, other), times, strict=True):
            time.sleep(_REST)
            kept += time_block(runner, windows, _CALLS)
    mine, others = (1000 * statistics.median(kept) for kept in times)
    return Speed(mine, others, precision)
