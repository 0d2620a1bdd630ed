"""Sound from a pipe, of any kind that its first bytes tell. Imports no torch."""

from __future__ import annotations

import io
import itertools
import os
import re
import select
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

import numpy as np

from fdan_edge.audio import decode, ffmpeg, mp3, mp4, ogg, promises, wav
from fdan_edge.audio.kinds import (
    AVI,
    CAF,
    HEAD,
    MP3,
    MP4,
    OGG,
    RIFX,
    WAVPACK,
    Kind,
    behind_tag,
    identify,
    tag_size,
)
from fdan_edge.audio.pcm import Frames, PcmFormat
from fdan_edge.errors import AudioError
from fdan_edge.streaming.backlog import Backlog
from fdan_edge.streaming.sources import ENDED, STOPPED, PipeLead

WHERE = "standard input"
_AHEAD = 1.0  # s of sound more than time has passed
_PATIENCE = 0.3  # s that the first bytes may take to come, before what is there is judged
_ENOUGH = HEAD  # bytes that tell what it is, as of a file
_IN_MEMORY = 1 << 24  # bytes of a file that must be there whole before it can be read
_MOST_CHUNKS = 1 << 20  # bytes behind the sound that are looked at
_UNKNOWN = 1 << 62  # bytes: more than any header promises
_TICK = 0.2  # s between two looks at whether `close` was called
_HEAD, _TAIL = 1 << 20, 1 << 17  # bytes at both ends that are kept, to know what was promised, and what more came
#: Kinds that raw samples can be mistaken for: who names a format has raw samples.
_BY_CHANCE = ("text", "MP3", "AAC", "AAC (LATM)", "MPEG-TS", "AC-3")


class PipeSource:
    """Reads sound from a pipe: files of every kind that is read from disk, or raw samples.

    A pipe that is ahead of real time is no microphone's, and can wait.

    Args:
        format: of raw samples; None: 16 kHz, one channel, 16 bits, unless the first bytes tell something else.
        descriptor: of the pipe.

    Raises:
        AudioError: a terminal, an empty pipe, no sound, or a header that is damaged.
        MissingDependencyError: it is neither WAV nor raw, and PyAV is not installed.
    """

    def __init__(self, format: PcmFormat | None = None, descriptor: int = 0) -> None:  # noqa: A002
        if os.isatty(descriptor):
            raise AudioError("standard input is a terminal; pipe sound into it: arecord -f S16_LE -r 16000 |")
        self._closed = threading.Event()
        try:
            self._patient = stat.S_ISREG(os.fstat(descriptor).st_mode)
        except OSError:
            raise AudioError(f"{WHERE}: is closed; pipe sound into it") from None
        self.live = not self._patient
        pipe = _Pipe(descriptor, self._closed)
        head = pipe.peek(_ENOUGH, _PATIENCE)
        if not head:
            raise AudioError(f"{WHERE}: no sound came")
        kind = identify(head)
        if format and kind and kind.name in _BY_CHANCE:
            kind = None
        elif kind and tag_size(head):
            kind = _pass_tags(pipe, tag_size(head))
        self._reader = _reader(pipe, kind, format)
        self.rate, self.channels = self._reader.rate, self._reader.channels
        self.name = f"{WHERE} ({self._reader.name})"

    def feed(self, backlog: Backlog) -> str:
        """Read the pipe; see `AudioSource`."""
        lead, wrong = PipeLead(time.monotonic()), 0
        for block in self._reader.blocks:
            odd = ~np.isfinite(block)
            if odd.any():
                wrong += int(odd.sum())
                block = np.where(odd, np.float32(0), block)
            ahead = lead.after(len(block) / self.rate, time.monotonic())
            if not backlog.put(block, wait=self._patient or ahead > _AHEAD):
                break
        if self._closed.is_set():
            return STOPPED
        if problem := self._reader.end():
            raise AudioError(f"{WHERE}: {problem}")
        return f"{ENDED}; {wrong} values in it were no sound (NaN, infinite), and heard as 0" if wrong else ENDED

    def close(self) -> None:
        """End `feed` soon."""
        self._closed.set()


def _pass_tags(pipe: _Pipe, size: int) -> Kind:
    """Pass over ID3v2 tags, the first of which has `size` bytes; tell what follows."""
    head = b""
    while size:
        pipe.skip(size)
        head = pipe.peek(_ENOUGH, _PATIENCE)
        size = tag_size(head)
    return behind_tag(head)


class _Reader:
    """Blocks (n, channels) at one rate, and what was wrong with their end."""

    def __init__(
        self, name: str, rate: int, channels: int, blocks: Iterator[Frames], end: Callable[[], str]
    ) -> None:
        self.name, self.rate, self.channels, self.blocks, self.end = name, rate, channels, blocks, end


def _reader(pipe: _Pipe, kind: Kind | None, raw: PcmFormat | None) -> _Reader:
    if kind is None:
        pcm = raw or PcmFormat()
        return _Reader(f"raw: {pcm}", pcm.rate, pcm.channels, _pcm_blocks(pipe, pcm, None), lambda: "")
    if not kind.reader:
        raise AudioError(f"{WHERE}: {decode.not_sound(kind)}")
    if kind.reader == "wav":
        return _wav_reader(pipe, kind)
    return _container_reader(pipe, kind)


def _wav_reader(pipe: _Pipe, kind: Kind) -> _Reader:
    pipe.keep_all = True  # until it is known who reads it
    try:
        header = wav.read_header(pipe.read)
    except AudioError as error:
        raise AudioError(f"{WHERE}: {error}") from None
    if header.pcm is None:
        pipe.rewind()
        promise = promises.Promise(header.at, header.size or 0)
        return _container_reader(pipe, Kind(f"WAV of {header.encoding}", "ffmpeg", kind.demuxer), promise)
    pipe.forget(header.peeked)
    pipe.watch(promises.second_start(kind))
    counted = _Counted(header.size, ">" if kind == RIFX else "<")
    blocks = _pcm_blocks(pipe, header.pcm, counted)
    name, pcm = f"{kind}: {header.pcm}", header.pcm
    return _Reader(name, pcm.rate, pcm.channels, blocks, lambda: counted.problem(pipe))


def _container_reader(pipe: _Pipe, kind: Kind, promise: promises.Promise | None = None) -> _Reader:
    """Decode with FFmpeg; its first block tells the rate."""
    pipe.watch(promises.second_start(kind))
    whole = _needs_seeking(kind, pipe.peek(_ENOUGH, _PATIENCE))
    file = _spooled(pipe) if whole else cast("BinaryIO", pipe)
    if kind == MP4:
        file = _checked_mp4(file) if whole else cast("BinaryIO", mp4.CheckedPipe(pipe.some, WHERE))
    sound = _ogg_sound(pipe) if kind == OGG else ffmpeg.sound(file, kind, WHERE, **_promised(pipe, kind))
    blocks = decode.one_rate(sound)
    first = next(blocks, None)
    if first is None:
        raise AudioError(f"{WHERE}: {wav.EMPTY}")

    def end() -> str:
        pipe.drain()
        return _end_problem(pipe, kind, promise)

    rest = (block for _, block in blocks)
    channels = first[1].shape[1]
    text = f"{kind}: {first[0]} Hz, {channels} channel{'s' if channels > 1 else ''}"
    return _Reader(text, first[0], channels, itertools.chain([first[1]], rest), end)


def _promised(pipe: _Pipe, kind: Kind) -> dict[str, Any]:
    """Return what `ffmpeg.sound` must know of the length that a header promises."""
    if kind != MP3:
        return {}
    head = io.BytesIO(pipe.peek(_ENOUGH, _PATIENCE))
    return {"exact": mp3.check_size(head, WHERE, _UNKNOWN), "promised": mp3.promised_seconds(head)}


def _ogg_sound(pipe: _Pipe) -> Iterator[tuple[int, Frames]]:
    """Decode the streams of an Ogg pipe, which may follow each other, as those of a file."""
    begin, first = b"", True
    while begin or first:
        link, seconds, first = ogg.Link(pipe.some, begin), 0.0, False
        for rate, block in ffmpeg.sound(cast("BinaryIO", link), OGG, WHERE):
            seconds += len(block) / rate
            yield rate, block
        link.drain()
        if problem := ogg.problem(link.head, link.tail, seconds):
            raise AudioError(f"{WHERE}: {problem}")
        begin = link.rest


def _end_problem(pipe: _Pipe, kind: Kind, promise: promises.Promise | None) -> str:
    """Say what a container's header promised and did not come, or what more came; "" where all is well."""
    head = io.BytesIO(pipe.head)
    if kind == AVI:
        ffmpeg.check_riff_size(head, WHERE, pipe.count)
    if kind == MP3:
        mp3.check_size(head, WHERE, pipe.count)
    promise = promise or promises.read(head, kind)
    if promise and (problem := promises.missing(promise, pipe.count)):
        return problem
    if pipe.came_again:
        return promises.ANOTHER
    return _left_over(pipe, kind, promise) if promise and promise.size else ""


def _left_over(pipe: _Pipe, kind: Kind, promise: promises.Promise) -> str:
    left = pipe.count - promise.at - promise.size
    behind = pipe.tail[-left:] if left > 0 else b""  # all that follows, or the end of it
    if not promises.left_over(io.BytesIO(behind), 0, len(behind), kind):
        return ""
    return f"more follows than the {promise.size} bytes of sound that its header promises; it was not used"


def _needs_seeking(kind: Kind, head: bytes) -> bool:
    """Tell whether FFmpeg must seek in a file: in CAF, WavPack, and in MP4 whose index follows the sound."""
    index, sound = head.find(b"moov"), head.find(b"mdat")
    return kind in (CAF, WAVPACK) or (
        kind == MP4 and (index < 0 or 0 <= sound < index)
    )  # room may be kept before either


def _spooled(pipe: _Pipe) -> BinaryIO:
    """Read a pipe to its end, and return what came as a file that has no name."""
    file: BinaryIO = io.BytesIO()  # FFmpeg reads nothing of tempfile.SpooledTemporaryFile
    try:
        while data := pipe.some(1 << 16):
            file.write(data)
            if isinstance(file, io.BytesIO) and file.tell() > _IN_MEMORY:
                kept, file = file, cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115, it ends with the process
                file.write(kept.getbuffer())
    except OSError as error:
        reason = error.strerror or "it cannot be written"
        raise AudioError(f"{WHERE}: must be kept until its end, in {tempfile.gettempdir()}: {reason}") from None
    file.seek(0)
    return file


def _checked_mp4(file: BinaryIO) -> BinaryIO:
    mp4.check_tables(file, WHERE)
    file.seek(0)
    return file


class _Counted:
    """Counts the bytes of sound that a header promises."""

    def __init__(self, size: int | None, order: str) -> None:
        self.size, self.left, self._order = size, size, order

    def problem(self, pipe: _Pipe) -> str:
        """Say what is missing, or what more follows; "" where all is as the header promises."""
        if self.left is None or self.size is None:
            return promises.ANOTHER if pipe.came_again else ""
        if self.left > 0:
            return f"is cut short: {self.size - self.left} of {self.size} bytes of sound came"
        follows = pipe.read(_MOST_CHUNKS)
        whole = len(follows) < _MOST_CHUNKS
        left = wav.bytes_left_over(io.BytesIO(follows), 0, len(follows), self._order) if whole else 0
        if left < 8 if whole else wav.is_ordinary(follows, self._order):
            return ""
        return f"more follows than the {self.size} bytes of sound that its header promises; it was not used"


def _pcm_blocks(pipe: _Pipe, pcm: PcmFormat, counted: _Counted | None) -> Iterator[Frames]:
    """Decode what is there, whole frames at a time; half a frame at the end is left."""
    rest = b""
    while counted is None or counted.left is None or counted.left > 0:
        most = 1 << 16 if counted is None or counted.left is None else min(1 << 16, counted.left)
        data = pipe.some(most)
        if not data:
            return
        if counted and counted.left is not None:
            counted.left -= len(data)
        data = rest + data
        whole = len(data) - len(data) % pcm.size
        rest = data[whole:]
        if whole:
            yield pcm.decode(data[:whole])


class _Pipe:
    """The reading end of a pipe, as a file that is read forwards only; its first bytes can be looked at before."""

    def __init__(self, descriptor: int, closed: threading.Event) -> None:
        self._descriptor, self._closed = descriptor, closed
        self._ahead = memoryview(b"")  # read, and not yet given out; what is left of it is no copy
        self.keep_all = False
        self._given = bytearray()  # where all is kept
        self.head = self.tail = b""  # the first and the last bytes that were given out
        self.count = 0  # bytes that were given out
        self._start: re.Pattern[bytes] | None = None
        self._noting = self.came_again = False

    def watch(self, start: re.Pattern[bytes] | None) -> None:
        """Note from now on what is given out, and in `came_again` whether another file begins behind the first."""
        self._start, self._noting = start, True

    def drain(self) -> None:
        """Read to the end."""
        while self.some(1 << 16):
            pass

    def skip(self, size: int) -> None:
        """Pass over so many bytes, or fewer at the end."""
        while size and (data := self.some(min(size, 1 << 16))):
            size -= len(data)

    def peek(self, size: int, patience: float) -> bytes:
        """Return the first bytes: all 12 that a header has at least, and up to `size` that come soon."""
        until = None
        while len(self._ahead) < size:
            wait = None if until is None else max(0.0, until - time.monotonic())
            more = self._more(min(HEAD, size - len(self._ahead)), wait)
            if more is None or not more:
                break
            self._ahead = memoryview(bytes(self._ahead) + more)
            if len(self._ahead) >= 12 and until is None:
                until = time.monotonic() + patience
        return bytes(self._ahead[:size])

    def read(self, size: int = -1) -> bytes:
        """Read exactly so many bytes, or fewer at the end."""
        data = b""
        while size < 0 or len(data) < size:
            more = self.some(1 << 16 if size < 0 else size - len(data))
            if not more:
                break
            data += more
        return data

    def some(self, most: int) -> bytes:
        """Read what is there, at least one byte; nothing at the end, or once closed."""
        if self._ahead:
            data, self._ahead = bytes(self._ahead[:most]), self._ahead[most:]
        else:
            data = self._more(most, None) or b""
        if self.keep_all:
            self._given += data
        if self._noting:
            self._note(data)
        return data

    def _note(self, data: bytes) -> None:
        if len(self.head) < _HEAD:
            self.head += data[: _HEAD - len(self.head)]
        if self._start and self._start.search(self.tail[-promises.LONGEST_START :] + data, 0 if self.count else 1):
            self.came_again = True
        self.count += len(data)
        self.tail = (self.tail + data)[-_TAIL:]

    def rewind(self) -> None:
        """Give everything out again that was kept."""
        self._ahead = memoryview(bytes(self._given) + self._ahead)
        self._given, self.keep_all = bytearray(), False

    def forget(self, peeked: bytes) -> None:
        """Keep nothing any more, and give out again what was read too much."""
        self._ahead = memoryview(peeked + self._ahead)
        self._given, self.keep_all = bytearray(), False

    def _more(self, most: int, wait: float | None) -> bytes | None:
        """Read from the descriptor; None where nothing came in time."""
        until = None if wait is None else time.monotonic() + wait
        while not self._closed.is_set():
            left = _TICK if until is None else min(_TICK, until - time.monotonic())
            if left < 0:
                return None
            if select.select([self._descriptor], [], [], left)[0]:
                return os.read(self._descriptor, most)
        return b""
