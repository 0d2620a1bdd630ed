"""Shrunken discriminants: what they are, and that they learn from few recordings."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from fdan_edge.errors import DataError
from fdan_edge.training.head import (
    SHRINKAGE,
    WEAK_CHANGES,
    Copies,
    Head,
    Recordings,
    cross_validated_logits,
    fit_head,
    spread,
)


def clouds(each: int, seed: int, width: int = 12, speakers: int = 4) -> tuple[Recordings, np.ndarray]:
    """Three classes, every speaker with an offset of their own; two windows of each recording."""
    chance = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), each)
    groups = np.arange(3 * each) % speakers
    centres = np.random.default_rng(0).normal(0, 1, (3, width))
    offsets = np.random.default_rng(1).normal(0, 1, (speakers, width))
    means = centres[labels] + offsets[groups] + chance.normal(0, 0.5, (3 * each, width))
    owner = np.repeat(np.arange(3 * each), 2)
    return Recordings(means[owner] + chance.normal(0, 0.1, (6 * each, width)), owner, labels), groups


@pytest.mark.parametrize("each", [20, 3])  # more recordings than features, and fewer
def test_it_is_linear_discriminant_analysis(each: int) -> None:
    recordings, _ = clouds(each, 0)
    means, labels = recordings.means(), recordings.labels
    head = fit_head(means, labels, 3)
    standardised = (means - means.mean(0)) / np.sqrt(means.var(0) + 1e-5)
    # scikit-learn shrinks alike; its own standardisation does nothing to standardised features.
    other = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE, priors=np.full(3, 1 / 3))
    expected = other.fit(standardised, labels).decision_function(standardised)
    logits = head.logits(means)
    differences = (logits - logits[:, :1]) - (expected - expected[:, :1])
    assert np.abs(differences).max() < 0.02 * np.abs(expected).max()


def test_a_rare_class_is_recognised_as_often_as_a_common_one() -> None:
    recordings, _ = clouds(60, 0, speakers=1)
    kept = np.flatnonzero((recordings.labels != 2) | (np.arange(180) % 12 == 0))  # 5 of the third class
    head = fit_head(recordings.means()[kept], recordings.labels[kept], 3)
    answers = head.logits(recordings.means()).argmax(1)
    assert min(np.mean(answers[recordings.labels == c] == c) for c in range(3)) > 0.8


def test_a_class_without_a_recording_is_never_recognised() -> None:
    recordings, _ = clouds(10, 0)
    kept = recordings.labels != 1
    head = fit_head(recordings.means()[kept], recordings.labels[kept], 3)
    assert 1 not in head.logits(recordings.means()).argmax(1)


def test_no_window_is_scored_by_a_head_that_knows_its_group() -> None:
    """A speaker's recordings of one class that are far off: only heads that know the speaker place them."""
    recordings, groups = clouds(20, 0)
    features, marked = recordings.features.copy(), (groups == 3) & (recordings.labels == 0)
    features[marked[recordings.owner]] = recordings.features[recordings.labels[recordings.owner] == 1].mean(0)
    moved = Recordings(features, recordings.owner, recordings.labels)
    apart, together = (
        cross_validated_logits(moved, g, 3, 0).argmax(1)[marked[moved.owner]] for g in (groups, np.arange(60))
    )
    assert np.mean(apart == 0) < 0.1
    assert apart.shape == together.shape


def test_the_same_seed_gives_the_same_folds() -> None:
    recordings, _ = clouds(10, 0)
    first, second, other = (cross_validated_logits(recordings, np.arange(30), 3, seed) for seed in (0, 0, 1))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_one_recording_of_each_class_cannot_be_scored() -> None:
    recordings, _ = clouds(1, 0)
    with pytest.raises(DataError, match="one recording of each class; at least 2"):
        cross_validated_logits(recordings, np.arange(3), 3, 0)
    pair, _ = clouds(2, 0)
    logits = cross_validated_logits(pair, np.arange(6), 3, 0)
    assert np.isfinite(logits).all()
    assert np.isfinite(spread(logits))


def test_two_speakers_with_one_recording_of_each_class() -> None:
    """Nothing varies within a class of a fold; the covariance is the ridge alone, and all stays finite."""
    recordings, _ = clouds(2, 0, speakers=1)
    logits = cross_validated_logits(recordings, np.arange(6) % 2, 3, 0)
    assert np.isfinite(logits).all()
    assert 0 < spread(logits) < np.inf
    head = fit_head(recordings.means()[::2], recordings.labels[::2], 3)
    assert np.isfinite(head.weight).all()


def test_few_recordings_of_many_features() -> None:
    recordings, _ = clouds(8, 0, width=400, speakers=1)
    unseen, _ = clouds(40, 5, width=400, speakers=1)
    head = fit_head(recordings.means(), recordings.labels, 3)
    assert np.mean(head.logits(unseen.means()).argmax(1) == unseen.labels) > 0.9


def test_logits_are_scaled() -> None:
    recordings, _ = clouds(10, 0)
    head = fit_head(recordings.means(), recordings.labels, 3)
    logits = head.logits(recordings.features)
    scaled = head.scaled(1 / spread(logits)).logits(recordings.features)
    assert spread(scaled) == pytest.approx(1)
    assert np.array_equal(scaled.argmax(1), logits.argmax(1))


def weighted(copies: np.ndarray) -> Copies:
    return Copies(copies, np.full(len(copies), WEAK_CHANGES))


def test_what_copies_change_is_no_sign_of_a_class() -> None:
    """Of two features that tell the classes apart, the one that a disturbance moves has less of a say."""
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    means = rng.normal(0, 1, (200, 2)) + 3 * labels[:, None]
    copies = np.stack([means + np.array([0, shift]) for shift in (-4, 4)])
    plain, wise = fit_head(means, labels, 2), fit_head(means, labels, 2, weighted(copies))

    def say(head: Head) -> float:
        first, second = np.abs(head.weight[1] - head.weight[0])
        return float(second / first)

    assert say(plain) > 0.7
    assert say(wise) < 0.3
    moved = means + np.array([0, 4])
    assert np.mean(wise.logits(moved).argmax(1) == labels) > np.mean(plain.logits(moved).argmax(1) == labels)


@pytest.mark.parametrize("width", [5, 400])
def test_the_covariance_of_changes_is_added(width: int) -> None:
    """With more rows than features, and with fewer, where another system of equations is solved."""
    recordings, _ = clouds(8, 0, width=width)
    means, labels = recordings.means(), recordings.labels
    copies = means + np.random.default_rng(1).normal(0, 0.3, (2, *means.shape))
    head = fit_head(means, labels, 3, weighted(copies))
    whole = np.concatenate([means, *copies])
    rows = (whole - whole.mean(0)) / np.sqrt(whole.var(0) + 1e-5)
    centres = np.stack([rows[np.tile(labels, 3) == label].mean(0) for label in range(3)])
    within = rows - centres[np.tile(labels, 3)]
    changes = (rows[24:].reshape(2, 24, -1) - rows[:24]).reshape(48, -1)
    covariance = (1 - SHRINKAGE) * (within.T @ within / 72 + WEAK_CHANGES * changes.T @ changes / 48)
    covariance += SHRINKAGE * np.square(within).mean() * np.eye(width)
    np.testing.assert_allclose(head.weight, np.linalg.solve(covariance, centres.T).T, rtol=1e-6, atol=1e-8)


def test_copies_are_fitted_on_and_never_tested() -> None:
    """A copy counts as a recording of its own, in the fold of the one that it is of."""
    recordings, _ = clouds(10, 0)
    means, labels = recordings.means(), recordings.labels
    copies = means + np.random.default_rng(1).normal(0, 0.1, (2, *means.shape))
    groups = np.arange(len(labels))
    logits = cross_validated_logits(recordings, groups, 3, 0, weighted(copies))
    assert logits.shape == (len(recordings.owner), 3)
    spoilt = copies.copy()
    spoilt[:, 0] += 1000  # seen by all folds but that of the first recording
    changed = np.abs(cross_validated_logits(recordings, groups, 3, 0, weighted(spoilt)) - logits).max(axis=1)
    assert changed[recordings.owner != 0].max() > 1e-3
    assert changed[recordings.owner == 0].max() < 1e-6  # sums over the fold are subtracted


def test_each_kind_of_copy_counts_by_its_weight() -> None:
    recordings, _ = clouds(8, 0)
    means, labels = recordings.means(), recordings.labels
    copies = means + np.random.default_rng(1).normal(0, 0.3, (2, *means.shape))
    one = fit_head(means, labels, 3, Copies(copies, np.array([3.0, 0.0])))
    other = fit_head(means, labels, 3, Copies(copies, np.array([0.0, 3.0])))
    swapped = fit_head(means, labels, 3, Copies(copies[::-1], np.array([0.0, 3.0])))
    assert np.abs(one.weight - other.weight).max() > 1e-3
    np.testing.assert_allclose(one.weight, swapped.weight, rtol=1e-6)


def test_a_recording_counts_as_often_as_its_weight_says() -> None:
    recordings, _ = clouds(8, 0)
    means, labels = recordings.means(), recordings.labels
    twice = np.arange(24) % 5 == 0
    weighed = fit_head(means, labels, 3, weights=(1.0 + twice) / (1 + twice.mean()))
    repeated = fit_head(np.concatenate([means, means[twice]]), np.concatenate([labels, labels[twice]]), 3)
    np.testing.assert_allclose(weighed.weight, repeated.weight, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("width", [5, 400])
def test_cross_validated_heads_are_those_of_the_other_recordings(width: int) -> None:
    """Whether each is fitted anew, or sums over a fold are subtracted from those over all."""
    recordings, groups = clouds(8, 0, width=width)
    means, labels = recordings.means() + 50, recordings.labels
    far = Recordings(recordings.features + 50, recordings.owner, labels)
    copies = means + np.random.default_rng(1).normal(0, 0.3, (2, *means.shape))
    weights = np.random.default_rng(2).uniform(0.5, 1.5, len(labels))
    logits = cross_validated_logits(far, groups, 3, 0, weighted(copies), weights)
    for speaker in np.unique(groups):  # as many folds as speakers
        rest, own = np.flatnonzero(groups != speaker), groups[far.owner] == speaker
        head = fit_head(means[rest], labels[rest], 3, weighted(copies).of(rest), weights[rest])
        np.testing.assert_allclose(logits[own], head.logits(far.features[own]), rtol=1e-6, atol=1e-6)


def test_a_class_of_one_speaker_is_not_known_without_them() -> None:
    recordings, groups = clouds(8, 0, width=5)
    labels = np.where(groups == 0, 2, recordings.labels % 2)
    copies = recordings.means() + np.random.default_rng(1).normal(0, 0.3, (2, 24, 5))
    known = Recordings(recordings.features, recordings.owner, labels)
    logits = cross_validated_logits(known, groups, 3, 0, weighted(copies))
    own = groups[known.owner] == 0
    assert np.isneginf(logits[own, 2]).all()
    assert np.isfinite(logits[~own]).all()
