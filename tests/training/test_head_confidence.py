"""How sure a head may be: what is said in noise is right about as often as what is said in quiet."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fdan_edge.evaluation.calibration import soften
from fdan_edge.training.head_confidence import fit_confidence

N, C = 1200, 4


def logits(true: NDArray[np.int64], strength: float, seed: int) -> NDArray[np.float64]:
    """What a head says of recordings: the less of the voice is left, the more chance decides."""
    noise = np.random.default_rng(seed).normal(size=(len(true), C))
    return 3 * (strength * np.eye(C)[true] + 0.5 * noise)


@pytest.fixture(scope="module")
def true() -> NDArray[np.int64]:
    return np.random.default_rng(0).integers(0, C, N)


def right(said: NDArray[np.float64], true: NDArray[np.int64], confidence: float, temperature: float) -> float:
    probabilities = soften(said, np.arange(len(true)), temperature)
    sure = probabilities.max(axis=1) >= confidence
    return float((probabilities.argmax(axis=1) == true)[sure].mean())


def test_with_copies_what_is_said_in_noise_is_right_more_often(true: NDArray[np.int64]) -> None:
    clean, noisy, owner = logits(true, 1.2, 1), logits(true, 0.4, 2), np.arange(N)
    alone, without = fit_confidence(clean, owner, true, None, 3.0)
    both, with_copies = fit_confidence(clean, owner, true, noisy, 3.0)
    assert both.temperature > alone.temperature
    assert without["recordings"] == with_copies["recordings"] == N
    before = right(noisy, true, without["confidence"], alone.temperature)
    after = right(noisy, true, with_copies["confidence"], both.temperature)
    assert after > before + 0.03
    assert with_copies["part"].startswith("the training")


def test_windows_of_a_recording_are_averaged(true: NDArray[np.int64]) -> None:
    clean = logits(true, 0.8, 1)
    once, unknown = fit_confidence(clean, np.arange(N), true, None, 3.0)
    twice, again = fit_confidence(np.repeat(clean, 2, axis=0), np.repeat(np.arange(N), 2), true, None, 3.0)
    assert twice.temperature == pytest.approx(once.temperature, rel=1e-4)
    assert again["confidence"] == pytest.approx(unknown["confidence"], abs=1e-3)


def test_where_all_are_right_the_usual_one_is_taken(true: NDArray[np.int64]) -> None:
    _, unknown = fit_confidence(100.0 * np.eye(C)[true], np.arange(N), true, None, 3.0)
    assert unknown == {"confidence": 0.5, "note": f"all of {N} recordings are right"}
