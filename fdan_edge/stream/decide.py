"""From probabilities of windows to a label that does not flicker, and to segments. Imports no torch."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fdan_edge.stream.events import UNKNOWN, Result, Segment
from fdan_edge.stream.settings import Settings

Vector = NDArray[np.float64]


class Decider:
    """Follows one stretch of speech after another.

    Probabilities are smoothed by an exponential mean. The shown label changes once another one has led for
    `hold` seconds, by `margin`; it becomes UNKNOWN in the same way, once its own probability is `margin` below
    `unknown_below`. A segment ends where the label that follows began to lead.

    Args:
        labels: of the model.
        settings: times and thresholds.
        unknown_below: confidence.
        hop: seconds between results.
    """

    def __init__(self, labels: tuple[str, ...], settings: Settings, unknown_below: float, hop: float) -> None:
        self._labels, self._settings, self._unknown_below = labels, settings, unknown_below
        self._needed = max(1, round(settings.hold / hop))  # results in a row
        self.begin(0.0)

    def begin(self, time: float) -> None:
        """Speech begins."""
        self._label: str | None = None
        self._rival: str | None = None
        self._start = self._heard = self._changed = time
        self._smoothed: Vector | None = None
        self._sum, self._rivals_sum = _Sum(len(self._labels)), _Sum(len(self._labels))

    def hear(self, start: float, time: float, raw: NDArray[np.float32]) -> tuple[Result, Segment | None]:
        """A window's probabilities (C,); with the result comes the segment that it ends."""
        smoothed = self._smooth(raw.astype(np.float64), time)
        before, self._heard = self._heard, time
        ended = self._follow(smoothed, before)
        label = self._label or UNKNOWN
        confidence = float(smoothed.max() if label == UNKNOWN else smoothed[self._labels.index(label)])
        return Result(time, start, label, confidence, self._named(smoothed), self._named(raw)), ended

    def end(self, time: float) -> Segment | None:
        """Speech ends; the last segment, None where nothing was heard."""
        if self._label is None:
            return None
        self._sum.add(self._rivals_sum)
        return self._segment(time)

    def _smooth(self, raw: Vector, time: float) -> Vector:
        if self._smoothed is None or not self._settings.smoothing:
            self._smoothed = raw
        else:
            share = 1 - math.exp((self._heard - time) / self._settings.smoothing)
            self._smoothed = self._smoothed + share * (raw - self._smoothed)
        return self._smoothed

    def _follow(self, smoothed: Vector, before: float) -> Segment | None:
        """Count for the label or for its rival, who takes over after some results in a row."""
        best = int(smoothed.argmax())
        candidate = self._labels[best] if smoothed[best] >= self._unknown_below else UNKNOWN
        if self._label is None:
            self._label = candidate
        if candidate == self._label or not self._leads(candidate, smoothed):
            self._give_back()
            self._sum.count(smoothed)
            return None
        if candidate != self._rival:
            self._give_back()
            self._rival, self._changed = candidate, before
        self._rivals_sum.count(smoothed)
        return self._take_over() if self._rivals_sum.results >= self._needed else None

    def _leads(self, candidate: str, smoothed: Vector) -> bool:
        if self._label == UNKNOWN:
            return True
        own = float(smoothed[self._labels.index(self._label or "")])
        if candidate == UNKNOWN:
            return own < self._unknown_below - self._settings.margin
        return float(smoothed.max()) >= own + self._settings.margin

    def _give_back(self) -> None:
        """The rival's results count for the label."""
        self._rival = None
        self._sum.add(self._rivals_sum)

    def _take_over(self) -> Segment | None:
        ended = self._segment(self._changed) if self._sum.results else None
        self._start = self._changed if ended else self._start
        self._label, self._rival = self._rival, None
        self._sum, self._rivals_sum = self._rivals_sum, _Sum(len(self._labels))
        return ended

    def _segment(self, end: float) -> Segment:
        mean = self._sum.values / max(1, self._sum.results)
        label = self._label or UNKNOWN
        confidence = float(mean.max() if label == UNKNOWN else mean[self._labels.index(label)])
        return Segment(self._start, end, label, confidence, self._named(mean))

    def _named(self, values: NDArray[np.floating]) -> dict[str, float]:
        return {label: float(value) for label, value in zip(self._labels, values, strict=True)}


class _Sum:
    """Of the probabilities of some results."""

    def __init__(self, size: int) -> None:
        self.values, self.results = np.zeros(size), 0

    def count(self, values: Vector) -> None:
        self.values, self.results = self.values + values, self.results + 1

    def add(self, other: _Sum) -> None:
        """Take over what another one has, which is empty then."""
        self.values, self.results = self.values + other.values, self.results + other.results
        other.values, other.results = np.zeros(len(self.values)), 0
