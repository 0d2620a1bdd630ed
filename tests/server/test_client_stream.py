"""A client's sound to its events."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fdan_edge.server.client_stream import ClientStream
from fdan_edge.server.limits import Limits
from fdan_edge.server.prometheus import ServerMetrics
from fdan_edge.streaming.events import Event, InputWarning, Result
from tests.helpers.serving import RATE, FakeStream


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def listener(rate: int = RATE, stream: FakeStream | None = None, clock: Clock | None = None) -> ClientStream:
    return ClientStream(stream or FakeStream(), rate, Limits(backlog=3.0), ServerMetrics(), clock or Clock())


def block(seconds: float, rate: int = RATE) -> NDArray[np.float32]:
    return np.zeros(round(seconds * rate), np.float32)


def drained(made: ClientStream) -> list[dict[str, Any]]:
    found, more = [], True
    while more:
        turn = made.turn()
        found += [json.loads(message) for message in turn.messages]
        more = turn.more
    return found


def test_latency_is_from_the_arrival_of_the_last_sample() -> None:
    clock = Clock()
    made = listener(clock=clock)
    for clock.now in (1.0, 1.1, 1.3):
        made.add(block(0.1))
    clock.now = 1.5
    assert [event["latency"] for event in drained(made)] == [0.5, 0.4, 0.2]


def test_the_pause_that_ends_a_speech_is_no_latency() -> None:
    class Pausing(FakeStream):
        def push(self, samples: NDArray[np.float32]) -> list[Event]:
            (told,) = super().push(samples)
            assert isinstance(told, Result)
            return [replace(told, final=self.heard == 3200)]

    made = listener(stream=Pausing())
    for _ in range(3):
        made.add(block(0.1))
    results = [event for event in drained(made) if event["type"] == "result"]
    assert ["latency" in event for event in results] == [True, False, True]


def test_a_turn_ends_so_that_others_have_theirs() -> None:
    made = listener()
    for _ in range(20):
        made.add(block(0.1))
    turn = made.turn()
    assert turn.more
    assert len(turn.messages) in (5, 6)
    assert len(turn.messages) + len(drained(made)) == 20


def test_too_slow_drops_the_oldest_and_says_so() -> None:
    made = listener()
    for _ in range(50):
        made.add(block(0.1))
    lost, *rest = drained(made)
    assert (lost["type"], lost["time"], lost["reason"]) == ("lost", 0, "the machine is too slow")
    assert lost["seconds"] == pytest.approx(2.0)
    assert rest[-1]["time"] == pytest.approx(5.0)


@pytest.mark.parametrize("rate", [8000, 44_100, 48_000])
def test_any_rate_to_the_models(rate: int) -> None:
    stream = FakeStream()
    made = listener(rate, stream)
    for _ in range(20):
        made.add(block(0.1, rate))
    made.stop("stopped")
    *_, last = drained(made)
    assert (last["type"], last["reason"]) == ("ended", "stopped")
    assert stream.heard == pytest.approx(2 * RATE, abs=2)


def test_after_the_end_nothing_comes() -> None:
    made = listener()
    made.stop("stopped")
    made.add(block(0.1))
    turn = made.turn()
    assert turn.end == "stopped"
    assert not made.turn().messages


def test_counts() -> None:
    metrics = ServerMetrics()
    made = ClientStream(FakeStream(), RATE, Limits(backlog=3.0), metrics, Clock())
    for _ in range(40):
        made.add(block(0.1))
    drained(made)
    text = metrics.text().decode()
    assert "fdan_edge_heard_seconds_total 3.0" in text
    assert "fdan_edge_lost_seconds_total 1.0" in text
    assert 'fdan_edge_results_total{label="angry"} 30.0' in text
    assert "fdan_edge_result_latency_seconds_count 30.0" in text
    metrics.record(1.0, [InputWarning(1.0, "clipped", 0.1), InputWarning(9.0, "clipped", 0.2)])
    assert 'fdan_edge_input_warnings_total{problem="clipped"} 2.0' in metrics.text().decode()


def test_messages_without_sound_leave_nothing_behind() -> None:
    clock = Clock()
    client = listener(clock=clock)
    clock.now = 1.0
    client.add(block(0.1))
    clock.now = 5.0
    for _ in range(20_000):  # more than arrivals are remembered
        client.add(np.zeros(0, np.float32))
    clock.now = 6.0
    assert [event["latency"] for event in drained(client)] == [5.0]
