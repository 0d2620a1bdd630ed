"""How much FFmpeg would keep in memory of the tables of an MP4 file: a header of 1 kB can ask for gigabytes.

FFmpeg keeps some 36 bytes of every sample that the tables count, before it looks whether the samples are there.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np

from fdan_edge.errors import AudioError

#: Samples that the tables may count: 24 hours of AAC with 60 pictures a second have 9 million.
MOST_SAMPLES = 10_000_000
_FEW = 100_000  # samples that any file may count; else each takes a byte at least
_LARGEST_TABLES = 1 << 26  # bytes of them in a pipe
_BLOCK = 1 << 16  # bytes
_ENDLESS = 1 << 62  # bytes: of a box that goes on to the end
#: In these FFmpeg looks for boxes, whichever they are: tables need not be where they belong.
_INSIDE = (
    *(b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl", b"moof", b"traf"),
    *(b"dinf", b"mvex", b"tref", b"udta", b"sinf", b"schi", b"wave"),
)
_OF_TRACKS = (b"stsz", b"stz2", b"stsc", b"stco", b"co64", b"elst")
_ONCE_HEADERS, _BEGIN_HEADERS = (b"free", b"hoov"), (b"mvhd", b"cmov")  # with which these are headers again
_DEEPEST = 16  # FFmpeg gives up at 10
_MOST_BOXES = 2_000_000  # fragments of a second have 8: 24 hours of them are 700,000
_AT_ONCE = 1024  # samples of PCM that one entry is of


def check_tables(file: BinaryIO, where: str) -> None:
    """Raise AudioError for a file whose tables count more samples than it can hold; its position changes."""
    length = file.seek(0, io.SEEK_END)
    _check(file, where, min(MOST_SAMPLES, max(length, _FEW)))


def _check(file: BinaryIO, where: str, most: int) -> None:
    length = file.seek(0, io.SEEK_END)
    try:
        count = _Tables(file, most).count(0, length)
    except ValueError as error:
        raise AudioError(f"{where}: {error}") from None
    if count > most:
        raise AudioError(f"{where}: is damaged MP4: its tables count {count} samples; it can hold {most} at most")


class CheckedPipe:
    """Reads MP4 from a pipe, forwards only; each box of tables is looked at before any of it is given out.

    Args:
        some: reads from the pipe what is there, at most so many bytes; none at the end.
        where: what it is called.
    """

    def __init__(self, some: Callable[[int], bytes], where: str) -> None:
        self._some, self._where = some, where
        self._waiting = bytearray()  # that was read too early
        self._ready = b""  # that was looked at
        self._free = 0  # bytes of a box that need not be looked at

    def read(self, size: int) -> bytes:
        """Read what is there, at most so many bytes; none at the end.

        Raises:
            AudioError: tables count more samples than a pipe's may.
        """
        if not self._ready and not self._free:
            self._next_box()
        if self._ready:
            data, self._ready = self._ready[:size], self._ready[size:]
            return data
        data = self._up_to(min(size, self._free))
        self._free -= len(data)
        return data

    def _next_box(self) -> None:
        head = self._exactly(8)
        head += self._exactly(8) if head[:4] == b"\0\0\0\1" else b""
        name, start, end = _bounds(head, 0, _ENDLESS) if len(head) >= 8 else (b"", 0, 0)
        self._free = max(0, end - start)
        more = self._exactly(min(8, self._free)) if name in _ONCE_HEADERS else b""
        self._ready, self._free = head + more, self._free - len(more)
        if more[4:] not in _BEGIN_HEADERS and name not in (*_INSIDE, *_OF_TRACKS, b"meta"):
            return
        if self._free > _LARGEST_TABLES:
            raise AudioError(f"{self._where}: is damaged MP4: tables of {self._free} bytes")
        self._ready, self._free = self._ready + self._exactly(self._free), 0
        _check(io.BytesIO(self._ready), self._where, max(len(self._ready), _FEW))

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size and (more := self._up_to(size - len(data))):
            data += more
        return bytes(data)

    def _up_to(self, size: int) -> bytes:
        """Read what is there, in blocks: who watches the pipe sees how a file begins by the first of them."""
        if not self._waiting:
            self._waiting += self._some(_BLOCK)
        data = bytes(self._waiting[:size])
        del self._waiting[:size]
        return data


class _Tables:
    """Adds up what the boxes of an MP4 file count."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file, self._most, self._boxes = file, most, 0

    def count(self, start: int, end: int, depth: int = 0) -> int:
        """Count the samples that FFmpeg would keep of the boxes between two places; it stops above `most`.

        Raises:
            ValueError: there are boxes that no file has, or too many of them.
        """
        total = 0
        for name, at, until in self._boxes_between(start, end):
            if name == b"trak":
                total += self._of_track(at, until)
            elif name == b"trun":
                total += self._numbers(at + 4, 1, until)[0]
            elif name in _OF_TRACKS:
                raise ValueError(f"is damaged MP4: a table {name.decode()} is in no track")
            elif depth < _DEEPEST and (inner := self._inside(name, at, until)) is not None:
                total += self.count(inner, until, depth + 1)
            if total > self._most:
                break
        return total

    def _of_track(self, start: int, end: int) -> int:
        """Count the samples of a track, and of those within it: FFmpeg takes them for its neighbours."""
        tables: dict[bytes, list[tuple[int, int]]] = {}
        for name, bounds in self._leaves(start, end):
            tables.setdefault(name, []).append(bounds)
        counts = [
            self._numbers(at + 8, 1, until)[0] for name in (b"stsz", b"stz2") for at, until in tables.get(name, [])
        ]
        edits = [self._numbers(at + 4, 1, until)[0] for at, until in tables.get(b"elst", [])]
        count = self._of_pcm(tables) if self._is_pcm(tables) else sum(counts)
        return count * max([1, *edits])

    def _is_pcm(self, tables: dict[bytes, list[tuple[int, int]]]) -> bool:
        """Tell whether all samples are alike, and sound, of which FFmpeg takes many at once."""
        sizes, durations = (tables.get(name, []) for name in (b"stsz", b"stts"))
        kinds = {self._numbers(at + 8, 1, until)[0].to_bytes(4, "big") for at, until in tables.get(b"hdlr", [])}
        if len(sizes) != 1 or len(durations) != 1 or b"soun" not in kinds or b"vide" in kinds:
            return False
        (size,) = self._numbers(sizes[0][0] + 4, 1, sizes[0][1])
        runs, _, duration = self._numbers(durations[0][0] + 4, 3, durations[0][1])
        return size > 0 and (runs, duration) == (1, 1)

    def _of_pcm(self, tables: dict[bytes, list[tuple[int, int]]]) -> int:
        """Count what FFmpeg takes at once of the chunks that samples lie in."""
        places = [*tables.get(b"stco", []), *tables.get(b"co64", [])]
        chunks = max((self._numbers(at + 4, 1, until)[0] for at, until in places), default=0)
        return max((self._in_chunks(at, until, chunks) for at, until in tables.get(b"stsc", [])), default=0)

    def _in_chunks(self, at: int, end: int, chunks: int) -> int:
        """Add up a table of runs: the first chunk, and how many samples it and those that follow have."""
        self._file.seek(at + 8)
        data = self._file.read(max(0, min(12 * self._numbers(at + 4, 1, end)[0], end - at - 8, 12 * MOST_SAMPLES)))
        runs = np.frombuffer(data[: len(data) // 12 * 12], ">u4").reshape(-1, 3).astype(np.float64)
        lengths = np.maximum(np.diff([*runs[:, 0], chunks + 1.0]), 0)
        return int((lengths * np.ceil(runs[:, 1] / _AT_ONCE)).sum())

    def _leaves(self, start: int, end: int, depth: int = 0) -> Iterator[tuple[bytes, tuple[int, int]]]:
        for name, at, until in self._boxes_between(start, end):
            if depth < _DEEPEST and (inner := self._inside(name, at, until)) is not None:
                yield from self._leaves(inner, until, depth + 1)
            else:
                yield name, (at, until)

    def _inside(self, name: bytes, at: int, end: int) -> int | None:
        """Return where FFmpeg looks for boxes within one, None where it does not.

        Raises:
            ValueError: it would look where we cannot.
        """
        if name == b"cmov":
            raise ValueError("its header is compressed; `ffmpeg -i IN -c copy OUT` writes a plain one")
        if name in _ONCE_HEADERS:
            return at if self._content(at + 4, min(end, at + 8)) in _BEGIN_HEADERS else None
        if name == b"stsd" and any(table in self._content(at, end) for table in _OF_TRACKS):
            raise ValueError("is damaged MP4: a table is in a description of sound or pictures")
        if name == b"meta":  # with and without a version
            content = self._content(at, end)
            places = (place for place in range(4, len(content), 4) if content[place : place + 4] == b"hdlr")
            return at + next(places, len(content)) - 4
        return at if name in _INSIDE else None

    def _content(self, at: int, end: int) -> bytes:
        if end - at > _LARGEST_TABLES:
            raise ValueError(f"is damaged MP4: a box of {end - at} bytes in its header")
        self._file.seek(at)
        return self._file.read(max(0, end - at))

    def _boxes_between(self, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
        """Yield the name of each box, and where its content begins and ends."""
        while start + 8 <= end:
            self._boxes += 1
            if self._boxes > _MOST_BOXES:
                raise ValueError(f"is damaged MP4: more than {_MOST_BOXES} boxes")
            self._file.seek(start)
            head = self._file.read(16)
            if len(head) < 8:
                return
            name, at, until = _bounds(head, start, end)
            if until <= start:
                return
            yield name, at, min(until, end)
            start = until

    def _numbers(self, at: int, count: int, end: int) -> tuple[int, ...]:
        """Read numbers of 32 bits; 0 for those that are not there."""
        self._file.seek(at)
        data = self._file.read(max(0, min(4 * count, end - at)))
        return struct.unpack(f">{count}I", data.ljust(4 * count, b"\0"))


def _bounds(head: bytes, start: int, end: int) -> tuple[bytes, int, int]:
    """Return the name of the box that begins here, and where its content begins and ends."""
    size, name = struct.unpack(">I4s", head[:8])
    if size == 1 and len(head) == 16:
        return name, start + 16, start + struct.unpack(">Q", head[8:])[0]
    return name, start + 8, start + size if size else end
