"""From a source to events: one thread brings the sound, the caller's listens. Imports no torch."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, TypeAlias

from fdan_edge.errors import AudioError, one_line
from fdan_edge.streaming.backlog import Backlog, Converter, End, Hole, Samples, Sound
from fdan_edge.streaming.events import Event, Result
from fdan_edge.streaming.sources import STOPPED, Source

Handle: TypeAlias = Callable[[list[Event]], None]

_TICK = 0.1  # s
_PATIENCE = 2.0  # s for the source's thread to end


class Hearing(Protocol):
    """What `engine.Stream` is to this module."""

    @property
    def rate(self) -> int: ...

    @property
    def time(self) -> float: ...

    def push(self, samples: Samples) -> list[Event]: ...

    def lost(self, samples: int, reason: str) -> list[Event]: ...

    def finish(self, reason: str) -> list[Event]: ...


def listen(
    source: Source,
    stream: Hearing,
    handle: Handle,
    stop: threading.Event | None = None,
    *,
    seconds: float | None = None,
) -> End:
    """Hear a source until it ends, and hand on the events as they come.

    Args:
        source: is closed at the end.
        stream: is finished at the end, whatever that is.
        handle: is called with the events of each piece of sound, and some ten times a second with none. One
            that raises BrokenPipeError ends the listening; so does KeyboardInterrupt.
        stop: set it to end the listening.
        seconds: of sound, after which it ends.

    Returns:
        Why it ended.
    """
    backlog = Backlog(source.rate)
    thread = threading.Thread(target=_feed, args=(source, backlog), name="source", daemon=True)
    thread.start()
    try:
        return _Listener(source, stream, handle).run(backlog, stop or threading.Event(), seconds)
    finally:
        backlog.close(STOPPED)
        source.close()
        thread.join(_PATIENCE)


def _feed(source: Source, backlog: Backlog) -> None:
    try:
        backlog.close(source.feed(backlog))
    except AudioError as error:
        backlog.close(one_line(error), broken=True)
    except Exception as error:  # this thread has nobody else to tell
        backlog.close(f"{source.name}: {type(error).__name__}: {one_line(error)}", broken=True)


class _Listener:
    """The calling thread's part."""

    def __init__(self, source: Source, stream: Hearing, handle: Handle) -> None:
        self._stream, self._handle = stream, handle
        self._converter = Converter(source.rate, stream.rate)
        self._rate = source.rate
        self._heard = 0  # samples at the source's rate, lost ones included
        self._arrivals = _Arrivals() if source.live else None

    def run(self, backlog: Backlog, stop: threading.Event, seconds: float | None) -> End:
        most = None if seconds is None else max(1, round(seconds * self._rate))
        end = End(STOPPED)
        try:
            while not stop.is_set():
                if most is not None and self._heard >= most:
                    end = End(f"{seconds:g} s were asked for")
                    break
                piece = backlog.take(_TICK)
                if isinstance(piece, End):
                    end = piece
                    break
                self._hear(piece, most)
        except BrokenPipeError:
            pass
        except KeyboardInterrupt:
            if stop.is_set():  # asked for twice
                raise
        self._finish(end)
        return end

    def _hear(self, piece: Sound | Hole | None, most: int | None) -> None:
        room = None if most is None else most - self._heard
        if piece is None:
            self._handle([])
        elif isinstance(piece, Hole):
            gone = piece.samples if room is None else min(room, piece.samples)
            events = self._stream.push(self._converter.rest())
            events += self._stream.lost(self._converter.length(gone), piece.reason)
            self._tell(events, gone)
        else:
            samples = piece.samples[:room]
            self._tell(self._stream.push(self._converter(samples)), len(samples), piece.arrived)

    def _tell(self, events: list[Event], samples: int, arrived: float | None = None) -> None:
        """Hand on the events of so many samples."""
        self._heard += samples
        if self._arrivals and samples:
            self._arrivals.note(self._heard / self._rate, arrived or time.monotonic())
        self._handle([self._arrivals.timed(event) for event in events] if self._arrivals else events)

    def _finish(self, end: End) -> None:
        events = self._stream.push(self._converter.rest())
        events += self._stream.finish(end.reason)
        with contextlib.suppress(BrokenPipeError):
            self._tell(events, 0)


class _Arrivals:
    """When the sound of the last moments came."""

    def __init__(self) -> None:
        self._came: deque[tuple[float, float]] = deque(maxlen=1000)  # s of sound; by the clock

    def note(self, until: float, arrived: float) -> None:
        """The sound up to `until` is there."""
        self._came.append((until, arrived))

    def timed(self, event: Event) -> Event:
        """A result with its latency; what is none, or waited for a pause, as it is."""
        if not isinstance(event, Result) or event.final:
            return event
        # The resampler gives sound later than it takes it, so this is not always the last piece.
        while len(self._came) > 1 and self._came[0][0] < event.time - 1e-3:
            self._came.popleft()
        return replace(event, latency=time.monotonic() - self._came[0][1])
