"""Labels with hysteresis, and the segments that they make."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fdan_edge.streaming.events import UNKNOWN, Result, Segment
from fdan_edge.streaming.label_tracker import LabelTracker
from fdan_edge.streaming.settings import StreamSettings
from fdan_edge.streaming.unknown_threshold import FixedThreshold, ThresholdCurve

LABELS = ("angry", "happy", "sad")
HOP = 0.25
ANGRY, HAPPY, SAD, NONE = [0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.34, 0.33, 0.33]


def heard(
    windows: list[list[float]], begin: float = 1.0, unknown_below: float = 0.5, **settings: float
) -> tuple[list[Result], list[Segment]]:
    """Results and segments of speech that begins at 1 s, a window each 0.25 s."""
    settings = {"smoothing": 0.0, "hold": 0.5, "margin": 0.1, **settings}
    tracker = LabelTracker(LABELS, StreamSettings(**settings), FixedThreshold(unknown_below), HOP)  # type: ignore[arg-type]
    tracker.begin(begin)
    results, segments = [], []
    for number, window in enumerate(windows, 1):
        result, ended = tracker.update(begin, begin + number * HOP, np.array(window, np.float32))
        results.append(result)
        segments.extend([ended] if ended else [])
    last = tracker.end(begin + len(windows) * HOP)
    return results, [*segments, *([last] if last else [])]


def test_one_label_is_one_segment() -> None:
    results, segments = heard([ANGRY] * 4)
    assert [one.label for one in results] == ["angry"] * 4
    (only,) = segments
    assert (only.start, only.end, only.label) == (1.0, 2.0, "angry")
    assert only.confidence == pytest.approx(0.8)
    assert only.probabilities == pytest.approx({"angry": 0.8, "happy": 0.1, "sad": 0.1})


def test_another_label_must_lead_for_a_while() -> None:
    results, segments = heard([ANGRY, ANGRY, HAPPY, ANGRY, HAPPY, HAPPY, HAPPY])
    assert [one.label for one in results] == ["angry"] * 5 + ["happy"] * 2
    assert [(one.label, one.start, one.end) for one in segments] == [("angry", 1.0, 2.0), ("happy", 2.0, 2.75)]
    assert [one.confidence for one in segments] == pytest.approx([0.8, 0.8])


def test_and_by_a_margin() -> None:
    near = [0.45, 0.52, 0.03]
    assert {one.label for one in heard([ANGRY, *[near] * 9])[0]} == {"angry"}
    assert heard([ANGRY, *[near] * 9], margin=0.05)[0][-1].label == "happy"


def test_two_rivals_in_turn_are_neither() -> None:
    results, segments = heard([ANGRY, HAPPY, SAD, HAPPY, SAD, HAPPY])
    assert {one.label for one in results} == {"angry"}
    assert len(segments) == 1


def test_unknown_where_nothing_is_sure() -> None:
    results, segments = heard([NONE] * 3)
    assert {one.label for one in results} == {UNKNOWN}
    assert results[0].confidence == pytest.approx(0.34)
    assert [(one.label, one.start, one.end) for one in segments] == [(UNKNOWN, 1.0, 1.75)]


def test_unknown_is_left_and_entered_with_hysteresis() -> None:
    almost = [0.45, 0.3, 0.25]  # not sure enough to be shown, sure enough to stay
    assert heard([almost] * 4)[0][-1].label == UNKNOWN
    assert heard([ANGRY, *[almost] * 4])[0][-1].label == "angry"
    results, segments = heard([ANGRY, NONE, NONE, HAPPY, HAPPY])
    assert [one.label for one in results] == ["angry", "angry", UNKNOWN, UNKNOWN, "happy"]
    assert [one.label for one in segments] == ["angry", UNKNOWN, "happy"]
    assert [one.end for one in segments] == [1.25, 1.75, 2.25]


def test_segments_follow_each_other_without_a_gap() -> None:
    random = np.random.default_rng(0)
    windows = random.dirichlet([0.3] * 3, 200).tolist()
    _, segments = heard(windows, hold=0.25)
    assert len(segments) > 10
    assert [one.end for one in segments[:-1]] == [one.start for one in segments[1:]]
    assert (segments[0].start, segments[-1].end) == (1.0, 1.0 + 200 * HOP)
    assert all(one.end > one.start for one in segments)
    assert all(one.label != other.label for one, other in itertools.pairwise(segments[:-1]))


def test_smoothing_is_an_exponential_mean_by_the_square_of_what_was_heard() -> None:
    results, _ = heard([ANGRY, HAPPY, HAPPY], smoothing=0.5, hold=60)
    kept = np.exp(-HOP / 0.5)
    weights = np.array([kept**2 * 0.25**2, kept * 0.5**2, 0.75**2])
    assert results[0].probabilities["happy"] == pytest.approx(0.1)
    assert results[1].probabilities["happy"] == pytest.approx(np.average([0.1, 0.8], weights=weights[:2]))
    assert results[2].probabilities["happy"] == pytest.approx(np.average([0.1, 0.8, 0.8], weights=weights))
    assert results[1].raw["happy"] == pytest.approx(0.8)


def test_the_first_label_is_the_first_that_is_sure_and_has_the_speech_from_its_start() -> None:
    results, segments = heard([NONE, NONE, HAPPY, HAPPY])
    assert [one.label for one in results] == [UNKNOWN, UNKNOWN, "happy", "happy"]
    assert [(one.label, one.start, one.end) for one in segments] == [("happy", 1.0, 2.0)]


def test_the_last_segment_has_the_label_that_is_likeliest_in_the_end() -> None:
    results, segments = heard([ANGRY, ANGRY, SAD], hold=60)
    assert results[-1].label == "angry"
    assert [(one.label, one.end) for one in segments] == [("sad", 1.75)]
    assert segments[0].confidence == pytest.approx(0.8)


def test_the_final_result_says_what_the_segment_after_it_says() -> None:
    tracker = LabelTracker(LABELS, StreamSettings(smoothing=0.0, hold=60), FixedThreshold(0.5), HOP)
    tracker.begin(0.0)
    tracker.update(0.0, 1.0, np.array(ANGRY, np.float32))
    result, ended = tracker.update(0.0, 1.2, np.array(SAD, np.float32), final=True)
    segment = tracker.end(1.2)
    assert ended is None
    assert segment is not None
    assert (result.label, result.confidence, result.final) == ("sad", segment.confidence, True)
    assert (segment.label, segment.start, segment.end) == ("sad", 0.0, 1.2)


def test_the_doubt_falls_with_what_was_heard() -> None:
    tracker = LabelTracker(LABELS, StreamSettings(), ThresholdCurve(0.0, -2.0, 1 / 3, 3.0), HOP)
    tracker.begin(0.0)
    window = np.array([0.6, 0.3, 0.1], np.float32)
    assert tracker.update(0.0, 0.5, window)[0].label == UNKNOWN
    assert tracker.update(0.0, 1.0, window)[0].label == "angry"


def test_each_speech_begins_anew() -> None:
    tracker = LabelTracker(LABELS, StreamSettings(), FixedThreshold(0.5), HOP)
    tracker.begin(0.0)
    tracker.update(0.0, 1.0, np.array(ANGRY, np.float32))
    tracker.end(1.0)
    tracker.begin(5.0)
    result, _ = tracker.update(5.0, 6.0, np.array(SAD, np.float32))
    assert result.probabilities["sad"] == pytest.approx(0.8)
    assert result.label == "sad"


def test_speech_in_which_nothing_was_heard() -> None:
    assert heard([])[1] == []
