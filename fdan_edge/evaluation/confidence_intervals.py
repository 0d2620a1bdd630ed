"""Bootstrap intervals of the scores: how far they would move with other speakers, or other recordings."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Interval: TypeAlias = tuple[float, float]
_Counts: TypeAlias = NDArray[np.int64]
_Shares: TypeAlias = NDArray[np.float64]

RESAMPLES = 2000
LEVEL = 0.95
#: Fewer units than this give rough intervals, mostly too narrow. Of 400 simulated tests with clear differences
#: between speakers, the 95 % intervals held the true UAR with 2 speakers in 50 % of the cases, with 4 in 78,
#: 8 in 90, 16 in 93; by recording, in 50 to 59 with any number of speakers (benchmarks/intervals.py).
FEW = 10


@dataclass(frozen=True)
class Intervals:
    """Percentile intervals at `LEVEL` of each score, as shares of 1."""

    uar: Interval
    war: Interval
    wf1: Interval
    recall: dict[str, Interval]  # of each class that occurs
    unit: str  # what was drawn with replacement: speaker or recording
    units: int  # how many there are
    speakers: int | None  # None: not known of every recording
    resamples: int = RESAMPLES
    level: float = LEVEL

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values = {name: list(getattr(self, name)) for name in ("uar", "war", "wf1")}
        recall = {name: list(interval) for name, interval in self.recall.items()}
        return {**asdict(self), **values, "recall": recall, "note": self.note()}

    def note(self) -> str:
        """Say what was resampled, and how far to trust it."""
        plural = "s" if self.units > 1 else ""
        parts = [f"{self.resamples} resamples of {self.units} {self.unit}{plural}"]
        if self.unit == "recording":
            parts += ["speakers not known" if self.speakers is None else "of one speaker only"]
        if self.units < FEW:
            parts += ["few: likely too narrow"]
        return "; ".join(parts)


def intervals(
    true: Sequence[int],
    predicted: Sequence[int],
    labels: Sequence[str],
    speakers: Sequence[str | None],
    seed: int = 0,
) -> Intervals:
    """Compute percentile bootstrap intervals over speakers where all are known, else over recordings.

    Recordings of one speaker are right or wrong together, so drawing them one by one would make the
    intervals of a test with few speakers far too narrow. One speaker cannot be resampled: then recordings are.

    Args:
        true: class index of each recording.
        predicted: the same, recognised.
        labels: names of the classes.
        speakers: who speaks in each recording; None where not known.
        seed: of the resampling.
    """
    known = None if None in speakers else len(set(speakers))
    by_speaker = known is not None and known > 1
    groups = _numbers(speakers) if by_speaker else np.arange(len(true))
    counts = _confusions(np.asarray(true), np.asarray(predicted), groups, len(labels))
    scores = _scores(_resample(counts, np.random.default_rng(seed)))
    present = sorted(set(true))
    return Intervals(
        uar=percentiles(scores["uar"]),
        war=percentiles(scores["war"]),
        wf1=percentiles(scores["wf1"]),
        recall={labels[c]: _wider(percentiles(scores["recall"][:, c]), counts.sum(axis=0)[c], c) for c in present},
        unit="speaker" if by_speaker else "recording",
        units=len(counts),
        speakers=known,
    )


def uar_draws(
    true: Sequence[int],
    predicted: Sequence[int],
    labels: Sequence[str],
    speakers: Sequence[str | None],
    seed: int = 0,
) -> NDArray[np.float64]:
    """Compute the UAR of each draw of speakers (or recordings, as `intervals` has it), (RESAMPLES,).

    Equal `speakers` give equal draws, whatever was predicted: what several models predict of the same recordings
    in the same order may be averaged, or taken from one another, draw by draw.
    """
    by_speaker = None not in speakers and len(set(speakers)) > 1
    groups = _numbers(speakers) if by_speaker else np.arange(len(true))
    counts = _confusions(np.asarray(true), np.asarray(predicted), groups, len(labels))
    drawn = _times(len(counts), seed) @ counts.reshape(len(counts), -1).astype(float)
    return _scores(np.asarray(drawn, np.int64).reshape(RESAMPLES, len(labels), len(labels)))["uar"]


@functools.lru_cache(maxsize=1)  # of one task all rows and seeds; 32 MB where 2000 recordings have no speakers
def _times(groups: int, seed: int) -> NDArray[np.float64]:
    """Draw how often each group is in each draw, (resamples, groups); floats are multiplied faster."""
    chance = np.random.default_rng(seed)
    return chance.multinomial(groups, np.full(groups, 1 / groups), RESAMPLES).astype(float)


def percentiles(draws: NDArray[np.float64]) -> Interval:
    """Compute the interval at `LEVEL` that resampled values (n,) span."""
    edge = 50 * (1 - LEVEL)
    low, high = np.nanpercentile(draws, [edge, 100 - edge])
    return float(low), float(high)


def _wider(interval: Interval, row: _Counts, label: int) -> Interval:
    """Widen a class's interval to Wilson's of as many independent recordings.

    Where all or none of a class are recognised, every resample says the same: 0 to 0 % would look certain.

    Args:
        interval: of the resamples.
        row: how often the class is recognised as each, (C,).
        label: the class.
    """
    n, z = int(row.sum()), 1.959964
    share = row[label] / n
    middle, scale = share + z**2 / (2 * n), 1 + z**2 / n
    edge = z * float(np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)))
    low, high = max(0.0, (middle - edge) / scale), min(1.0, (middle + edge) / scale)
    return min(interval[0], float(low)), max(interval[1], float(high))


def _numbers(names: Sequence[str | None]) -> _Counts:
    index = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([index[name] for name in names])


def _confusions(true: _Counts, predicted: _Counts, groups: _Counts, classes: int) -> _Counts:
    """Count the confusion matrix of each group, (groups, C, C)."""
    counts = np.zeros((int(groups.max()) + 1, classes, classes), np.int64)
    np.add.at(counts, (groups, true, predicted), 1)
    return counts


def _resample(counts: _Counts, chance: np.random.Generator) -> _Counts:
    """Draw confusion matrices of `RESAMPLES` draws of as many groups with replacement, (resamples, C, C)."""
    groups, classes, _ = counts.shape
    cells = counts.reshape(groups, -1)
    if (cells.sum(axis=1) == 1).all():  # groups of one: the draw is from the cells, however many recordings
        drawn = chance.multinomial(groups, cells.sum(axis=0) / groups, RESAMPLES)
    else:
        drawn = chance.multinomial(groups, np.full(groups, 1 / groups), RESAMPLES) @ cells
    return np.asarray(drawn, np.int64).reshape(RESAMPLES, classes, classes)


def _scores(counts: _Counts) -> dict[str, _Shares]:
    """Score many confusion matrices (n, C, C); the recall of a class that does not occur is NaN."""
    right = np.diagonal(counts, axis1=1, axis2=2).astype(float)
    true, predicted = counts.sum(axis=2), counts.sum(axis=1)
    total = true.sum(axis=1)
    recall = np.divide(right, true, out=np.full_like(right, np.nan), where=true > 0)
    f1 = 2 * right / np.maximum(true + predicted, 1)
    return {
        "uar": np.nanmean(recall, axis=1),
        "war": right.sum(axis=1) / total,
        "wf1": (f1 * true).sum(axis=1) / total,
        "recall": recall,
    }
