"""When somebody speaks and which windows are due: by positions alone."""

from __future__ import annotations

import numpy as np
import pytest

from fdan_edge.streaming.settings import StreamSettings
from fdan_edge.streaming.speech_turns import (
    DEFAULT_GRID,
    Mark,
    TurnDetector,
    TurnEnd,
    TurnStart,
    WindowDue,
    window_grid,
)
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

    def rescale(self, factor: float) -> None:
        pass

    def __call__(self, samples: np.ndarray) -> float:
        return float(np.abs(samples).mean())


def turns(window: int = 16000, **settings: float) -> TurnDetector:
    return TurnDetector(RATE, window, DEFAULT_GRID, StreamSettings(**settings), Script())  # type: ignore[arg-type]


def steps(*runs: tuple[int, float]) -> np.ndarray:
    """So many steps of a probability each."""
    return np.concatenate([np.full(count * STEP, p, np.float32) for count, p in runs])


def marks(of: TurnDetector, samples: np.ndarray) -> list[Mark]:
    return [*of.process(samples), *of.end()]


def test_speech_begins_before_and_ends_after_what_is_found() -> None:
    made = marks(turns(), steps((20, 0.0), (40, 1.0), (40, 0.0)))
    begin, *due, stop = made
    assert begin == TurnStart((20 * STEP - PAD) // DEFAULT_GRID * DEFAULT_GRID)
    assert stop == TurnEnd((60 * STEP + PAD) // DEFAULT_GRID * DEFAULT_GRID)
    assert [type(one) for one in due] == [WindowDue] * len(due)


def test_windows_are_due_on_the_grid_of_the_hop_while_somebody_speaks() -> None:
    of = turns(window=16000)
    begin, *due, _ = marks(of, steps((20, 0.0), (80, 1.0), (40, 0.0)))
    assert of.hop == 4096  # 250 ms, rounded to whole frames
    assert isinstance(begin, TurnStart)
    *ends, last = [one.end for one in due if isinstance(one, WindowDue)]
    first = -(-(begin.at + 12000) // 4096) * 4096  # `least` of speech before the first
    assert ends == list(range(first, 100 * STEP + 1, 4096))
    assert last == (100 * STEP + PAD) // DEFAULT_GRID * DEFAULT_GRID  # all of the speech is heard
    longest = 16000 // DEFAULT_GRID * DEFAULT_GRID
    assert all(one.start == max(begin.at, one.end - longest) for one in due if isinstance(one, WindowDue))


@pytest.mark.parametrize("size", [1, 7, 160, 511, 512, 513, 5000])
def test_blocks_do_not_matter(size: int) -> None:
    sound = steps((5, 0.0), (30, 1.0), (5, 0.0), (9, 0.9), (30, 0.1), (4, 1.0), (30, 0.0), (20, 1.0))
    of = turns(hop=0.3)
    parts = [mark for i in range(0, len(sound), size) for mark in of.process(sound[i : i + size])]
    assert [*parts, *of.end()] == marks(turns(hop=0.3), sound)


def test_a_short_pause_ends_nothing_and_costs_nothing() -> None:
    made = marks(turns(pause=0.5), steps((10, 0.0), (30, 1.0), (15, 0.0), (30, 1.0), (30, 0.0)))
    assert [type(one) for one in made].count(TurnStart) == 1
    assert not [one for one in made if isinstance(one, WindowDue) and 41 * STEP < one.end < 55 * STEP]


def test_a_click_is_no_speech() -> None:
    assert marks(turns(), steps((10, 0.0), (2, 1.0), (10, 0.0), (2, 1.0), (30, 0.0))) == []


def test_a_short_word_is_heard_once_in_full() -> None:
    begin, due, stop = marks(turns(), steps((20, 0.0), (5, 1.0), (40, 0.0)))
    assert isinstance(begin, TurnStart)
    assert isinstance(stop, TurnEnd)
    assert due == WindowDue(begin.at, stop.at, final=True)


def test_speech_goes_on_between_the_two_thresholds() -> None:
    assert isinstance(marks(turns(), steps((5, 0.0), (5, 0.6), (60, 0.4), (40, 0.1)))[-1], TurnEnd)
    assert marks(turns(), steps((5, 0.0), (60, 0.4))) == []


def test_what_is_lost_ends_speech_and_time_goes_on() -> None:
    of = turns()
    begin, *_ = of.process(steps((10, 0.0), (30, 1.0)))
    assert isinstance(begin, TurnStart)
    assert [*of.end()][-1] == TurnEnd(40 * STEP)
    of.skip(1000)
    assert of.position == 40 * STEP + 1000
    begin, *_ = marks(of, steps((30, 1.0)))
    assert begin == TurnStart(-(-(40 * STEP + 1000) // DEFAULT_GRID) * DEFAULT_GRID)  # nothing of before the gap


def test_speech_to_the_very_end_stops_there() -> None:
    made = marks(turns(), steps((10, 0.0), (30, 1.0), (1, 1.0))[:-200])
    assert made[-1] == TurnEnd((41 * STEP - 200) // DEFAULT_GRID * DEFAULT_GRID)


def test_two_speeches_do_not_overlap() -> None:
    made = marks(turns(pause=0.05), steps((10, 0.0), (10, 1.0), (3, 0.0), (10, 1.0), (30, 0.0)))
    spans = [one.at for one in made if not isinstance(one, WindowDue)]
    assert len(spans) == 4
    assert spans == sorted(spans)


def test_grid() -> None:
    assert window_grid(spec()) == 256
    assert window_grid(spec(log_mel={"hop": 160})) == 160
    assert window_grid(spec(log_mel={"hop": "x"})) == DEFAULT_GRID
    assert window_grid(spec(log_mel=None)) == DEFAULT_GRID
