"""What the first frame of an MP3 file promises."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO, NamedTuple

from fdan_edge.audio.kinds import after_tags
from fdan_edge.errors import AudioError

_NEAR = 4096  # bytes after the tags in which the first frame begins
_RATES = (44100, 48000, 32000)  # Hz, of MPEG 1


class _Xing(NamedTuple):
    """A Xing or Info header: it counts what follows, 0 where it does not say."""

    frames: int
    size: int  # bytes, from the first frame on
    frame: bytes  # how that frame begins
    padding: int  # samples that the encoder added at both ends, where it says so


def check_size(file: BinaryIO, where: str, there: int | None = None) -> bool:
    """Raise AudioError for a file that ends before its Xing or Info header says; seeks to its start.

    Args:
        file: or its first bytes.
        where: what it is called.
        there: bytes that it has; None: `file` has them all.

    Returns:
        Whether such a header counts the frames.

    Files without one promise nothing, and others may be longer: recordings that somebody put one behind another
    are read whole.
    """
    there = file.seek(0, os.SEEK_END) if there is None else there
    at = after_tags(file)
    head, xing = _read(file, at)
    if xing and xing.size > there - at - max(0, head.find(b"\xff")):
        raise AudioError(f"{where}: is cut short: {there - at} of {xing.size} bytes of MP3 are there")
    return bool(xing and xing.frames)


def promised_seconds(file: BinaryIO) -> float:
    """Return how long the sound is by its Xing or Info header, or 0; seeks to its start.

    Args:
        file: or its first bytes.
    """
    xing = _read(file, after_tags(file))[1]
    if not xing or len(xing.frame) < 4 or xing.frame[1] & 0xE6 != 0xE2:  # no frame of layer 3
        return 0.0
    version, rate = xing.frame[1] >> 3 & 3, xing.frame[2] >> 2 & 3
    if version == 1 or rate == 3:  # no such version, no such rate
        return 0.0
    samples, divisor = (1152, 1) if version == 3 else (576, 2 if version == 2 else 4)
    return max(0, xing.frames * samples - xing.padding) * divisor / _RATES[rate]


def _read(file: BinaryIO, at: int) -> tuple[bytes, _Xing | None]:
    """Read what follows the tags, and the header in it; seeks to the start of the file."""
    file.seek(at)
    head = file.read(_NEAR)
    file.seek(0)
    places = [place for name in (b"Xing", b"Info") if (place := head.find(name)) >= 0]
    if not places or len(head) < min(places) + 16:
        return head, None
    place = min(places)
    flags, *numbers = struct.unpack(">III", head[place + 4 : place + 16])
    frame = head.rfind(b"\xff", 0, place)
    frames = numbers[0] if flags & 1 else 0
    size = numbers[1 if flags & 1 else 0] if flags & 2 and frame >= 0 else 0
    return head, _Xing(frames, size, head[frame : frame + 4] if frame >= 0 else b"", _padding(head, place, flags))


def _padding(head: bytes, place: int, flags: int) -> int:
    """Read what LAME and FFmpeg write behind the fields of the header: delay and padding, of 12 bits each."""
    at = place + 8 + sum(size for bit, size in enumerate((4, 4, 100, 4)) if flags >> bit & 1)
    if head[at : at + 4] not in (b"LAME", b"Lavf", b"Lavc") or len(head) < at + 24:
        return 0
    both = int.from_bytes(head[at + 21 : at + 24], "big")
    return (both >> 12) + (both & 0xFFF)
