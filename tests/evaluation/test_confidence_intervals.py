"""Bootstrap intervals: known cases, clusters, and coverage of a truth that is known because it is simulated."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from fdan_edge.evaluation.confidence_intervals import FEW, RESAMPLES, _scores, intervals, percentiles, uar_draws
from fdan_edge.evaluation.metrics import score

LABELS = ["angry", "happy", "sad"]


def two_by_two(speakers: int, each: int) -> tuple[list[int], list[int], list[str]]:
    """Every other speaker is recognised always, the others never."""
    true = [0, 1] * (each // 2) * speakers
    names = [str(s) for s in range(speakers) for _ in range(each)]
    predicted = [t if int(name) % 2 else 1 - t for t, name in zip(true, names, strict=True)]
    return true, predicted, names


@pytest.mark.parametrize("names", [None, ["a", "a", "b", "b", "c", "c"]])
def test_all_right_and_all_wrong_have_no_width(names: list[str] | None) -> None:
    true = [0, 1, 2, 0, 1, 2]
    speakers: list[str | None] = [*names] if names else [None] * 6
    right = intervals(true, true, LABELS, speakers)
    assert right.uar == right.war == right.wf1 == (1, 1)
    assert [high for _, high in right.recall.values()] == [1, 1, 1]
    assert all(0.3 < low < 0.4 for low, _ in right.recall.values())  # Wilson's of 2 of 2: nobody knows more
    wrong = intervals(true, [1, 2, 0] * 2, LABELS, speakers)
    assert wrong.uar == wrong.war == wrong.wf1 == (0, 0)


def test_speakers_that_are_all_right_or_all_wrong_make_it_wider_than_recordings_do() -> None:
    true, predicted, names = two_by_two(12, 40)
    by_speaker = intervals(true, predicted, LABELS[:2], names)
    by_recording = intervals(true, predicted, LABELS[:2], [None] * len(true))
    assert (by_speaker.unit, by_speaker.units) == ("speaker", 12)
    assert (by_recording.unit, by_recording.units) == ("recording", 480)
    # Standard errors: sqrt(0.25 / 12) = 0.144 and sqrt(0.25 / 480) = 0.023, times 2 * 1.96.
    assert by_speaker.war[1] - by_speaker.war[0] == pytest.approx(0.566, abs=0.09)
    assert by_recording.war[1] - by_recording.war[0] == pytest.approx(0.089, abs=0.01)


def test_two_speakers_by_hand() -> None:
    """A quarter of the draws has the good speaker twice, a quarter the bad one."""
    true, predicted, names = two_by_two(2, 10)
    assert intervals(true, predicted, LABELS[:2], names).uar == (0, 1)


def test_scores_of_a_resample_are_those_of_the_papers() -> None:
    chance = np.random.default_rng(0)
    true, predicted = chance.integers(0, 3, (2, 60)).tolist()
    expected = score(true, predicted, LABELS)
    made = _scores(np.array([expected.confusion]))
    assert {k: made[k][0] for k in ("uar", "war", "wf1")} == pytest.approx(
        {"uar": expected.uar, "war": expected.war, "wf1": expected.wf1}
    )
    assert made["recall"][0].tolist() == pytest.approx(list(expected.recall.values()))


def test_a_class_that_does_not_occur_or_only_in_one_speaker() -> None:
    made = intervals([0, 0, 0, 1], [0, 2, 0, 1], LABELS, ["a", "b", "c", "c"])
    assert made.recall.keys() == {"angry", "happy"}
    low, high = made.recall["happy"]
    assert (round(low, 2), high) == (0.21, 1)  # 1 in the resamples that have it; Wilson's of 1 of 1
    assert made.recall["angry"] == (0, 1)
    assert all(np.isfinite([*made.uar, *made.war, *made.wf1]))


def test_the_same_seed_gives_the_same_interval_and_the_unit_is_named() -> None:
    true, predicted, names = two_by_two(4, 10)
    first = intervals(true, predicted, LABELS[:2], names, seed=3)
    assert first == intervals(true, predicted, LABELS[:2], names, seed=3)
    assert first.resamples == RESAMPLES == 2000
    assert first.note() == "2000 resamples of 4 speakers; few: likely too narrow"
    many = intervals(*two_by_two(FEW, 4)[:2], LABELS[:2], two_by_two(FEW, 4)[2])
    assert many.note() == f"2000 resamples of {FEW} speakers"
    values = json.loads(json.dumps(first.to_dict()))
    assert (values["unit"], values["units"], values["level"]) == ("speaker", 4, 0.95)
    assert values["uar"] == list(first.uar)
    assert values["note"] == first.note()


def test_recordings_are_drawn_where_speakers_are_not_all_known_or_only_one() -> None:
    true, predicted, names = two_by_two(4, 10)
    some = intervals(true, predicted, LABELS[:2], [None, *names[1:]])
    assert (some.unit, some.units, some.speakers) == ("recording", 40, None)
    assert some.note() == "2000 resamples of 40 recordings; speakers not known"
    one = intervals(true, predicted, LABELS[:2], ["a"] * 40)
    assert (one.unit, one.speakers) == ("recording", 1)
    assert one.note() == "2000 resamples of 40 recordings; of one speaker only"
    assert one.uar[1] - one.uar[0] > 0.2
    single = intervals([0], [0], LABELS, [None])
    assert single.note() == "2000 resamples of 1 recording; speakers not known; few: likely too narrow"


def test_coverage_of_a_known_truth() -> None:
    """200 simulated tests of 16 speakers: about 95 % of the intervals by speaker hold the true UAR.

    By recording they are too narrow for speakers who differ. 200 draws of 0.93 have a standard error of 0.018.
    """
    chance = np.random.default_rng(1)
    truth, speakers, each = 0.6, 16, 30
    held = {"speaker": 0, "recording": 0}
    for trial in range(200):
        skill = chance.beta(6, 4, speakers)  # mean 0.6
        names = np.repeat(np.arange(speakers), each)
        true = np.tile([0, 1, 2], speakers * each // 3)
        predicted = np.where(chance.random(len(true)) < skill[names], true, (true + 1) % 3)
        for unit in held:
            known = [str(n) if unit == "speaker" else None for n in names]
            low, high = intervals(true.tolist(), predicted.tolist(), LABELS, known, seed=trial).uar
            held[unit] += low <= truth <= high
    assert 0.87 < held["speaker"] / 200 < 0.99
    assert held["recording"] / 200 < 0.8


@pytest.mark.parametrize("known", [True, False])
def test_thousands_of_recordings_take_no_time(known: bool) -> None:
    chance = np.random.default_rng(0)
    true, predicted = chance.integers(0, 8, (2, 20000)).tolist()
    names = [str(i % 100) if known else None for i in range(20000)]
    start = time.process_time()
    intervals(true, predicted, [str(c) for c in range(8)], names)
    assert time.process_time() - start < 1


@pytest.mark.parametrize("known", [True, False])
def test_draws_of_the_uar_span_its_interval(known: bool) -> None:
    chance = np.random.default_rng(0)
    true, predicted = chance.integers(0, 3, (2, 300)).tolist()
    names = [str(i % 12) if known else None for i in range(300)]
    draws = uar_draws(true, predicted, LABELS, names)
    assert draws.shape == (RESAMPLES,)
    # Recordings are drawn in another way there: the same up to chance.
    expected = intervals(true, predicted, LABELS, names).uar
    assert percentiles(draws) == pytest.approx(expected, abs=1e-12 if known else 0.01)


@pytest.mark.parametrize("known", [True, False])
def test_draws_are_of_the_same_units_whatever_was_predicted(known: bool) -> None:
    """A model that is right where another is wrong has, draw by draw, what that one lacks."""
    true, predicted, names = two_by_two(8, 4)
    speakers = names if known else [None] * len(names)
    other = [1 - p for p in predicted]
    one, two = (uar_draws(true, said, LABELS[:2], speakers) for said in (predicted, other))
    assert one.std() > 0.05
    assert np.allclose(one + two, 1)
