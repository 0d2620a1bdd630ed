"""The gate: what an artifact may differ in, in each precision, and what too few recordings cannot tell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fdan_edge.export import gate
from fdan_edge.export.gate import Answers, Check, compare, loss_is_allowed, total_variation
from fdan_edge.runtime.runner import Probabilities

LABELS = ("a", "b", "c")


def said(*rows: list[float]) -> Probabilities:
    return np.array(rows, np.float32)


def answers(expected: Probabilities, emotions: str, speakers: str = "") -> Answers:
    """PyTorch's, of recordings whose classes are given, one letter each."""
    true = [LABELS.index(letter) for letter in emotions]
    return Answers(expected, true, LABELS, list(speakers or "1" * len(true)), "here")


def check(
    answer: list[float], precision: str, reference: tuple[float, ...] = (0.5, 0.3, 0.2), count: int = 3
) -> Check:
    """Of recordings of class a that all get one answer."""
    return compare(answers(said(*[list(reference)] * count), "a" * count), said(*[answer] * count), precision)


def flipped(count: int, wrong: int, gained: int = 0) -> Check:
    """Int8 of recordings of two classes by turns, of which it loses and gains some by a hair."""
    near, far = [0.51, 0.49, 0.0], [0.49, 0.51, 0.0]
    letters = ("ab" * count)[:count]
    right = [near if letter == "a" else far for letter in letters]
    other = [far if letter == "a" else near for letter in letters]
    expected = right[:-gained] + other[-gained:] if gained else right
    got = other[:wrong] + right[wrong:]
    return compare(answers(said(*expected), letters), said(*got), "int8")


@pytest.mark.parametrize(
    ("answer", "passes"),
    [
        ([0.5, 0.3, 0.2], True),
        ([0.5005, 0.2995, 0.2], True),
        ([0.502, 0.298, 0.2], False),
        ([float("nan"), 0.3, 0.2], False),
        ([0.3, 0.5, 0.2], False),
    ],
)
def test_fp32_may_differ_by_a_thousandth(answer: list[float], passes: bool) -> None:
    compared = check(answer, "fp32")
    assert compared.passed is passes
    assert compared.distance is None


def test_fp32_may_not_change_a_label_within_the_tolerance() -> None:
    compared = check([0.3996, 0.4, 0.2], "fp32", (0.4, 0.3996, 0.2))
    assert (compared.passed, compared.flips) == (False, 3)
    assert compared.line().startswith(
        "3 real clips (here): largest probability difference 4.0e-04 (allowed 0.001), 3 labels"
    )


def test_total_variation_is_half_of_all_differences() -> None:
    one, other = said([1, 0, 0], [0.5, 0.3, 0.2]), said([0, 0.5, 0.5], [0.4, 0.3, 0.3])
    assert total_variation(one, other) == pytest.approx([1, 0.1])
    assert total_variation(one, one).tolist() == [0, 0]


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_lower_precisions_are_judged_by_their_distance(precision: str) -> None:
    limit = gate.DISTANCE[precision]
    assert check([0.5 - 0.9 * limit, 0.3 + 0.9 * limit, 0.2], precision).passed
    far = check([0.5 - 1.1 * limit, 0.3 + 1.1 * limit, 0.2], precision)
    assert (far.passed, far.flips) == (False, 0)
    assert not check([float("nan"), 0.3, 0.2], precision).passed
    assert f"total variation distance {1.1 * limit:.4f} in the mean (allowed {limit:g}; 3 clips)" in far.line()


def test_a_choice_of_layers_is_judged_more_strictly() -> None:
    reference, got = said([0.5, 0.3, 0.2]), said([0.425, 0.375, 0.2])
    assert compare(answers(reference, "a"), got, "int8").passed
    assert not compare(answers(reference, "a"), got, "int8", strictness=0.8).passed


@pytest.mark.parametrize(
    ("count", "wrong", "passes"),
    [
        (26, 1, True),  # 3.8 points, and nobody knows
        (26, 8, False),
        (500, 4, True),  # 0.8 points
        (500, 6, False),  # 1.2 points, and surely a loss
        (500, 8, False),
        (500, 25, False),
    ],
)
def test_a_loss_above_the_limit_is_refused_where_it_is_sure(count: int, wrong: int, passes: bool) -> None:
    compared = flipped(count, wrong)
    assert compared.loss == pytest.approx(100 * wrong / count)
    assert compared.passed is passes
    assert compared.distance
    assert compared.distance.mean < 0.01  # so it is the loss that decides
    assert ("; allowed 1, too few clips to tell)" in compared.line()) is (count == 26 and passes)


def test_labels_that_were_gained_weigh_up_those_that_were_lost() -> None:
    assert flipped(500, wrong=8, gained=8).passed
    gain = flipped(26, wrong=0, gained=13)
    assert gain.passed
    assert gain.loss == pytest.approx(-50)
    assert "loss -50.0" in gain.line()


@pytest.mark.parametrize(
    ("loss", "interval", "allowed"),
    [
        (1.0, (-5, 9), True),
        (1.01, (-5, 9), True),  # may be none
        (1.01, (0.0, 9), True),
        (1.01, (0.1, 2.0), False),
        (5.0, (0.1, 20), False),
        (float("nan"), (float("nan"), float("nan")), False),
    ],
)
def test_which_losses_are_allowed(loss: float, interval: tuple[float, float], allowed: bool) -> None:
    assert loss_is_allowed(1.0, loss, interval) is allowed


@pytest.mark.parametrize(("speakers", "narrow"), [("12" * 16, False), ("abcdefghijklmnop" * 2, True)])
def test_draws_go_by_speaker_where_there_are_many(speakers: str, narrow: bool) -> None:
    """Every speaker loses one of two recordings, so draws of speakers all lose the same."""
    expected = said(*[[0.8, 0.1, 0.1]] * 32)
    got = said(*[[0.1, 0.8, 0.1]] * 16, *[[0.8, 0.1, 0.1]] * 16)
    low, high = compare(answers(expected, "a" * 32, speakers), got, "int8").loss_interval
    assert (high - low < 1) is narrow


def test_where_nothing_is_unseen_the_distance_alone_decides() -> None:
    seen = answers(said(*[[0.51, 0.49, 0]] * 60), "a" * 60)
    seen = replace(seen, truth="what PyTorch recognises", trained_on=np.ones(60, bool))
    compared = compare(seen, said(*[[0.49, 0.51, 0]] * 60), "int8")
    assert (compared.passed, compared.flips, compared.trained_on) == (True, 60, True)
    assert compared.allowed() == "mean total variation distance 0.08"
    line = compared.line()
    assert line.startswith(
        "60 real clips (here): 60 labels differ from PyTorch's; total variation distance 0.0333"
    )
    assert line.endswith("60 clips, 60 of them trained on)")
    assert not compare(seen, said(*[[0.4, 0.6, 0]] * 60), "int8").passed


def test_more_clips_serve_the_distance_only() -> None:
    """Of four recordings the first two have labels to count; the others are farther off than is allowed."""
    expected = said(*[[0.6, 0.4, 0]] * 4)
    got = said(*[[0.6, 0.4, 0]] * 2, *[[0.4, 0.6, 0]] * 2)
    seen = replace(answers(expected, "aa"), trained_on=np.array([False, False, False, True]))
    compared = compare(seen, got, "int8")
    assert (compared.clips, compared.flips, compared.loss, compared.trained_on) == (2, 0, 0, False)
    assert compared.distance
    assert (compared.distance.clips, compared.distance.trained_on) == (4, 1)
    assert compared.distance.mean == pytest.approx((0.2 + 0.2 / gate.OF_TRAINED_ON) / 4, abs=1e-5)
    assert compared.distance.largest == pytest.approx(0.2 / gate.OF_TRAINED_ON, abs=1e-5)
    assert not compared.passed
    assert compare(seen, got, "fp32").passed


def test_what_was_trained_on_counts_as_if_it_were_unseen() -> None:
    """Answers that are softened by what made them sure are as far apart as they were before."""
    chance = np.random.default_rng(0)
    logits = chance.normal(0, 1.5, (400, 3))
    moved = logits + chance.normal(0, 0.3, (400, 3))
    unsure, other, sure, surely = (
        gate.soften(np.exp(values), 1.0).astype(np.float32) for values in (logits, moved, 3 * logits, 3 * moved)
    )
    temperature = gate.temperature_for(sure, float(unsure.max(1).mean()))
    assert temperature == pytest.approx(3, rel=0.02)
    seen = replace(answers(sure, "a" * 400), trained_on=np.arange(400) >= 200, temperature=temperature)
    found = gate.distances(seen, surely)
    assert found[:200] == pytest.approx(total_variation(sure, surely)[:200])
    corrected = total_variation(unsure, other)[200:].mean() / gate.OF_TRAINED_ON
    assert found[200:].mean() == pytest.approx(corrected, rel=0.05)


@pytest.mark.parametrize(("accuracy", "temperature"), [(1.0, 1.0), (0.0, 4.0)])
def test_the_temperature_has_bounds(accuracy: float, temperature: float) -> None:
    assert gate.temperature_for(said([0.9, 0.1, 0.0]), accuracy) == temperature


def test_report() -> None:
    compared = check([0.5005, 0.2995, 0.2], "fp32")
    report = compared.report("0" * 64, None, None, None)
    assert (report.clips, report.flips, report.passed, report.truth) == (3, 0, True, "the labels")
    assert report.max_difference == pytest.approx(5e-4)
    assert report.mean_difference == pytest.approx(1e-3 / 3, abs=1e-6)
    assert report.loss_interval == (0, 0)
    assert report.allowed == "difference 0.001, no label"
    assert (report.line, report.onnx_sha256) == (compared.line(), "0" * 64)
    assert (report.distance, report.trained_on) == (None, False)


def test_the_report_of_int8_has_its_distance() -> None:
    report = check([0.48, 0.32, 0.2], "int8").report("0" * 64, None, None, None)
    assert report.distance
    assert (report.distance.mean, report.distance.largest, report.distance.limit) == (0.02, 0.02, 0.08)
    assert report.allowed == "mean total variation distance 0.08, 1 point of UAR"
