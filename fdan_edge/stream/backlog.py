"""Sound that waits to be heard, bounded; and its way to one channel at the model's rate. Imports no torch."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Samples: TypeAlias = NDArray[np.float32]

TOO_SLOW = "the machine is too slow"


@dataclass(frozen=True)
class Sound:
    """Samples (n,), as they came."""

    samples: Samples


@dataclass(frozen=True)
class Hole:
    """So many samples are not there."""

    samples: int
    reason: str


@dataclass(frozen=True)
class End:
    """Nothing more comes."""

    reason: str


Piece: TypeAlias = Sound | Hole | End


class Backlog:
    """Between who brings sound and who listens, from any threads.

    Beyond `limit` seconds the oldest sound is dropped, and a hole of its length stands in its place.

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

    def put(self, samples: Samples) -> None:
        """Bring sound (n,); after `close` it is ignored."""
        with self._changed:
            if self._closed or not len(samples):
                return
            self._pieces.append(Sound(samples))
            self._waiting += len(samples)
            self._drop()
            self._changed.notify()

    def lose(self, samples: int, reason: str) -> None:
        """Note that so many samples never came."""
        with self._changed:
            if not self._closed and samples > 0:
                self._pieces.append(Hole(samples, reason))
                self._changed.notify()

    def close(self, reason: str) -> None:
        """Note that nothing more comes; only the first reason counts."""
        with self._changed:
            if not self._closed:
                self._closed = True
                self._pieces.append(End(reason))
                self._changed.notify_all()

    def take(self, timeout: float = 0.0) -> Piece | None:
        """The oldest piece; None where none came within `timeout` seconds."""
        with self._changed:
            if not self._pieces:
                self._changed.wait(timeout)
            if not self._pieces:
                return None
            piece = self._pieces.popleft()
            if isinstance(piece, Sound):
                self._waiting -= len(piece.samples)
            return piece

    @property
    def waiting(self) -> int:
        """Samples that wait."""
        return self._waiting

    def _drop(self) -> None:
        """Make holes of the oldest sounds until what waits is within the limit; neighbours become one."""
        kept: list[Piece] = []
        while self._waiting > self._limit:
            piece = self._pieces.popleft()
            if not isinstance(piece, Sound):
                kept.append(piece)
                continue
            gone = min(len(piece.samples), self._waiting - self._limit)
            self._waiting -= gone
            self.dropped += gone
            if gone < len(piece.samples):
                self._pieces.appendleft(Sound(piece.samples[gone:]))
            if kept and isinstance(last := kept[-1], Hole) and last.reason == TOO_SLOW:
                kept[-1] = Hole(last.samples + gone, TOO_SLOW)
            else:
                kept.append(Hole(gone, TOO_SLOW))
        self._pieces.extendleft(reversed(kept))


class Converter:
    """Blocks of any rate and channel count to one channel at the model's rate.

    Args:
        rate: of what comes, Hz.
        to: of what is wanted, Hz.
    """

    def __init__(self, rate: int, to: int) -> None:
        import soxr

        self._rate, self._to = rate, to
        self._stream = soxr.ResampleStream(rate, to, 1) if rate != to else None

    def __call__(self, block: NDArray[np.floating], *, last: bool = False) -> Samples:
        """Samples (n,) or (n, channels) to (m,); `last` brings out what the filter still holds."""
        block = np.asarray(block, np.float32)
        mono = block.mean(axis=1, dtype=np.float32) if block.ndim == 2 else block
        if self._stream is None:
            return mono
        made: Samples = self._stream.resample_chunk(np.ascontiguousarray(mono), last=last)
        return made

    def length(self, samples: int) -> int:
        """How many samples at the model's rate so many that never came would have been."""
        return round(samples * self._to / self._rate)
