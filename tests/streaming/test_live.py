"""From a source to events, with a stream that notes what it hears."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from fdan_edge.audio.resample import Samples
from fdan_edge.errors import AudioError
from fdan_edge.streaming.backlog import TOO_SLOW, Backlog, End
from fdan_edge.streaming.events import Ended, Event, Lost, Result
from fdan_edge.streaming.live import run_channels, run_stream
from fdan_edge.streaming.sources import ENDED, STOPPED

RATE = 1000


class Ear:
    """Gives a result for every tenth of a second that it hears."""

    rate = RATE

    def __init__(self, delay: float = 0.0) -> None:
        self.heard: list[Samples] = []
        self.position, self.told, self.delay, self.finished = 0, 0, delay, ""

    @property
    def time(self) -> float:
        return self.position / RATE

    def push(self, samples: Samples) -> list[Event]:
        time.sleep(self.delay)
        self.heard.append(samples)
        self.position += len(samples)
        events: list[Event] = []
        while self.position - self.told >= 100:
            self.told += 100
            events.append(Result(self.told / RATE, 0.0, "a", 1.0, {"a": 1.0}, {"a": 1.0}))
        return events

    def lost(self, samples: int, reason: str) -> list[Event]:
        event = Lost(self.time, samples / RATE, reason)
        self.position += samples
        self.told = self.position
        return [event]

    def finish(self, reason: str) -> list[Event]:
        assert not self.finished
        self.finished = reason
        return [Ended(self.time, reason)]


class Given:
    """A source that does what it is told."""

    name = "given"

    def __init__(
        self, bring: Callable[[Backlog], str], rate: int = RATE, live: bool = True, channels: int = 1
    ) -> None:
        self.rate, self.channels, self.live, self._bring = rate, channels, live, bring
        self.closed = threading.Event()

    def feed(self, backlog: Backlog) -> str:
        return self._bring(backlog)

    def close(self) -> None:
        self.closed.set()


def ones(count: int) -> Samples:
    return np.ones(count, np.float32)


def brought(*blocks: int) -> Callable[[Backlog], str]:
    def bring(backlog: Backlog) -> str:
        for block in blocks:
            backlog.put(ones(block), wait=True)
        return ENDED

    return bring


def test_all_that_comes_is_heard_and_told() -> None:
    ear, events = Ear(), list[Event]()
    source = Given(brought(150, 150, 30))
    assert run_stream(source, ear, events.extend) == End(ENDED)
    assert [type(event) for event in events] == [Result, Result, Result, Ended]
    assert ear.position == 330
    assert ear.finished == ENDED
    assert source.closed.is_set()


def test_other_rates_are_converted_and_the_end_is_not_lost() -> None:
    ear = Ear()
    run_stream(Given(brought(4410, 1, 44_100 - 4411), 44_100), ear, lambda _: None)
    assert ear.position == 1000
    np.testing.assert_allclose(np.concatenate(ear.heard)[100:-100], 1, atol=1e-2)


def test_holes_are_told_in_their_place() -> None:
    def bring(backlog: Backlog) -> str:
        backlog.put(ones(8000))
        backlog.put_gap(4000, "why")
        backlog.put(ones(8000))
        return ENDED

    ear, events = Ear(), list[Event]()
    run_stream(Given(bring, 8000), ear, events.extend)
    assert [event for event in events if isinstance(event, Lost)] == [Lost(1.0, 0.5, "why")]
    assert events[-1] == Ended(2.5, ENDED)


@pytest.mark.parametrize("live", [True, False])
def test_the_latency_of_results_is_known_where_sound_happens_now(live: bool) -> None:
    def bring(backlog: Backlog) -> str:
        backlog.put(ones(100))
        time.sleep(0.2)
        backlog.put(ones(100))
        return ENDED

    events: list[Event] = []
    run_stream(Given(bring, live=live), Ear(delay=0.05), events.extend)
    latencies = [event.latency for event in events if isinstance(event, Result)]
    assert len(latencies) == 2
    if live:
        assert all(latency is not None and 0.05 <= latency < 0.2 for latency in latencies)
    else:
        assert latencies == [None, None]


def test_the_latency_counts_from_the_piece_that_held_the_last_sample() -> None:
    """The resampler keeps some sound back until more comes."""

    def bring(backlog: Backlog) -> str:
        backlog.put(ones(4800))
        time.sleep(0.3)
        backlog.put(ones(4800))
        return ENDED

    events: list[Event] = []
    run_stream(Given(bring, 48_000), Ear(), events.extend)
    first = next(event for event in events if isinstance(event, Result))
    assert first.time == 0.1
    assert first.latency is not None
    assert first.latency >= 0.3


def test_too_slow_is_told() -> None:
    def bring(backlog: Backlog) -> str:
        for _ in range(200):
            backlog.put(ones(100))
        return ENDED

    ear, events = Ear(delay=0.01), list[Event]()
    run_stream(Given(bring), ear, events.extend)
    lost = [event for event in events if isinstance(event, Lost)]
    assert {event.reason for event in lost} == {TOO_SLOW}
    assert sum(event.seconds for event in lost) + sum(map(len, ear.heard)) / RATE == pytest.approx(20)
    assert ear.time == pytest.approx(20)


def endless(backlog: Backlog) -> str:
    while backlog.put(ones(20), wait=True):
        time.sleep(0.001)
    return STOPPED


def test_it_can_be_stopped() -> None:
    stop, events = threading.Event(), list[Event]()
    threading.Timer(0.1, stop.set).start()
    assert run_stream(Given(endless), Ear(), events.extend, stop) == End(STOPPED)
    assert isinstance(events[-1], Ended)


def test_it_can_be_stopped_though_nothing_comes() -> None:
    source = Given(lambda _: "" if source.closed.wait(10) else "hangs")
    stop, calls = threading.Event(), list[int]()
    threading.Timer(0.3, stop.set).start()
    assert run_stream(source, Ear(), lambda events: calls.append(len(events)), stop) == End(STOPPED)
    assert calls[:2] == [0, 0]  # so that a view's clock goes on


@pytest.mark.parametrize("error", [BrokenPipeError, KeyboardInterrupt])
def test_nobody_reads_any_more(error: type[BaseException]) -> None:
    ear = Ear()

    def handle(events: list[Event]) -> None:
        if events:
            raise error

    if error is BrokenPipeError:
        assert run_stream(Given(endless), ear, handle) == End(STOPPED)
    else:
        with pytest.raises(KeyboardInterrupt):  # the second one, at the last event
            run_stream(Given(endless), ear, handle)
    assert ear.finished == STOPPED


def test_the_last_events_are_handed_on_after_an_interrupt() -> None:
    events: list[Event] = []

    def handle(new: list[Event]) -> None:
        events.extend(new)
        if len(events) == 1:
            raise KeyboardInterrupt

    assert run_stream(Given(endless), Ear(), handle) == End(STOPPED)
    assert [type(event) for event in events] == [Result, Ended]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AudioError("x.flac: is cut short"), "x.flac: is cut short"),
        (ZeroDivisionError("by zero"), "given: ZeroDivisionError: by zero"),
    ],
)
def test_a_source_that_breaks(error: Exception, reason: str) -> None:
    def bring(backlog: Backlog) -> str:
        backlog.put(ones(100))
        raise error

    events: list[Event] = []
    assert run_stream(Given(bring), Ear(), events.extend) == End(reason, broken=True)
    assert events[-1] == Ended(0.1, reason)


def test_errors_of_who_handles_are_theirs_and_the_source_is_closed() -> None:
    def handle(_: list[Event]) -> None:
        raise OSError("disk full")

    source = Given(endless)
    with pytest.raises(OSError, match="disk full"):
        run_stream(source, Ear(), handle)
    assert source.closed.is_set()


@pytest.mark.parametrize("rate", [RATE, 48_000])
def test_some_seconds_are_enough(rate: int) -> None:
    ear, events = Ear(), list[Event]()
    end = run_stream(Given(brought(*[700] * 50), rate, live=False), ear, events.extend, seconds=0.25)
    assert not end.broken
    assert ear.position == 250
    assert events[-1] == Ended(0.25, "0.25 s were asked for")


def test_lost_seconds_count_as_asked_for() -> None:
    def bring(backlog: Backlog) -> str:
        backlog.put_gap(5000, "why")
        return endless(backlog)

    events: list[Event] = []
    run_stream(Given(bring), Ear(), events.extend, seconds=2.0)
    assert events == [Lost(0.0, 2.0, "why"), Ended(2.0, "2 s were asked for")]


def stereo(backlog: Backlog) -> str:
    for _ in range(5):
        backlog.put(np.tile(np.array([[1.0, -0.5]], np.float32), (40, 1)), wait=True)
    return ENDED


@pytest.mark.parametrize(("channel", "level"), [("left", 1.0), ("2", -0.5), ("mix", 0.25)])
def test_one_channel_of_several(channel: str, level: float) -> None:
    ear = Ear()
    run_stream(Given(stereo, channels=2), ear, lambda _: None, channel=channel)
    np.testing.assert_allclose(np.concatenate(ear.heard), level)


def test_a_channel_that_is_not_there_closes_the_source() -> None:
    source = Given(stereo, channels=2)
    with pytest.raises(AudioError, match=r"^given: has 2 channels; there is no channel 3$"):
        run_stream(source, Ear(), lambda _: None, channel="3")
    assert source.closed.is_set()


def test_every_channel_has_a_stream_and_events_are_in_the_order_of_time() -> None:
    def bring(backlog: Backlog) -> str:
        backlog.put(np.tile(np.array([[1.0, -0.5]], np.float32), (250, 1)), wait=True)
        time.sleep(0.2)  # so that somebody asks in vain
        backlog.put_gap(50, "why")
        return stereo(backlog)

    ears, told = {"left": Ear(), "right": Ear()}, list[tuple[str, Event]]()
    ticks = set[str]()

    def handle(events: list[Event], channel: str) -> None:
        told.extend((channel, event) for event in events)
        ticks.update([] if events else [channel])

    assert run_channels(Given(bring, channels=2), ears, handle) == End(ENDED)
    for ear, level in zip(ears.values(), (1.0, -0.5), strict=True):
        np.testing.assert_allclose(np.concatenate(ear.heard), level)
    both = [(name, kind) for kind in (Result, Result, Lost, Result, Result) for name in ears]
    assert [(name, type(event)) for name, event in told] == [*both, ("left", Ended), ("right", Ended)]
    assert [event.latency is not None for _, event in told if isinstance(event, Result)] == [True] * 8
    assert ticks == {"left", "right"}
