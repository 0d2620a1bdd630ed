"""From a source to events: one thread reads the sound, the caller's thread infers. Imports no torch."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeAlias

from fdan_edge.audio.resample import Resampler, Samples
from fdan_edge.errors import AudioError, one_line
from fdan_edge.streaming.backlog import Backlog, End, Gap, Piece, Sound
from fdan_edge.streaming.events import Ended, Event, Segment
from fdan_edge.streaming.latency import ArrivalTimes
from fdan_edge.streaming.sources import STOPPED, AudioSource

Handle: TypeAlias = Callable[[list[Event]], None]
#: Takes events of one channel, and its name.
HandleChannel: TypeAlias = Callable[[list[Event], str], None]

_TICK = 0.1  # s
_PATIENCE = 2.0  # s for the source's thread to end


class EventStream(Protocol):
    """What turns samples into events: `fdan_edge.streaming.session.Stream`, or a stand-in of a test."""

    @property
    def rate(self) -> int:
        """Rate of the samples, Hz."""
        ...

    @property
    def time(self) -> float:
        """Seconds so far, lost ones included."""
        ...

    def push(self, samples: Samples) -> list[Event]:
        """Process samples (n,) at `rate`."""
        ...

    def lost(self, samples: int, reason: str) -> list[Event]:
        """Note that so many samples never came."""
        ...

    def finish(self, reason: str) -> list[Event]:
        """Note that nothing more comes."""
        ...


def process(stream: EventStream, resampler: Resampler, piece: Piece) -> list[Event]:
    """Pass a piece of sound, a gap or the end on to a stream, at the stream's rate; return its events."""
    if isinstance(piece, Sound):
        return stream.push(resampler(piece.samples))
    before = stream.push(resampler.flush())  # sound before a gap must not reach the sound after it
    if isinstance(piece, Gap):
        return [*before, *stream.lost(resampler.output_length(piece.samples), piece.reason)]
    return [*before, *stream.finish(piece.reason)]


def run_stream(
    source: AudioSource,
    stream: EventStream,
    handle: Handle,
    stop: threading.Event | None = None,
    *,
    seconds: float | None = None,
    channel: str = "auto",
) -> End:
    """Process a source until it ends, and hand on the events as they come.

    Args:
        source: is closed at the end.
        stream: is finished at the end, whatever that is.
        handle: is called with the events of each piece of sound, and some ten times a second with none. If it
            raises BrokenPipeError or KeyboardInterrupt, the stream ends.
        stop: set it to end the stream.
        seconds: of sound, after which the stream ends.
        channel: what becomes of several; see `fdan_edge.audio.channels.CHANNELS`.

    Returns:
        Why it ended.

    Raises:
        AudioError: the source has no such channel, or the stream failed.
        ConfigError: there is no such choice of a channel.
    """
    return run_channels(source, {channel: stream}, lambda events, _: handle(events), stop, seconds=seconds)


def run_channels(
    source: AudioSource,
    streams: Mapping[str, EventStream],
    handle: HandleChannel,
    stop: threading.Event | None = None,
    *,
    seconds: float | None = None,
) -> End:
    """Process several channels of a source, each by a stream of its own.

    The events of one piece of sound are handed on in the order of time, whatever channel they are of.

    Args:
        streams: by the name of a channel, or another choice of `fdan_edge.audio.channels.CHANNELS`; "": as `auto`.
        source, handle, stop, seconds: as of `run_stream`; what it returns and raises is the same too.
    """
    backlog = Backlog(source.rate)
    thread = threading.Thread(target=_read, args=(source, backlog), name="source", daemon=True)
    thread.start()
    try:
        return _LiveRun(source, streams, handle).run(backlog, stop or threading.Event(), seconds)
    finally:
        backlog.close(STOPPED)
        source.close()
        thread.join(_PATIENCE)


def _read(source: AudioSource, backlog: Backlog) -> None:
    try:
        backlog.close(source.feed(backlog))
    except AudioError as error:
        backlog.close(one_line(error), broken=True)
    except Exception as error:  # this thread has no caller that could report it
        backlog.close(f"{source.name}: {type(error).__name__}: {one_line(error)}", broken=True)


class _LiveRun:
    """The calling thread's part."""

    def __init__(self, source: AudioSource, streams: Mapping[str, EventStream], handle: HandleChannel) -> None:
        self._handle, self._rate = handle, source.rate
        self._streams = {
            name: (stream, Resampler(source.rate, stream.rate, name or "auto", source.name))
            for name, stream in streams.items()
        }
        self._position = 0  # samples at the source's rate, lost ones included
        self._arrivals = ArrivalTimes() if source.live else None

    def run(self, backlog: Backlog, stop: threading.Event, seconds: float | None) -> End:
        limit = None if seconds is None else max(1, round(seconds * self._rate))
        end = End(STOPPED)
        try:
            while not stop.is_set():
                if limit is not None and self._position >= limit:
                    end = End(f"{seconds:g} s were asked for")
                    break
                piece = backlog.take(_TICK)
                if isinstance(piece, End):
                    end = piece
                    break
                if piece is None:
                    self._tick()
                else:
                    self._process(_shortened(piece, None if limit is None else limit - self._position))
        except BrokenPipeError:
            pass
        except KeyboardInterrupt:
            if stop.is_set():  # asked for twice
                raise
        with contextlib.suppress(BrokenPipeError):
            self._hand_on(self._events(end))
        return end

    def _tick(self) -> None:
        for name in self._streams:
            self._handle([], name)

    def _events(self, piece: Piece) -> list[tuple[str, Event]]:
        """Return the events within a piece, with the names of their channels."""
        by_channel = [
            [(name, event) for event in process(stream, resampler, piece)]
            for name, (stream, resampler) in self._streams.items()
        ]
        return list(heapq.merge(*by_channel, key=_moment))

    def _process(self, piece: Sound | Gap) -> None:
        events = self._events(piece)
        length = len(piece.samples) if isinstance(piece, Sound) else piece.samples
        self._position += length
        if self._arrivals and length:
            arrived = piece.arrived if isinstance(piece, Sound) else time.monotonic()
            self._arrivals.note(self._position / self._rate, arrived)
        self._hand_on(events)

    def _hand_on(self, events: Iterable[tuple[str, Event]]) -> None:
        add_latency = self._arrivals.add_latency if self._arrivals else _unchanged
        for name, those in itertools.groupby(events, lambda named: named[0]):
            self._handle([add_latency(event) for _, event in those], name)


def _unchanged(event: Event) -> Event:
    return event


def _moment(named: tuple[str, Event]) -> tuple[bool, float]:
    """Return what the events of several channels are ordered by: all of them end last."""
    event = named[1]
    return isinstance(event, Ended), event.end if isinstance(event, Segment) else event.time


def _shortened(piece: Sound | Gap, limit: int | None) -> Sound | Gap:
    """Cut a piece to at most `limit` samples."""
    if isinstance(piece, Sound):
        return Sound(piece.samples[:limit], piece.arrived)
    return piece if limit is None else Gap(min(limit, piece.samples), piece.reason)
