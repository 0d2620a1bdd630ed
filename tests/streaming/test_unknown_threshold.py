"""The confidence below which a stream says unknown: as wanted, as the model says, or the usual."""

from __future__ import annotations

from typing import Any

import pytest

from fdan_edge.streaming.unknown_threshold import HIGHEST, USUAL, Doubt, Fixed, doubt_of
from tests.helpers.stream_parts import spec


def test_the_models_own_falls_with_what_was_heard() -> None:
    doubt = doubt_of(spec(window=48000, unknown_below={"confidence": 0.4, "logit": [0.4, -1.5]}))
    assert doubt(1.0) == pytest.approx(0.598688)
    assert doubt(0.5) > doubt(1.0) > doubt(2.0) > doubt(3.0)
    assert doubt(9.0) == doubt(3.0)  # the model hears no more than its window


def test_it_stays_between_chance_and_what_is_still_said() -> None:
    assert Doubt(9.0, 0.0, 0.2, 3.0)(1.0) == HIGHEST
    assert Doubt(-9.0, 0.0, 0.2, 3.0)(1.0) == 0.2
    assert Doubt(0.0, -1.0, 0.2, 3.0)(0.0) == HIGHEST


def test_as_wanted() -> None:
    assert doubt_of(spec(unknown_below={"confidence": 0.3}), 0.0) == Fixed(0.0)


@pytest.mark.parametrize(
    "own",
    [
        None,
        "x",
        {},
        {"confidence": "x"},
        {"confidence": 7},
        {"logit": [1]},
        {"logit": [1, float("nan")]},
        {"logit": "ab"},
    ],
)
def test_what_cannot_be_right_is_the_usual(own: Any) -> None:
    assert doubt_of(spec(unknown_below=own))(1.0) == USUAL


def test_a_model_that_says_one_confidence_only() -> None:
    assert doubt_of(spec(unknown_below={"confidence": 0.3}))(0.1) == 0.3
