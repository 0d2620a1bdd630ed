"""From probabilities of windows to a label that does not flicker, and to segments. Imports no torch."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fdan_edge.streaming.events import UNKNOWN, Result, Segment
from fdan_edge.streaming.settings import StreamSettings
from fdan_edge.streaming.unknown_threshold import Threshold

Vector = NDArray[np.float64]


class LabelTracker:
    """Tracks the label through one stretch of speech after another.

    Probabilities are smoothed by an exponential mean in which a window weighs as the square of its length: the
    beginning of a word says little. The first label shown is the first that reaches the threshold. Another one
    replaces it once it has led for `hold` seconds, by `margin`. It becomes UNKNOWN in the same way, once its own
    probability is `margin` below the threshold. A segment ends where the label that follows began to lead; the
    last one of a speech has the label that is likeliest at its end.

    Args:
        labels: of the model.
        settings: times and thresholds.
        threshold: gives the confidence below which a label is UNKNOWN, after so many seconds of speech.
        hop: seconds between results.
    """

    def __init__(
        self, labels: tuple[str, ...], settings: StreamSettings, threshold: Threshold, hop: float
    ) -> None:
        self._labels, self._settings, self._threshold = labels, settings, threshold
        self._needed = max(1, round(settings.hold / hop))  # results in a row
        self.begin(0.0)

    def begin(self, time: float) -> None:
        """Start a new stretch of speech."""
        self._label: str | None = None  # none has reached the threshold yet
        self._rival: str | None = None
        self._leads_since, self._lead_count = time, 0  # of the rival: the time, and the results in a row
        self._start = self._last_time = time
        self._weighted, self._weight = np.zeros(len(self._labels)), 0.0
        self._settled: Vector | None = None  # smoothed probabilities when the label last led

    def update(
        self, start: float, time: float, raw: NDArray[np.float32], *, final: bool = False
    ) -> tuple[Result, Segment | None]:
        """Add a window's probabilities (C,); return the result, and the segment that it ends."""
        smoothed = self._smooth(raw.astype(np.float64), time - start, time)
        before, self._last_time = self._last_time, time
        self._limit = self._threshold(time - start)
        ended = None if final else self._follow(smoothed, before)
        if final:  # as `end` will have it
            self._label = self._candidate(smoothed)
        label = self._label or UNKNOWN
        share = self._share(label, smoothed)
        return Result(time, start, label, share, self._named(smoothed), self._named(raw), final), ended

    def end(self, time: float) -> Segment | None:
        """End the stretch of speech; return its last segment, None where there was no result."""
        if not self._weight:
            return None
        self._settled = self._weighted / self._weight
        self._label = self._candidate(self._settled)
        return self._segment(time)

    def _smooth(self, raw: Vector, seconds: float, time: float) -> Vector:
        tau = self._settings.smoothing
        kept = math.exp((self._last_time - time) / tau) if tau else 0.0
        self._weighted = kept * self._weighted + seconds**2 * raw
        self._weight = kept * self._weight + seconds**2
        return self._weighted / self._weight

    def _candidate(self, smoothed: Vector) -> str:
        best = int(smoothed.argmax())
        return self._labels[best] if smoothed[best] >= self._limit else UNKNOWN

    def _follow(self, smoothed: Vector, before: float) -> Segment | None:
        """Count for the label or for its rival, which takes over after some results in a row."""
        candidate = self._candidate(smoothed)
        if self._label is None:
            self._label = None if candidate == UNKNOWN else candidate
        if candidate == (self._label or UNKNOWN) or not self._leads(candidate, smoothed):
            self._rival, self._lead_count, self._settled = None, 0, smoothed
            return None
        if candidate != self._rival:
            self._rival, self._lead_count, self._leads_since = candidate, 0, before
        self._lead_count += 1
        return self._take_over(smoothed) if self._lead_count >= self._needed else None

    def _leads(self, candidate: str, smoothed: Vector) -> bool:
        if self._label == UNKNOWN:
            return True
        own = self._share(self._label or UNKNOWN, smoothed)
        if candidate == UNKNOWN:
            return own < self._limit - self._settings.margin
        return float(smoothed.max()) >= own + self._settings.margin

    def _take_over(self, smoothed: Vector) -> Segment | None:
        ended = self._segment(self._leads_since)
        self._start, self._label, self._settled = self._leads_since, self._rival, smoothed
        self._rival, self._lead_count = None, 0
        return ended

    def _segment(self, end: float) -> Segment:
        label, settled = self._label or UNKNOWN, self._settled
        assert settled is not None
        return Segment(self._start, end, label, self._share(label, settled), self._named(settled))

    def _share(self, label: str, values: Vector) -> float:
        """Return the probability of a label; of the likeliest where it is UNKNOWN."""
        return float(values.max() if label == UNKNOWN else values[self._labels.index(label)])

    def _named(self, values: NDArray[np.floating]) -> dict[str, float]:
        return {label: float(value) for label, value in zip(self._labels, values, strict=True)}
