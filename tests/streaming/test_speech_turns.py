"""When somebody speaks and which windows are due: by positions alone."""

from __future__ import annotations

import numpy as np
import pytest

from fdan_edge.streaming.settings import Settings
from fdan_edge.streaming.speech_turns import GRID, Begin, Due, Listener, Mark, Stop, grid_of
from tests.helpers.stream_parts import RATE, spec

STEP = 512
PAD = 1600


class Script:
    """Says speech where its samples are not zero."""

    name, step = "script", STEP

    def __init__(self) -> None:
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1

    def __call__(self, samples: np.ndarray) -> float:
        return float(np.abs(samples).mean())


def listener(window: int = 16000, **settings: float) -> Listener:
    return Listener(RATE, window, GRID, Settings(**settings), Script())  # type: ignore[arg-type]


def steps(*runs: tuple[int, float]) -> np.ndarray:
    """So many steps of a probability each."""
    return np.concatenate([np.full(count * STEP, p, np.float32) for count, p in runs])


def marks(of: Listener, samples: np.ndarray) -> list[Mark]:
    return [*of.hear(samples), *of.end()]


def test_speech_begins_before_and_ends_after_what_is_found() -> None:
    made = marks(listener(), steps((20, 0.0), (40, 1.0), (40, 0.0)))
    begin, *due, stop = made
    assert begin == Begin((20 * STEP - PAD) // GRID * GRID)
    assert stop == Stop((60 * STEP + PAD) // GRID * GRID)
    assert [type(one) for one in due] == [Due] * len(due)


def test_windows_are_due_on_the_grid_of_the_hop_while_somebody_speaks() -> None:
    of = listener(window=16000)
    begin, *due, _ = marks(of, steps((20, 0.0), (80, 1.0), (40, 0.0)))
    assert of.hop == 4096  # 250 ms, rounded to whole frames
    assert isinstance(begin, Begin)
    *ends, last = [one.end for one in due if isinstance(one, Due)]
    first = -(-(begin.at + 12000) // 4096) * 4096  # `least` of speech before the first
    assert ends == list(range(first, 100 * STEP + 1, 4096))
    assert last == (100 * STEP + PAD) // GRID * GRID  # all of the speech is heard
    longest = 16000 // GRID * GRID
    assert all(one.start == max(begin.at, one.end - longest) for one in due if isinstance(one, Due))


@pytest.mark.parametrize("size", [1, 7, 160, 511, 512, 513, 5000])
def test_blocks_do_not_matter(size: int) -> None:
    sound = steps((5, 0.0), (30, 1.0), (5, 0.0), (9, 0.9), (30, 0.1), (4, 1.0), (30, 0.0), (20, 1.0))
    of = listener(hop=0.3)
    parts = [mark for i in range(0, len(sound), size) for mark in of.hear(sound[i : i + size])]
    assert [*parts, *of.end()] == marks(listener(hop=0.3), sound)


def test_a_short_pause_ends_nothing_and_costs_nothing() -> None:
    made = marks(listener(pause=0.5), steps((10, 0.0), (30, 1.0), (15, 0.0), (30, 1.0), (30, 0.0)))
    assert [type(one) for one in made].count(Begin) == 1
    assert not [one for one in made if isinstance(one, Due) and 41 * STEP < one.end < 55 * STEP]


def test_a_click_is_no_speech() -> None:
    assert marks(listener(), steps((10, 0.0), (2, 1.0), (10, 0.0), (2, 1.0), (30, 0.0))) == []


def test_a_short_word_is_heard_once_in_full() -> None:
    begin, due, stop = marks(listener(), steps((20, 0.0), (5, 1.0), (40, 0.0)))
    assert isinstance(begin, Begin)
    assert isinstance(stop, Stop)
    assert due == Due(begin.at, stop.at, final=True)


def test_speech_goes_on_between_the_two_thresholds() -> None:
    assert isinstance(marks(listener(), steps((5, 0.0), (5, 0.6), (60, 0.4), (40, 0.1)))[-1], Stop)
    assert marks(listener(), steps((5, 0.0), (60, 0.4))) == []


def test_what_is_lost_ends_speech_and_time_goes_on() -> None:
    of = listener()
    begin, *_ = of.hear(steps((10, 0.0), (30, 1.0)))
    assert isinstance(begin, Begin)
    assert [*of.end()][-1] == Stop(40 * STEP)
    of.skip(1000)
    assert of.position == 40 * STEP + 1000
    begin, *_ = marks(of, steps((30, 1.0)))
    assert begin == Begin(-(-(40 * STEP + 1000) // GRID) * GRID)  # nothing of before the hole


def test_speech_to_the_very_end_stops_there() -> None:
    made = marks(listener(), steps((10, 0.0), (30, 1.0), (1, 1.0))[:-200])
    assert made[-1] == Stop((41 * STEP - 200) // GRID * GRID)


def test_two_speeches_do_not_overlap() -> None:
    made = marks(listener(pause=0.05), steps((10, 0.0), (10, 1.0), (3, 0.0), (10, 1.0), (30, 0.0)))
    spans = [one.at for one in made if not isinstance(one, Due)]
    assert len(spans) == 4
    assert spans == sorted(spans)


def test_grid() -> None:
    assert grid_of(spec()) == 256
    assert grid_of(spec(log_mel={"hop": 160})) == 160
    assert grid_of(spec(log_mel={"hop": "x"})) == GRID
    assert grid_of(spec(log_mel=None)) == GRID
