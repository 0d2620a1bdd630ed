"""Sound between threads: bounded, in order, nothing lost without a word."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from fdan_edge.audio.resample import Resampler, Samples
from fdan_edge.streaming.backlog import TOO_SLOW, Backlog, End, Gap, Piece, Sound


def counted(first: int, count: int) -> Samples:
    return np.arange(first, first + count, dtype=np.float32)


def all_of(backlog: Backlog) -> list[Piece]:
    pieces = []
    while piece := backlog.take():
        pieces.append(piece)
    return pieces


def heard(pieces: list[Piece]) -> list[float]:
    return [value for piece in pieces if isinstance(piece, Sound) for value in piece.samples.tolist()]


def test_pieces_come_in_order() -> None:
    backlog = Backlog(10)
    assert backlog.put(counted(0, 3))
    backlog.put_gap(4, "why")
    backlog.put(counted(3, 2))
    backlog.close("over")
    first, gap, second, end = all_of(backlog)
    assert (heard([first]), heard([second])) == ([0, 1, 2], [3, 4])
    assert (gap, end) == (Gap(4, "why"), End("over"))
    assert backlog.waiting == 0


def test_the_oldest_is_dropped_and_counted() -> None:
    backlog = Backlog(10, limit=1.0)
    for first in range(0, 40, 4):
        backlog.put(counted(first, 4))
    assert backlog.waiting == 10
    gap, *sounds = all_of(backlog)
    assert gap == Gap(30, TOO_SLOW)
    assert heard(sounds) == list(range(30, 40))
    assert backlog.dropped == 30


def test_a_block_longer_than_the_limit_keeps_its_end() -> None:
    backlog = Backlog(10, limit=1.0)
    backlog.put(counted(0, 25))
    gap, sound = all_of(backlog)
    assert gap == Gap(15, TOO_SLOW)
    assert heard([sound]) == list(range(15, 25))


def test_what_is_dropped_keeps_its_place_among_gaps() -> None:
    backlog = Backlog(10, limit=1.0)
    backlog.put(counted(0, 5))
    backlog.put_gap(7, "why")
    backlog.put(counted(5, 12))
    assert all_of(backlog)[:3] == [Gap(5, TOO_SLOW), Gap(7, "why"), Gap(2, TOO_SLOW)]


def test_holes_of_one_reason_become_one() -> None:
    backlog = Backlog(10)
    for _ in range(1000):
        backlog.put_gap(2, "why")
    backlog.put_gap(1, "another")
    assert all_of(backlog) == [Gap(2000, "why"), Gap(1, "another")]


def test_channels_are_counted_once() -> None:
    backlog = Backlog(10, limit=1.0)
    backlog.put(np.zeros((25, 2), np.float32))
    gap, sound = all_of(backlog)
    assert isinstance(gap, Gap)
    assert isinstance(sound, Sound)
    assert (gap.samples, sound.samples.shape) == (15, (10, 2))


def test_sound_says_when_it_came() -> None:
    backlog = Backlog(10, limit=1.0)
    before = time.monotonic()
    backlog.put(counted(0, 25))
    _, sound = all_of(backlog)  # also where its beginning was dropped
    assert isinstance(sound, Sound)
    assert before <= sound.arrived <= time.monotonic()


def test_after_the_end_nothing_is_taken() -> None:
    backlog = Backlog(10)
    backlog.close("first", broken=True)
    backlog.close("second")
    assert not backlog.put(counted(0, 3))
    assert not backlog.put(counted(0, 3), wait=True)
    backlog.put_gap(3, "why")
    assert all_of(backlog) == [End("first", broken=True)]


def test_who_can_wait_loses_nothing() -> None:
    backlog = Backlog(10, limit=1.0)

    def bring() -> None:
        for first in range(0, 400, 4):
            assert backlog.put(counted(first, 4), wait=True)
            assert backlog.waiting <= 10
        backlog.close("over")

    thread = threading.Thread(target=bring)
    thread.start()
    pieces: list[Piece] = []
    while not pieces or not isinstance(pieces[-1], End):
        piece = backlog.take(timeout=10)
        assert piece is not None
        pieces.append(piece)
    thread.join()
    assert heard(pieces) == list(range(400))
    assert backlog.dropped == 0


def test_a_long_block_need_not_wait_for_ever() -> None:
    backlog = Backlog(10, limit=1.0)
    assert backlog.put(counted(0, 25), wait=True)
    assert len(heard(all_of(backlog))) == 25


def test_closing_wakes_who_waits() -> None:
    backlog = Backlog(10, limit=1.0)
    backlog.put(counted(0, 10))
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(backlog.put(counted(10, 10), wait=True)))
    thread.start()
    backlog.close("nobody listens")
    thread.join(timeout=10)
    assert answers == [False]


def test_taking_waits_for_what_comes() -> None:
    backlog = Backlog(10)
    assert backlog.take(timeout=0.01) is None
    thread = threading.Timer(0.05, backlog.put, [counted(0, 1)])
    thread.start()
    assert isinstance(backlog.take(timeout=10), Sound)


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_conversion_does_not_depend_on_blocks(rate: int) -> None:
    sound = np.sin(2 * np.pi * 300 * np.arange(rate) / rate).astype(np.float32)
    whole = Resampler(rate, 16000)
    expected = np.concatenate([whole(sound), whole.flush()])
    made, parts = Resampler(rate, 16000), []
    for first in range(0, rate, 777):
        parts.append(made(sound[first : first + 777]))
    got = np.concatenate([*parts, made.flush()])
    assert len(got) == len(expected) == made.output_length(rate) == 16000
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_channels_become_their_mean() -> None:
    made = Resampler(16000, 16000)(np.array([[0.2, 0.4], [-0.2, 0.2]], np.float32))
    np.testing.assert_allclose(made, [0.3, 0.0], atol=1e-7)


def test_nothing_is_heard_across_a_hole() -> None:
    made = Resampler(48000, 16000)
    made(np.ones(4800, np.float32))
    made.flush()
    after = np.concatenate([made(np.zeros(4800, np.float32)), made.flush()])
    assert len(after) == 1600
    assert np.abs(after).max() == 0
