"""Sources of live sound, and a file as one; `standard_input` and `microphone` have others. Imports no torch."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Protocol

import numpy as np

from fdan_edge.audio import decode
from fdan_edge.audio.pcm import Frames
from fdan_edge.audio.wav import EMPTY
from fdan_edge.errors import AudioError
from fdan_edge.streaming.backlog import Backlog

ENDED = "the sound ended"
STOPPED = "stopped"
_BLOCK_SECONDS = 0.05  # of a file


class AudioSource(Protocol):
    """Gives sound until it ends."""

    name: str  # for people
    rate: int  # Hz
    channels: int  # that it begins with
    live: bool  # the sound happens now: results have a latency, and what is too late is dropped

    def feed(self, backlog: Backlog) -> str:
        """Put all sound into the backlog until that is closed; called in a thread of its own.

        Returns:
            Why it ended.

        Raises:
            AudioError: the source failed.
        """
        ...

    def close(self) -> None:
        """End `feed` soon; for any thread."""
        ...


class FileSource:
    """Reads a sound file or video of any kind, at most some seconds of it in memory.

    Args:
        path: any rate, any number of channels.
        realtime: at the speed of speech rather than as fast as possible.

    Raises:
        AudioError: not a sound file, or an empty one.
        MissingDependencyError: only PyAV reads it, and it is not installed.
    """

    def __init__(self, path: Path, *, realtime: bool = False) -> None:
        self.name, self.live = path.name, realtime
        self._blocks = decode.one_rate(decode.file_blocks(path))
        self._path, self._closed = str(path), threading.Event()
        first = next(self._blocks, None)
        if first is None:
            raise AudioError(f"{path}: {EMPTY}")
        self.rate, self._first = first
        self.channels = int(self._first.shape[1])

    def feed(self, backlog: Backlog) -> str:
        """Read the file; see `AudioSource`."""
        begun, heard = time.monotonic(), 0
        block: Frames | None = self._first
        while block is not None:
            decode.check_finite(block, self._path)
            for part in np.split(block, range(self._step, len(block), self._step)):
                heard += len(part)
                due = begun + heard / self.rate - time.monotonic()
                if self.live and self._closed.wait(max(0.0, due)):
                    return STOPPED
                if not backlog.put(part, wait=not self.live):
                    return STOPPED
            block = next((block for _, block in self._blocks), None)
        return ENDED

    def close(self) -> None:
        """End `feed` soon."""
        self._closed.set()

    @property
    def _step(self) -> int:
        return max(1, round(_BLOCK_SECONDS * self.rate))


_DRIFT = 1.01  # a sound card's clock may be this much faster than ours


class PipeLead:
    """Measures how far a pipe is ahead of real time; being late earns no credit for later."""

    def __init__(self, now: float) -> None:
        self._last, self._ahead = now, 0.0

    def after(self, seconds: float, now: float) -> float:
        """Return how many seconds the pipe is ahead, after so many more seconds of sound."""
        self._ahead = max(0.0, self._ahead - _DRIFT * (now - self._last)) + seconds
        self._last = now
        return self._ahead
