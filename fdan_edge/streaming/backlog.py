"""A bounded queue of sound between the thread that records and the one that infers. Imports no torch."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import TypeAlias

from fdan_edge.audio.resample import Samples

TOO_SLOW = "the machine is too slow"


@dataclass(frozen=True)
class Sound:
    """Samples (n,) or (n, channels), as they arrived."""

    samples: Samples
    arrived: float = 0.0  # time.monotonic() of the last of them


@dataclass(frozen=True)
class Gap:
    """So many samples are missing."""

    samples: int
    reason: str


@dataclass(frozen=True)
class End:
    """Nothing more comes."""

    reason: str
    broken: bool = False  # the source failed before the sound ended


Piece: TypeAlias = Sound | Gap | End


class Backlog:
    """A queue of sound between the thread that reads it and the one that infers; for any threads.

    Beyond `limit` seconds the oldest sound is dropped, and a gap of its length takes its place.

    Args:
        rate: of the samples, Hz.
        limit: seconds that may wait.
    """

    def __init__(self, rate: int, limit: float = 5.0) -> None:
        self._limit = max(1, round(limit * rate))
        self._pieces: deque[Piece] = deque()
        self._waiting = 0  # samples
        self._changed = threading.Condition()
        self._closed = False
        self.dropped = 0  # samples, for want of speed

    def put(self, samples: Samples, *, wait: bool = False) -> bool:
        """Add samples (n,) or (n, channels); return False once closed, when they are ignored.

        Args:
            wait: until there is room, rather than drop the oldest sound.
        """
        with self._changed:
            while wait and not self._closed and self._waiting and self._waiting + len(samples) > self._limit:
                self._changed.wait()
            if self._closed or not len(samples):
                return not self._closed
            self._pieces.append(Sound(samples, time.monotonic()))
            self._waiting += len(samples)
            if not wait:
                self._drop()
            self._changed.notify_all()
            return True

    def put_gap(self, samples: int, reason: str) -> None:
        """Add a gap: so many samples never came."""
        with self._changed:
            if not self._closed and samples > 0:
                _append_gap(self._pieces, samples, reason)
                self._changed.notify_all()

    def close(self, reason: str, *, broken: bool = False) -> None:
        """Note that nothing more comes; only the first reason counts."""
        with self._changed:
            if not self._closed:
                self._closed = True
                self._pieces.append(End(reason, broken))
                self._changed.notify_all()

    def take(self, timeout: float = 0.0) -> Piece | None:
        """Take the oldest piece; None where none came within `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._pieces, timeout):
                return None
            piece = self._pieces.popleft()
            if isinstance(piece, Sound):
                self._waiting -= len(piece.samples)
                self._changed.notify_all()
            return piece

    @property
    def waiting(self) -> int:
        """Number of samples that wait."""
        return self._waiting

    def _drop(self) -> None:
        """Turn the oldest sound into gaps until the rest is within the limit; neighbouring gaps become one."""
        kept: deque[Piece] = deque()
        while self._waiting > self._limit:
            piece = self._pieces.popleft()
            if not isinstance(piece, Sound):
                kept.append(piece)
                continue
            gone = min(len(piece.samples), self._waiting - self._limit)
            self._waiting -= gone
            self.dropped += gone
            if gone < len(piece.samples):
                self._pieces.appendleft(replace(piece, samples=piece.samples[gone:]))
            _append_gap(kept, gone, TOO_SLOW)
        self._pieces.extendleft(reversed(kept))


def _append_gap(pieces: deque[Piece], samples: int, reason: str) -> None:
    """Append a gap, or make the last one longer where it has the same reason."""
    if pieces and isinstance(last := pieces[-1], Gap) and last.reason == reason:
        pieces[-1] = Gap(last.samples + samples, reason)
    else:
        pieces.append(Gap(samples, reason))
