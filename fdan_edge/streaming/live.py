"""From a source to events: one thread reads the sound, the caller's thread infers. Imports no torch."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeAlias

from fdan_edge.audio.resample import Resampler, Samples
from fdan_edge.errors import AudioError, one_line
from fdan_edge.streaming.backlog import Backlog, End, Gap, Piece, Sound
from fdan_edge.streaming.events import Event
from fdan_edge.streaming.latency import ArrivalTimes
from fdan_edge.streaming.sources import STOPPED, AudioSource

Handle: TypeAlias = Callable[[list[Event]], None]

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
) -> End:
    """Process a source until it ends, and hand on the events as they come.

    Args:
        source: is closed at the end.
        stream: is finished at the end, whatever that is.
        handle: is called with the events of each piece of sound, and some ten times a second with none. If it
            raises BrokenPipeError or KeyboardInterrupt, the stream ends.
        stop: set it to end the stream.
        seconds: of sound, after which the stream ends.

    Returns:
        Why it ended.
    """
    backlog = Backlog(source.rate)
    thread = threading.Thread(target=_read, args=(source, backlog), name="source", daemon=True)
    thread.start()
    try:
        return _LiveRun(source, stream, handle).run(backlog, stop or threading.Event(), seconds)
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

    def __init__(self, source: AudioSource, stream: EventStream, handle: Handle) -> None:
        self._stream, self._handle = stream, handle
        self._resampler = Resampler(source.rate, stream.rate)
        self._rate = source.rate
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
                    self._handle([])
                else:
                    self._process(_shortened(piece, None if limit is None else limit - self._position))
        except BrokenPipeError:
            pass
        except KeyboardInterrupt:
            if stop.is_set():  # asked for twice
                raise
        with contextlib.suppress(BrokenPipeError):
            self._hand_on(process(self._stream, self._resampler, end))
        return end

    def _process(self, piece: Sound | Gap) -> None:
        events = process(self._stream, self._resampler, piece)
        length = len(piece.samples) if isinstance(piece, Sound) else piece.samples
        self._position += length
        if self._arrivals and length:
            arrived = piece.arrived if isinstance(piece, Sound) else time.monotonic()
            self._arrivals.note(self._position / self._rate, arrived)
        self._hand_on(events)

    def _hand_on(self, events: list[Event]) -> None:
        self._handle([self._arrivals.add_latency(event) for event in events] if self._arrivals else events)


def _shortened(piece: Sound | Gap, limit: int | None) -> Sound | Gap:
    """Cut a piece to at most `limit` samples."""
    if isinstance(piece, Sound):
        return Sound(piece.samples[:limit], piece.arrived)
    return piece if limit is None else Gap(min(limit, piece.samples), piece.reason)
