"""The confidence below which a stream says unknown: as wanted, as the model says, or the usual."""

from __future__ import annotations

from typing import Any

import pytest

from fdan_edge.streaming.unknown_threshold import (
    DEFAULT_THRESHOLD,
    MAX_THRESHOLD,
    FixedThreshold,
    ThresholdCurve,
    unknown_threshold,
)
from tests.helpers.stream_parts import spec


def test_the_models_own_falls_with_what_was_heard() -> None:
    threshold = unknown_threshold(spec(window=48000, unknown_below={"confidence": 0.4, "logit": [0.4, -1.5]}))
    assert threshold(1.0) == pytest.approx(0.598688)
    assert threshold(0.5) > threshold(1.0) > threshold(2.0) > threshold(3.0)
    assert threshold(9.0) == threshold(3.0)  # the model hears no more than its window


def test_it_stays_between_chance_and_what_is_still_said() -> None:
    assert ThresholdCurve(9.0, 0.0, 0.2, 3.0)(1.0) == MAX_THRESHOLD
    assert ThresholdCurve(-9.0, 0.0, 0.2, 3.0)(1.0) == 0.2
    assert ThresholdCurve(0.0, -1.0, 0.2, 3.0)(0.0) == MAX_THRESHOLD


def test_as_wanted() -> None:
    assert unknown_threshold(spec(unknown_below={"confidence": 0.3}), 0.0) == FixedThreshold(0.0)


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
    assert unknown_threshold(spec(unknown_below=own))(1.0) == DEFAULT_THRESHOLD


def test_a_model_that_says_one_confidence_only() -> None:
    assert unknown_threshold(spec(unknown_below={"confidence": 0.3}))(0.1) == 0.3
