"""When sound arrived, and how long results took from then."""

from __future__ import annotations

from dataclasses import replace

from fdan_edge.streaming.events import Result, Speech
from fdan_edge.streaming.latency import ArrivalTimes

RESULT = Result(98.0, 97.0, "angry", 1.0, {"angry": 1.0}, {"angry": 1.0})


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def arrived_each_second(count: int) -> tuple[ArrivalTimes, Clock]:
    """One second of sound at each second of the clock."""
    clock = Clock()
    arrivals = ArrivalTimes(clock)
    for number in range(count):
        clock.now = number
        arrivals.note(number)
    return arrivals, clock


def test_latency_counts_from_the_arrival_of_the_last_sample() -> None:
    arrivals, _ = arrived_each_second(100)
    assert arrivals.latency(98) == 1
    assert arrivals.latency(98.5) == 0


def test_a_time_that_was_rounded_is_of_the_same_arrival() -> None:
    arrivals, _ = arrived_each_second(100)
    assert arrivals.latency(98 + 1e-4) == 1


def test_the_last_arrival_stands_for_what_is_beyond_it() -> None:
    arrivals, _ = arrived_each_second(100)
    assert arrivals.latency(100) == 0


def test_nothing_is_known_before_sound_arrives() -> None:
    assert ArrivalTimes().latency(1.0) is None


def test_what_is_forgotten_is_not_counted_from() -> None:
    arrivals, _ = arrived_each_second(100)
    arrivals.forget(98)
    assert arrivals.latency(10) == 1


def test_an_arrival_may_be_noted_later() -> None:
    arrivals, clock = arrived_each_second(0)
    clock.now = 5.0
    arrivals.note(1.0, arrived=2.0)
    assert arrivals.latency(1.0) == 3.0


def test_results_have_a_latency_and_nothing_else_has() -> None:
    arrivals, _ = arrived_each_second(100)
    timed = arrivals.add_latency(RESULT)
    assert isinstance(timed, Result)
    assert timed.latency == 1
    final = replace(RESULT, final=True)
    assert arrivals.add_latency(final) is final  # it waited for the pause that ends the speech
    speech = Speech(98.0)
    assert arrivals.add_latency(speech) is speech
