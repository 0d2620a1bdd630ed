"""Scores against numbers worked out by hand."""

from __future__ import annotations

import json

import pytest

from fdan_edge.evaluation.metrics import score

LABELS = ["angry", "happy", "sad"]
#: true angry: 3 of 4 right; true happy: 1 of 2; sad does not occur but is predicted once
TRUE, PREDICTED = [0, 0, 0, 0, 1, 1], [0, 0, 0, 2, 1, 0]


def test_scores_by_hand() -> None:
    made = score(TRUE, PREDICTED, LABELS)
    assert made.n == 6
    assert made.war == pytest.approx(4 / 6)
    assert made.uar == pytest.approx((3 / 4 + 1 / 2) / 2)
    # F1 = 2 right / (2 right + wrong ones): angry 6 / (6 + 1 + 1), happy 2 / (2 + 1 + 0)
    assert made.wf1 == pytest.approx((4 * 6 / 8 + 2 * 2 / 3) / 6)
    assert made.recall == {"angry": 0.75, "happy": 0.5}
    assert made.confusion == [[3, 0, 1], [1, 1, 0], [0, 0, 0]]


def test_perfect_and_hopeless() -> None:
    perfect, hopeless = score([0, 1, 2], [0, 1, 2], LABELS), score([0, 1, 2], [1, 2, 0], LABELS)
    assert (perfect.war, perfect.uar, perfect.wf1) == (1, 1, 1)
    assert (hopeless.war, hopeless.uar, hopeless.wf1) == (0, 0, 0)


def test_one_class_only() -> None:
    made = score([1, 1], [1, 0], LABELS)
    assert made.uar == made.war == 0.5
    assert made.confusion[1] == [1, 1, 0]


def test_uar_counts_small_classes_fully() -> None:
    made = score([0] * 99 + [1], [0] * 100, LABELS)
    assert made.war == pytest.approx(0.99)
    assert made.uar == pytest.approx(0.5)


def test_for_people_and_for_json() -> None:
    made = score(TRUE, PREDICTED, LABELS)
    assert made.line() == "UAR 62.5 %  WAR 66.7 %  w-F1 72.2 %  (n = 6)"
    assert json.loads(json.dumps(made.to_dict()))["confusion"] == made.confusion
