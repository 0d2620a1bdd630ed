"""A linear head on frozen features: shrunken linear discriminant analysis, in closed form.

Friedman 1989, "Regularized Discriminant Analysis": the classes share one covariance, shrunk towards a multiple of
the identity. With a hundred recordings it beats logistic regression on the same features:
`benchmarks/own_recordings.py`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fdan_edge.errors import DataError

Array: TypeAlias = NDArray[np.floating[Any]]
Indices: TypeAlias = NDArray[np.integer[Any]]

#: Weight of the identity in the covariance. Between 0.1 and 0.6 little changes; at 0.9 points are lost.
SHRINKAGE = 0.5
_FOLDS = 10  # of a cross-validation, at most
_EPSILON = 1e-5  # of a variance, as in BatchNorm
#: Weight of what weak copies change, beside the covariance within the classes. RAVDESS, 8 classes, six folds, mean
#: of three seeds, UAR / labels that differ at -60 dBFS in 16 bits: 0: 75.2 / 13.1, 2: 75.9 / 9.6, 4: 76.0 / 9.1.
WEAK_CHANGES = 4.0
CHANGES_ELSEWHERE = 0.5  # the same of copies in other surroundings
_SMALLEST = 0.01  # mean square within the classes, of standardised features: with one recording of each it is 0


@dataclass(frozen=True)
class Head:
    """Standardisation and a linear layer: features (n, d) to logits (n, C)."""

    mean: Array  # (d,)
    variance: Array  # (d,)
    weight: Array  # (C, d), of standardised features
    bias: Array  # (C,); minus infinity for a class that it was not fitted on

    def logits(self, features: Array) -> Array:
        """Compute logits, (n, d) -> (n, C); minus infinity for classes that it was not fitted on."""
        result: Array = _standardised(features, self.mean, self.variance) @ self.weight.T + self.bias
        return result

    def scaled(self, factor: float) -> Head:
        """Return the head whose logits are `factor` times as large."""
        return Head(self.mean, self.variance, self.weight * factor, self.bias * factor)


@dataclass(frozen=True)
class Recordings:
    """Features of the windows of recordings.

    features: (windows, d). owner: whose each window is, 0 to n - 1, (windows,). labels: class indices, (n,).
    """

    features: Array
    owner: Indices
    labels: Indices

    def means(self) -> Array:
        """Average the windows of each recording, (n, d)."""
        sums = np.zeros((len(self.labels), self.features.shape[1]))
        np.add.at(sums, self.owner, self.features)
        averages: Array = sums / np.bincount(self.owner, minlength=len(self.labels))[:, None]
        return averages


@dataclass(frozen=True)
class Copies:
    """Disturbed copies of recordings.

    means: mean features, (k, n, d). weights: of what each kind of copy changes, (k,).
    """

    means: Array
    weights: Array

    def of(self, recordings: Indices) -> Copies:
        """Return the copies of some recordings."""
        return Copies(self.means[:, recordings], self.weights)


@dataclass(frozen=True)
class _Moments:
    """Sums over recordings and their copies, of which a head is computed; those of parts can be subtracted.

    second: of w x x', (d, d). sums: of w x by class, (C, d). counts: of w by class, (C,). changes: of what copies
    change, weighted by their kinds, (d, d). rows: recordings and copies. recordings: how many of them.
    """

    second: Array
    sums: Array
    counts: Array
    changes: Array
    rows: int
    recordings: int

    @classmethod
    def of(cls, means: Array, labels: Indices, classes: int, copies: Copies, weights: Array) -> _Moments:
        """Sum over recordings (n, d), whose weights are (n,)."""
        width, several = means.shape[1], 1 + len(copies.means)
        sums, counts, second = np.zeros((classes, width)), np.zeros(classes), np.zeros((width, width))
        changes = np.zeros((width, width))
        for part in (means, *copies.means):
            weighted = part * np.sqrt(weights)[:, None]
            second += weighted.T @ weighted
            np.add.at(sums, labels, part * weights[:, None])
            np.add.at(counts, labels, weights)
        for part, weight in zip(copies.means, copies.weights, strict=True):
            moved = (part - means) * np.sqrt(weight)
            changes += moved.T @ moved
        return cls(second, sums, counts, changes, several * len(means), len(means))

    def less(self, other: _Moments) -> _Moments:
        """Return the sums without those of a part."""
        mine, theirs = vars(self), vars(other)
        return _Moments(**{name: mine[name] - theirs[name] for name in mine})

    def head(self) -> Head:
        """Compute the head of these recordings."""
        width, classes = self.second.shape[0], len(self.counts)
        whole = self.counts.sum()
        present = np.flatnonzero(
            self.counts > _EPSILON
        )  # what is left of a class that is subtracted is not quite 0
        mean = self.sums[present].sum(axis=0) / whole
        variance = np.maximum(np.diag(self.second) / whole - np.square(mean), 0)
        scale = 1 / np.sqrt(variance + _EPSILON)
        raw = self.sums[present] / self.counts[present, None]
        within = self.second - (self.sums[present].T @ raw)
        within *= np.outer(scale, scale) / self.rows
        ridge = SHRINKAGE * max(float(np.trace(within)) / width, _SMALLEST)
        kinds = max(self.rows - self.recordings, 1)
        covariance = (1 - SHRINKAGE) * (within + self.changes * np.outer(scale, scale) / kinds)
        covariance[np.diag_indices(width)] += ridge
        centres = (raw - mean) * scale
        directions = np.linalg.solve(covariance, centres.T).T
        return _head(mean, variance, directions, centres, present, classes)


def fit_head(
    means: Array, labels: Indices, classes: int, copies: Copies | None = None, weights: Array | None = None
) -> Head:
    """Fit the discriminants of mean features of recordings; all classes are expected equally often.

    Of disturbed copies it learns two things: they are recordings as well, and what a disturbance changes is no
    sign of a class. So the mean square of the changes is added to the covariance within the classes, as nuisance
    attribute projection does for channels (Solomonoff, Quillen and Campbell 2004), but shrunken.

    Args:
        means: (n, d).
        labels: class indices, (n,). A class without a recording is never recognised.
        classes: C.
        copies: of each recording.
        weights: how much each recording counts, 1 on average, (n,), as of `class_balance.corpus_weights`; None: 1.
    """
    copies = copies or Copies(np.empty((0, *means.shape)), np.empty(0))
    weights = np.ones(len(means)) if weights is None else weights
    if _are_many(means, copies):
        origin = means.mean(axis=0)  # so that squares are of small numbers
        moved = Copies(copies.means - origin, copies.weights)
        return _at(origin, _Moments.of(means - origin, labels, classes, moved, weights).head())
    whole, owners = np.concatenate([means, *copies.means]), np.tile(labels, 1 + len(copies.means))
    counts = np.tile(weights, 1 + len(copies.means))
    mean = np.average(whole, axis=0, weights=counts)
    variance = np.average(np.square(whole - mean), axis=0, weights=counts)
    rows = _standardised(whole, mean, variance)
    present = np.unique(labels)
    centres = np.stack(
        [np.average(rows[owners == label], axis=0, weights=counts[owners == label]) for label in present]
    )
    within = (rows - centres[np.searchsorted(present, owners)]) * np.sqrt(counts)[:, None]
    changes = rows[len(means) :].reshape(copies.means.shape) - rows[: len(means)]
    changes *= np.sqrt(copies.weights / max(len(changes) * len(means), 1))[:, None, None]
    directions = _solve(within, changes.reshape(-1, means.shape[1]), centres)
    return _head(mean, variance, directions, centres, present, classes)


def _are_many(means: Array, copies: Copies) -> bool:
    """Tell whether rows are more than features: then sums of squares are the smaller matrices."""
    return bool(len(means) * (1 + 2 * len(copies.means)) >= means.shape[1])


def _at(origin: Array, head: Head) -> Head:
    """Return a head of features from which `origin` was subtracted as one of the features themselves."""
    return Head(head.mean + origin, head.variance, head.weight, head.bias)


def _head(mean: Array, variance: Array, directions: Array, centres: Array, present: Indices, classes: int) -> Head:
    weight, bias = np.zeros((classes, len(mean))), np.full(classes, -np.inf)
    weight[present], bias[present] = directions, -0.5 * (directions * centres).sum(axis=1)
    return Head(mean, variance, weight, bias)


def _solve(within: Array, changes: Array, centres: Array) -> Array:
    """Multiply centres (C, d) by the inverse of a shrunken covariance S.

    S = a W'W + b I, where W has what is within the classes, (n, d), and below it the weighted changes (m, d). Its
    rank is n + m at most beside the identity. With fewer rows than features, Woodbury's identity solves a system
    of n + m equations instead of d: S^-1 c = (c - a W' (a W W' + b I)^-1 W c) / b.
    """
    count = len(within)
    share, ridge = (1 - SHRINKAGE) / count, SHRINKAGE * max(float(np.square(within).mean()), _SMALLEST)
    rows = np.concatenate([within, changes * np.sqrt(count)])
    gram = share * rows @ rows.T + ridge * np.eye(len(rows))
    solution: Array = (centres - share * np.linalg.solve(gram, rows @ centres.T).T @ rows) / ridge
    return solution


def cross_validated_logits(
    recordings: Recordings,
    groups: Indices,
    classes: int,
    seed: int,
    copies: Copies | None = None,
    weights: Array | None = None,
) -> Array:
    """Compute logits of all windows, each by a head that was fitted without the window's group.

    Args:
        recordings: all of them.
        groups: of each recording, (n,): speakers, or recordings that belong together.
        classes: C.
        seed: of the folds.
        copies: of each recording; see `fit_head`.
        weights: of each recording; see `fit_head`.

    Returns:
        (windows, C).

    Raises:
        DataError: no class has two recordings.
    """
    means, labels = recordings.means(), recordings.labels
    folds = _test_parts(labels, groups, seed)
    logits = np.zeros((len(recordings.owner), classes))
    for test, head in zip(folds, _heads_without(folds, means, labels, classes, copies, weights), strict=True):
        tested = np.isin(recordings.owner, test)
        logits[tested] = head.logits(recordings.features[tested])
    return logits


def _test_parts(labels: Indices, groups: Indices, seed: int) -> list[Indices]:
    """Divide recordings into parts without a group in two of them; indices of each."""
    from sklearn.model_selection import StratifiedGroupKFold

    most = int(np.bincount(labels).max())
    if most < 2:
        raise DataError("one recording of each class; at least 2 of a class are needed to score a head")
    folds = StratifiedGroupKFold(min(len(np.unique(groups)), most, _FOLDS), shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes that not every fold can have
        return [test for _, test in folds.split(labels, labels, groups)]


def _heads_without(
    parts: list[Indices],
    means: Array,
    labels: Indices,
    classes: int,
    copies: Copies | None,
    weights: Array | None,
) -> Iterator[Head]:
    """Fit a head without each part in turn. Of many recordings each is summed once, and a part is subtracted."""
    copies = copies or Copies(np.empty((0, *means.shape)), np.empty(0))
    weights = np.ones(len(means)) if weights is None else weights
    if not _are_many(means, copies):
        for part in parts:
            rest = np.setdiff1d(np.arange(len(means)), part)
            yield fit_head(means[rest], labels[rest], classes, copies.of(rest), weights[rest])
        return
    origin = means.mean(axis=0)
    moved = Copies(copies.means - origin, copies.weights)

    def sums(some: Indices) -> _Moments:
        return _Moments.of(means[some] - origin, labels[some], classes, moved.of(some), weights[some])

    whole = sums(np.arange(len(means)))
    for part in parts:
        yield _at(origin, whole.less(sums(part)).head())


def spread(logits: Array) -> float:
    """Measure how far apart the logits of a window are: the median standard deviation over the classes."""
    known = np.where(np.isfinite(logits), logits, np.nan)
    return float(np.nanmedian(np.nanstd(known, axis=1))) or 1.0


def _standardised(features: Array, mean: Array, variance: Array) -> Array:
    result: Array = (features - mean) / np.sqrt(variance + _EPSILON)
    return result
