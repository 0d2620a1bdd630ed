"""Two bundles against each other, pair by pair. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fdan_edge.profiling.bench import Latency, Ratio, Timed, ratio_of, rounded


@dataclass(frozen=True)
class Pair:
    """Two rows that were timed in one run, and the ratio of the first to the second."""

    one: Latency
    other: Latency
    ratio: Ratio

    @property
    def verdict(self) -> str:
        """What the ratio says, in words."""
        if not self.ratio.told:
            return "no difference that could be told"
        return f"{'faster' if self.ratio.value < 1 else 'slower'}, {self.ratio.value:.2f} of its time"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        names = ("target", "artifact", "precision", "runtime")
        ends = [{name: getattr(row, name) for name in names} for row in (self.one, self.other)]
        ratio = {"p50": self.ratio.value, "low": self.ratio.low, "high": self.ratio.high, "told": self.ratio.told}
        values = {"one": ends[0], "other": ends[1], "ratio": ratio, "verdict": self.verdict}
        return {**values, "ratios": rounded({n: r for n, r in self.others().items() if r is not None})} | {
            "ratio": rounded(ratio)
        }

    def others(self) -> dict[str, float | None]:
        """Return ratios of what is measured without intervals; None where one of the two does not tell."""
        return {
            "file": _over(self.one.file_bytes, self.other.file_bytes),
            "cold_start": _over(_start(self.one, "total"), _start(self.other, "total")),
            "peak_memory": _over(_start(self.one, "peak_mib"), _start(self.other, "peak_mib")),
        }


def pairs(ones: Sequence[Timed], others: Sequence[Timed]) -> list[Pair]:
    """Pair rows of the same runtime and precision; the first of each, the primary, where there are none."""
    alike = [(one, other) for one in ones for other in others if _alike(one.row, other.row)]
    used = alike or [(ones[0], others[0])]
    return [Pair(one.row, other.row, ratio_of(one.blocks, other.blocks)) for one, other in used]


def _alike(one: Latency, other: Latency) -> bool:
    return (one.runtime, one.precision) == (other.runtime, other.precision)


def _start(row: Latency, name: str) -> float | None:
    return None if row.start is None else float(getattr(row.start, name))


def _over(one: float | None, other: float | None) -> float | None:
    return None if one is None or not other else one / other
