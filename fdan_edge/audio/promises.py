"""How much sound a header promises, and what follows it: of AIFF, AU, CAF, W64, VOC, NIST SPHERE and Matroska.

The rule is that of `wav`: more promised than there is refused, and what is left over is said. Only the headers are
read here; the samples are libsndfile's or FFmpeg's to decode.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from fdan_edge.audio import wav
from fdan_edge.audio.kinds import AIFF, AU, CAF, MATROSKA, SPHERE, VOC, W64, Kind
from fdan_edge.errors import AudioError

ANOTHER = "another recording begins behind the first, and is not read as one"
_MOST_CHUNKS = 10_000
#: How files begin of which decoders read only the first where others follow, by FFmpeg's name of their kind. Each
#: is long enough to stand nowhere else by chance.
_STARTS = {
    "mov": re.compile(rb"\0\0\0[\x08-\x80]ftyp[ -~]{4}"),
    "matroska": re.compile(rb"\x1aE\xdf\xa3.{1,8}\x42\x86\x81\x01", re.DOTALL),
    "flac": re.compile(rb"fLaC[\0\x80]\0\0\x22"),
    "wav": re.compile(rb"RIFF.{4}(?:WAVEfmt |AVI LIST)", re.DOTALL),
    "voc": re.compile(rb"Creative Voice File\x1a"),
    "asf": re.compile(rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c"),
    "flv": re.compile(rb"FLV\x01[\0\x01\x04\x05]\0\0\0\x09"),
    "tta": re.compile(rb"TTA1[\x01-\x03]\0[\x01-\x08]\0"),
}
LONGEST_START = 32  # bytes


@dataclass(frozen=True)
class Promise:
    """What a header promises.

    Args:
        at: bytes before the sound.
        size: bytes of sound; 0: all until the end.
        frames: samples of each channel, of kinds that count them beside; 0: it does not.
    """

    at: int
    size: int
    frames: int = 0


def read(file: BinaryIO, kind: Kind) -> Promise | None:
    """Read what a header promises; None where it promises nothing, or is not one of these kinds.

    Args:
        file: open for reading at any place; its position changes. The first bytes of a stream do as well.
        kind: of it.
    """
    reader = _READERS.get(kind)
    try:
        promise = reader(file) if reader else None
    except (
        struct.error,
        ValueError,
    ):  # damaged, which is the decoder's to say; or it ends before the sound begins
        return None
    if promise is None:
        return None
    # Sizes of 64 bits have no limit near 2 or 4 GiB that could be written in place of the right one.
    long = kind in (CAF, W64)
    until_the_end = promise.size >= 1 << 62 if long else wav.stands_for_all(promise.size)
    if promise.size > 0 and not until_the_end:
        return promise
    return Promise(promise.at, 0, promise.frames) if promise.frames else None


def is_open_caf(head: bytes) -> bool:
    """Tell whether a CAF file was not finished: its sound has no size yet, and libsndfile refuses it."""
    try:
        promise = _caf(io.BytesIO(head))
    except struct.error:
        return False
    return promise is not None and promise.size < 0


def checked(file: BinaryIO, kind: Kind, where: str, length: int) -> Promise | None:
    """Read what the header of a file of `length` bytes promises; see `read`.

    Raises:
        AudioError: less is there.
    """
    promise = read(file, kind)
    if promise and (problem := missing(promise, length)):
        raise AudioError(f"{where}: {problem}")
    return promise


def missing(promise: Promise, length: int) -> str:
    """Say how much of the sound is missing in a file of `length` bytes; "" where nothing is."""
    there = max(0, length - promise.at)
    return f"is cut short: {there} of {promise.size} bytes of sound are there" if there < promise.size else ""


def left_over(file: BinaryIO, at: int, length: int, kind: Kind) -> int:
    """Count the bytes from `at`, the end of the sound, to the end that are neither chunks nor padding nor tags."""
    if kind in (VOC, MATROSKA):  # more blocks of sound may follow, which are read
        return 0
    if kind in (CAF, W64):
        at = _after_chunks(file, at, length, _caf_chunk if kind == CAF else _w64_chunk)
    return wav.bytes_left_over(file, at, length, ">") if kind == AIFF else wav.bytes_of_no_tag(file, at, length)


def second_start(kind: Kind) -> re.Pattern[bytes] | None:
    """Return how another file behind the first of this kind begins; None where decoders go on to it themselves."""
    return _STARTS["wav"] if kind.demuxer in ("wav", "avi") else _STARTS.get(kind.demuxer)


def _aiff(file: BinaryIO) -> Promise | None:
    """Walk to the chunk SSND; COMM counts the frames in it, or of compressed sound something else."""
    file.seek(8)
    frames = 0
    plain = file.read(4) == b"AIFF"
    for _ in range(_MOST_CHUNKS):
        name, size = struct.unpack(">4sI", file.read(8))
        start = file.tell()
        if name == b"COMM":
            frames = struct.unpack(">I", file.read(6)[2:])[0] if plain else 0
        if name == b"SSND":
            offset = struct.unpack(">I", file.read(4))[0]
            offset = offset if offset < size else 0  # damaged
            return Promise(start + 8 + offset, size - 8 - offset, 0 if wav.stands_for_all(frames) else frames)
        file.seek(start + size + size % 2)
    return None


def _au(file: BinaryIO) -> Promise | None:
    file.seek(0)
    order = ">" if file.read(4) == b".snd" else "<"
    at, size = struct.unpack(f"{order}II", file.read(8))
    return Promise(at, size)


def _caf(file: BinaryIO) -> Promise | None:
    """Walk to the chunk data, which begins with a number of edits."""
    file.seek(8)
    for _ in range(_MOST_CHUNKS):
        name, size = struct.unpack(">4sq", file.read(12))
        if name == b"data":
            return Promise(file.tell() + 4, size - 4)
        if size < 0:
            return None
        file.seek(file.tell() + size)
    return None


def _w64(file: BinaryIO) -> Promise | None:
    file.seek(40)
    for _ in range(_MOST_CHUNKS):
        name, size = struct.unpack("<16sQ", file.read(24))
        if name[:4] == b"data":
            return Promise(file.tell(), size - 24)
        if size < 24:
            return None
        file.seek(file.tell() - 24 + (size + 7) // 8 * 8)
    return None


def _voc(file: BinaryIO) -> Promise | None:
    """Walk to the first block of sound."""
    file.seek(20)
    file.seek(struct.unpack("<H", file.read(2))[0])
    for _ in range(_MOST_CHUNKS):
        (number,) = struct.unpack("<I", file.read(4))
        block, size = number & 0xFF, number >> 8
        if block in (1, 9):
            before = 2 if block == 1 else 12
            return Promise(file.tell() + before, size - before)
        file.seek(file.tell() + size)
    return None


def _sphere(file: BinaryIO) -> Promise | None:
    file.seek(0)
    _, size, *lines = file.read(1 << 16).split(b"\n")
    values = {words[0]: words[2] for words in (line.split() for line in lines[:200]) if len(words) == 3}
    if b"," in values.get(b"sample_coding", b""):  # compressed
        return None
    counts = [int(values.get(name, b"0")) for name in (b"sample_count", b"sample_n_bytes", b"channel_count")]
    return Promise(int(size), counts[0] * counts[1] * counts[2])


def _matroska(file: BinaryIO) -> Promise | None:
    """Read the size of the segment, all but a short header; programs that write to pipes leave it open."""
    file.seek(4)
    file.seek(_element_size(file), io.SEEK_CUR)
    if file.read(4) != b"\x18\x53\x80\x67":
        return None
    size = _element_size(file)
    return Promise(file.tell(), size)


def _element_size(file: BinaryIO) -> int:
    """Read an element's size, in as many bytes as the first one has zeros in front, and one; 0: it is open."""
    (first,) = file.read(1)
    length = 9 - first.bit_length()
    if length > 8:
        raise ValueError("no size")
    bits = 7 * length
    size = int.from_bytes(bytes([first]) + file.read(length - 1), "big") & (1 << bits) - 1
    return 0 if size == (1 << bits) - 1 else size


_READERS: dict[Kind, Callable[[BinaryIO], Promise | None]] = {
    AIFF: _aiff,
    AU: _au,
    CAF: _caf,
    W64: _w64,
    VOC: _voc,
    SPHERE: _sphere,
    MATROSKA: _matroska,
}


def _caf_chunk(head: bytes) -> int:
    name, size = struct.unpack(">4sq", head[:12])
    return 12 + size if name.isalnum() and size >= 0 else 0


def _w64_chunk(head: bytes) -> int:
    size: int = struct.unpack("<Q", head[16:24])[0]
    name = head[:4].strip()
    return (size + 7) // 8 * 8 if name.isalnum() and name != b"riff" and size >= 24 else 0


def _after_chunks(file: BinaryIO, at: int, length: int, size_of: Callable[[bytes], int]) -> int:
    """Return where the chunks end that follow each other from `at` on; up to 7 empty bytes may come before."""
    file.seek(at)
    at += -at % 8 if not file.read(-at % 8).strip(b"\0") else 0
    while at + 24 <= length:
        file.seek(at)
        size = size_of(file.read(24))
        if not size or at + size > length:
            break
        at += size
    return at
