"""Sources of live sound: a file or a pipe; `microphone` has a third one. Imports no torch."""

from __future__ import annotations

import os
import select
import stat
import struct
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from fdan_edge.audio import decode
from fdan_edge.audio.resample import Samples
from fdan_edge.errors import AudioError, ConfigError, unknown_choice
from fdan_edge.streaming.backlog import Backlog

ENDED = "the sound ended"
STOPPED = "stopped"
_BLOCK_SECONDS = 0.05  # of a file


class AudioSource(Protocol):
    """Gives sound until it ends."""

    name: str  # for people
    rate: int  # Hz
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
    """Reads a file that libsndfile knows, at most some seconds of it in memory.

    Args:
        path: any rate, any number of channels.
        realtime: at the speed of speech rather than as fast as possible.

    Raises:
        AudioError: not a sound file, or an empty one.
    """

    def __init__(self, path: Path, *, realtime: bool = False) -> None:
        decode.check_readable(path)
        self.name, self.live = path.name, realtime
        self._blocks = decode.sound_blocks(path)
        self._closed = threading.Event()
        first = next(self._blocks, None)
        if first is None:
            raise AudioError(f"{path}: holds no samples")
        self.rate, self._first = first

    def feed(self, backlog: Backlog) -> str:
        """Read the file; see `AudioSource`."""
        begun, heard = time.monotonic(), 0
        block: Samples | None = self._first
        while block is not None:
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


@dataclass(frozen=True)
class PcmFormat:
    """The format of raw samples, little endian."""

    rate: int = 16000  # Hz
    channels: int = 1
    sample: str = "s16"  # of SAMPLES

    def __post_init__(self) -> None:
        if self.sample not in SAMPLES:
            raise ConfigError(unknown_choice("format", self.sample, list(SAMPLES)))
        if not decode.RATES[0] <= self.rate <= decode.RATES[1]:
            raise ConfigError(f"rate = {self.rate}: valid are {decode.RATES[0]} to {decode.RATES[1]} Hz")
        if not 1 <= self.channels <= MOST_CHANNELS:
            raise ConfigError(f"channels = {self.channels}: valid are 1 to {MOST_CHANNELS}")

    def __str__(self) -> str:
        return f"{self.rate} Hz, {self.channels} channel{'s' if self.channels > 1 else ''}, {self.sample}"

    @property
    def size(self) -> int:
        """Bytes of one sample of all channels."""
        return self.channels * np.dtype(SAMPLES[self.sample][0]).itemsize

    def decode(self, data: bytes) -> tuple[Samples, int]:
        """Convert whole frames to samples (n, channels); count the values that are no sound and became 0."""
        kind, zero, scale = SAMPLES[self.sample]
        values = np.frombuffer(data, kind).astype(np.float32).reshape(-1, self.channels)
        values -= zero
        values /= scale
        wrong = ~(np.abs(values) < _LOUDEST)  # NaN too
        values[wrong] = 0
        return values, int(wrong.sum())


#: Names as of ffmpeg: numpy's, what silence is, and what full scale is.
SAMPLES = {
    "s16": ("<i2", 0.0, 2.0**15),
    "s32": ("<i4", 0.0, 2.0**31),
    "f32": ("<f4", 0.0, 1.0),
    "u8": ("u1", 128.0, 128.0),
}
MOST_CHANNELS = 64
_LOUDEST = 1000.0  # 60 dB above full scale; floats can say that, sound cannot
_AHEAD = 1.0  # s of sound more than time has passed
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


class PcmPipe:
    """Reads samples from a pipe: raw ones, or those behind a WAV header, which then gives their format.

    A pipe that is ahead of real time is no microphone's, and can wait.

    Args:
        format: of raw samples.
        descriptor: of the pipe.

    Raises:
        AudioError: a terminal, an empty pipe, or a WAV header that is damaged or of another encoding.
    """

    def __init__(self, format: PcmFormat = PcmFormat(), descriptor: int = 0) -> None:  # noqa: A002
        if os.isatty(descriptor):
            raise AudioError("standard input is a terminal; pipe sound into it: arecord -f S16_LE -r 16000 |")
        self._descriptor = descriptor
        self._patient = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self.live = not self._patient
        self._left: int | None = None  # bytes of sound that a WAV header promises
        self._rest = self._exactly(12)
        if not self._rest:
            raise AudioError("standard input: no sound came")
        kind = "raw"
        if self._rest[:4] == b"RIFF" and self._rest[8:] == b"WAVE":
            kind, format, self._rest = "WAV", self._header(), b""  # noqa: A001
        self._format, self.rate = format, format.rate
        self.name = f"standard input ({kind}: {format})"
        self._closed = threading.Event()

    def feed(self, backlog: Backlog) -> str:
        """Read the pipe; see `AudioSource`."""
        lead, wrong = PipeLead(time.monotonic()), 0
        while data := self._whole_frames():
            block, odd = self._format.decode(data)
            wrong += odd
            ahead = lead.after(len(block) / self.rate, time.monotonic())
            if not backlog.put(block, wait=self._patient or ahead > _AHEAD):
                break
        if self._closed.is_set():
            return STOPPED
        return f"{ENDED}; {wrong} values in it were no sound (NaN, infinite), and heard as 0" if wrong else ENDED

    def close(self) -> None:
        """End `feed` soon."""
        self._closed.set()

    def _whole_frames(self) -> bytes:
        """Read what is there, at least one frame; nothing at the end."""
        data = self._rest
        while len(data) < self._format.size:
            more = self._read()
            if not more:
                return b""
            data += more
        whole = len(data) - len(data) % self._format.size
        self._rest = data[whole:]
        return data[:whole]

    def _read(self) -> bytes:
        while not self._closed.is_set():
            if self._left == 0:
                return b""  # what follows are notes, no sound
            if select.select([self._descriptor], [], [], 0.2)[0]:
                data = os.read(self._descriptor, min(1 << 16, self._left or 1 << 16))
                self._left = None if self._left is None else self._left - len(data)
                return data
        return b""

    def _exactly(self, size: int) -> bytes:
        """Read so many bytes, or fewer at the end."""
        data = b""
        while len(data) < size and (more := os.read(self._descriptor, size - len(data))):
            data += more
        return data

    def _header(self) -> PcmFormat:
        """Read a WAV header; a size that was written before the sound was there counts as unknown."""
        format_: PcmFormat | None = None
        while len(head := self._exactly(8)) == 8:
            name, size = struct.unpack("<4sI", head)
            if name == b"data" and format_:
                self._left = size if 0 < size < _STREAMED else None
                return format_
            size += size % 2
            if name == b"fmt " and size <= 1 << 16:
                format_ = _wav_format(self._exactly(size))
                continue
            while size and (skipped := self._exactly(min(size, 1 << 16))):
                size -= len(skipped)
        raise AudioError("standard input: its WAV header is damaged or cut short")


#: WAVE_FORMAT_PCM and WAVE_FORMAT_IEEE_FLOAT by bits.
_WAV_SAMPLES = {(1, 8): "u8", (1, 16): "s16", (1, 32): "s32", (3, 32): "f32"}
_EXTENSIBLE = 0xFFFE
_STREAMED = 0x7FFFF000  # bytes; from here on a size stands for "until the end"


def _wav_format(chunk: bytes) -> PcmFormat:
    """Parse a WAV file's "fmt " chunk.

    Raises:
        AudioError: damaged, or of an encoding that is not read here.
    """
    if len(chunk) < 16:
        raise AudioError("standard input: its WAV header is damaged or cut short")
    tag, channels, rate, _, _, bits = struct.unpack("<HHIIHH", chunk[:16])
    if tag == _EXTENSIBLE and len(chunk) >= 26:
        tag = struct.unpack("<H", chunk[24:26])[0]
    sample = _WAV_SAMPLES.get((tag, bits))
    if not sample:
        raise AudioError(f"standard input: WAV of encoding {tag} with {bits} bits; 16 bits are best: -f S16_LE")
    try:
        return PcmFormat(rate, channels, sample)
    except ConfigError as error:
        raise AudioError(f"standard input: damaged WAV header: {error}") from None
