"""How far probabilities can be believed: their calibration, and one temperature that improves it.

Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", 2017.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.floating[Any]]
Indices: TypeAlias = NDArray[np.integer[Any]]

BINS = 10  # of confidence, equally wide
LOWEST, HIGHEST = 0.1, 10.0  # temperatures that are looked at
#: log T is expected within ln 2 around 0 before any recording is seen. A few recordings, or ones that are all
#: right, then move T little; with hundreds it hardly counts.
_SPREAD = math.log(2)
_SMALLEST = 1e-9  # probability, as in the validation loss: one sure mistake must not be all of the mean


@dataclass(frozen=True)
class Bin:
    """Recordings whose confidence lies in (low, high]."""

    low: float
    high: float
    n: int
    confidence: float  # mean probability of the recognised class; 0 where n is 0
    accuracy: float  # share recognised rightly; 0 where n is 0


@dataclass(frozen=True)
class Calibration:
    """How far probabilities can be believed."""

    n: int
    nll: float  # mean -ln of the true class's probability
    ece: float  # expected calibration error: mean |confidence - accuracy| over the bins, weighted by n
    bins: list[Bin]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def line(self) -> str:
        """Format for people."""
        return f"ECE {100 * self.ece:.1f} %   NLL {self.nll:.3f}"


@dataclass(frozen=True)
class Temperature:
    """A temperature and what it does to the recordings that it was fitted on."""

    temperature: float
    n: int  # recordings
    nll_before: float
    nll_after: float
    ece_before: float
    ece_after: float
    labels_changed: int  # can be more than 0 only where a recording has several windows

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def measure(probabilities: Array, true: Indices) -> Calibration:
    """Measure the calibration of probabilities (n, C) against the true classes (n,)."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == true
    # Rounded, or 0.3 as float32 would lie above the edge 0.3.
    place = np.clip(np.ceil(np.round(confidence * BINS, 5)).astype(int) - 1, 0, BINS - 1)
    bins = [_bin(index, confidence[place == index], right[place == index]) for index in range(BINS)]
    ece = sum(b.n * abs(b.confidence - b.accuracy) for b in bins) / len(true)
    return Calibration(len(true), negative_log_likelihood(probabilities, true), float(ece), bins)


def _bin(index: int, confidence: Array, right: NDArray[np.bool_]) -> Bin:
    low, high, n = index / BINS, (index + 1) / BINS, len(right)
    return Bin(low, high, n, float(confidence.mean()) if n else 0.0, float(right.mean()) if n else 0.0)


def negative_log_likelihood(probabilities: Array, true: Indices) -> float:
    """Compute the mean of -ln p of the true class, over probabilities (n, C)."""
    chosen = probabilities[np.arange(len(true)), true].astype(np.float64)
    return float(-np.log(np.maximum(chosen, _SMALLEST)).mean())


def soften(logits: Array, owner: Indices, temperature: float) -> Array:
    """Compute probabilities of recordings: the mean over their windows of softmax(logits / temperature).

    Args:
        logits: of windows, (m, C).
        owner: which recording each window is from, (m,), 0 to n - 1.
        temperature: above 1 makes the probabilities less sure.
    """
    scaled = np.asarray(logits, np.float64) / temperature
    windows = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    windows /= windows.sum(axis=1, keepdims=True)
    sums = np.zeros((int(owner.max()) + 1, windows.shape[1]))
    np.add.at(sums, owner, windows)
    return sums / np.bincount(owner)[:, None]


@dataclass(frozen=True)
class Copies:
    """Validation recordings in noise and rooms, over lines and through codecs, as a model hears them.

    logits: (m, C), of windows. owner: which copy each is from, (m,), 0 to k - 1. true: class of each, (k,).
    """

    logits: Array
    owner: Indices
    true: Indices


def fit_temperature(logits: Array, owner: Indices, true: Indices, copies: Copies | None = None) -> Temperature:
    """Fit the temperature under which whole recordings are most likely, given that it is expected near 1.

    Of clean recordings alone, a model that does not know noise is as sure in it as in quiet, and wrong. So copies
    count as their recordings do. What it does is told of the recordings.

    Args:
        logits: of validation windows, (m, C).
        owner: which recording each window is from, (m,), 0 to n - 1.
        true: class of each recording, (n,).
        copies: of recordings, for the fit.
    """
    from scipy.optimize import minimize_scalar  # half a second, which a training would wait before its first step

    fitted_on = [(logits, owner, true), *([(copies.logits, copies.owner, copies.true)] if copies else [])]
    count = sum(len(classes) for _, _, classes in fitted_on)

    def cost(log_t: float) -> float:
        sums = (
            len(classes) * negative_log_likelihood(soften(windows, of, math.exp(log_t)), classes)
            for windows, of, classes in fitted_on
        )
        return (sum(sums) + (log_t / _SPREAD) ** 2 / 2) / count

    # The mean over windows can make a second valley: a grid first, then the valley's bottom. 1 is on the grid.
    grid = np.linspace(math.log(LOWEST), math.log(HIGHEST), 41)
    best = min(grid, key=cost)
    step = grid[1] - grid[0]
    bounds = (max(best - step, grid[0]), min(best + step, grid[-1]))
    refined = float(minimize_scalar(cost, bounds=bounds, method="bounded").x)
    temperature = float(np.clip(math.exp(min((0.0, float(best), refined), key=cost)), LOWEST, HIGHEST))
    before, after = soften(logits, owner, 1.0), soften(logits, owner, temperature)
    return _effect(temperature, before, after, true)


def _effect(temperature: float, before: Array, after: Array, true: Indices) -> Temperature:
    first, second = measure(before, true), measure(after, true)
    return Temperature(
        temperature=temperature,
        n=first.n,
        nll_before=first.nll,
        nll_after=second.nll,
        ece_before=first.ece,
        ece_after=second.ece,
        labels_changed=int((before.argmax(axis=1) != after.argmax(axis=1)).sum()),
    )
