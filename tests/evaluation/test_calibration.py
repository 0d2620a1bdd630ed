"""Calibration: ECE by hand, a temperature that is known because the labels were drawn with it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from fdan_edge.evaluation.calibration import HIGHEST, LOWEST, Copies, Indices, fit_temperature, measure, soften

Floats = NDArray[np.float64]


def drawn(temperature: float, n: int, windows: int = 1, seed: int = 0) -> tuple[Floats, Indices, Indices]:
    """Logits of windows, their owners, and classes drawn from the softened probabilities."""
    chance = np.random.default_rng(seed)
    logits = chance.normal(0, 3, (n * windows, 7))
    owner = np.repeat(np.arange(n), windows)
    probabilities = soften(logits, owner, temperature)
    true = (probabilities.cumsum(axis=1) > chance.random((n, 1))).argmax(axis=1)
    return logits, owner, true


def test_ece_and_nll_by_hand() -> None:
    probabilities = np.array([[0.95, 0.05], [0.92, 0.08], [0.3, 0.7], [0.35, 0.65], [0.6, 0.4]])
    made = measure(probabilities, np.array([0, 1, 1, 0, 0]))
    # (0.9, 1]: sure by 0.935, right in 1 of 2; (0.6, 0.7]: 0.675, 1 of 2; (0.5, 0.6]: 0.6, 1 of 1
    assert made.ece == pytest.approx((2 * 0.435 + 2 * 0.175 + 0.4) / 5)
    assert made.nll == pytest.approx(-sum(map(math.log, (0.95, 0.08, 0.7, 0.35, 0.6))) / 5)
    assert [b.n for b in made.bins] == [0, 0, 0, 0, 0, 1, 2, 0, 0, 2]
    assert made.bins[9].accuracy == 0.5
    assert made.line() == f"ECE 32.4 %   NLL {made.nll:.3f}"
    assert json.loads(json.dumps(made.to_dict()))["bins"][9]["n"] == 2


def test_extremes_of_ece() -> None:
    sure = np.eye(3)[[0, 1, 2, 0]]
    assert measure(sure, np.array([0, 1, 2, 0])).ece == 0
    assert measure(sure, np.array([1, 2, 0, 1])).ece == 1
    assert measure(sure, np.array([1, 2, 0, 1])).nll == pytest.approx(-math.log(1e-9))  # not infinite


def test_an_edge_belongs_to_the_bin_below_it_in_float32_too() -> None:
    for kind in (np.float32, np.float64):
        made = measure(np.array([[0.3, 0.3, 0.3, 0.1]], kind), np.array([0]))
        assert [b.n for b in made.bins].index(1) == 2


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("windows", [1, 3])
def test_a_known_temperature_is_found(temperature: float, windows: int) -> None:
    fitted = fit_temperature(*drawn(temperature, 4000, windows))
    assert fitted.temperature == pytest.approx(temperature, rel=0.1)
    assert fitted.n == 4000
    assert fitted.nll_after <= fitted.nll_before
    assert fitted.ece_after < 0.03
    if temperature == 2.5:
        assert fitted.ece_before > 0.1


def test_windows_of_a_recording_are_averaged_after_the_softmax() -> None:
    logits = np.array([[2.0, 0.0], [0.0, 4.0], [1.0, 1.0]])
    made = soften(logits, np.array([0, 0, 1]), 2.0)
    first = (1 / (1 + math.exp(-1)) + 1 / (1 + math.exp(2))) / 2
    np.testing.assert_allclose(made, [[first, 1 - first], [0.5, 0.5]])


def test_one_window_keeps_its_label_and_several_are_counted() -> None:
    assert fit_temperature(*drawn(3.0, 500)).labels_changed == 0
    # One sure window against two doubtful ones: surer of itself, the two outvote it.
    logits = np.tile([[3.0, 0.0], [0.0, 0.3], [0.0, 0.3]], (40, 1))
    fitted = fit_temperature(logits, np.repeat(np.arange(40), 3), np.ones(40, int))
    assert fitted.temperature < 0.5
    assert fitted.labels_changed == 40


def test_few_recordings_move_the_temperature_little() -> None:
    """Two right answers call for T = 0, two wrong ones for T = infinity; both are hardly evidence."""
    logits = np.array([[2.0, 0.0], [0.0, 2.0]])
    right, wrong = (fit_temperature(logits, np.arange(2), np.array(true)).temperature for true in ([0, 1], [1, 0]))
    assert 0.6 < right < 1 < wrong < 3


@pytest.mark.parametrize("true", [[0, 1] * 200, [1, 0] * 200])
def test_extremes_stay_within_bounds_and_do_no_harm(true: list[int]) -> None:
    fitted = fit_temperature(np.array([[8.0, 0.0], [0.0, 8.0]] * 200), np.arange(400), np.array(true))
    assert LOWEST <= fitted.temperature <= HIGHEST
    assert fitted.nll_after <= fitted.nll_before
    assert fitted.labels_changed == 0


def test_logits_that_say_nothing_leave_the_temperature_at_1() -> None:
    assert fit_temperature(np.zeros((50, 4)), np.arange(50), np.arange(50) % 4).temperature == 1


def test_copies_in_noise_count_as_their_recordings_do() -> None:
    """A model that is sure, right in quiet and at chance in noise is believed less where both are known."""
    chance, n = np.random.default_rng(0), 400
    true = chance.integers(0, 4, n)
    sure = 4.0 * np.eye(4)[true]
    guessed = 4.0 * np.eye(4)[chance.integers(0, 4, n)]
    owner = np.arange(n)
    quiet = fit_temperature(sure, owner, true)
    both = fit_temperature(sure, owner, true, Copies(guessed, owner, true))
    assert quiet.temperature < 1 < both.temperature
    same = fit_temperature(sure, owner, true, Copies(sure, owner, true))
    twice = fit_temperature(np.tile(sure, (2, 1)), np.arange(2 * n), np.tile(true, 2))
    assert same.temperature == pytest.approx(twice.temperature, rel=1e-6)
    assert (both.n, both.nll_before) == (n, quiet.nll_before)  # what it does is told of the recordings alone
