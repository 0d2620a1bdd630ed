"""What the first frame of an MP3 file promises."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

from fdan_edge.audio.kinds import after_tags
from fdan_edge.errors import AudioError

_NEAR = 4096  # bytes after the tags in which the first frame begins


def check_size(file: BinaryIO, where: str, there: int | None = None) -> bool:
    """Raise AudioError for a file that ends before its Xing or Info header says; seeks to its start.

    Args:
        file: or its first bytes.
        where: what it is called.
        there: bytes that it has; None: `file` has them all.

    Returns:
        Whether such a header counts the frames.

    Such a header stands in the first frame, and counts the bytes from there on. Files without one promise nothing,
    and others may be longer: recordings that somebody put one behind another are read whole.
    """
    there = file.seek(0, os.SEEK_END) if there is None else there
    at = after_tags(file)
    file.seek(at)
    head = file.read(_NEAR)
    file.seek(0)
    places = [place for name in (b"Xing", b"Info") if (place := head.find(name)) >= 0]
    if not places or len(head) < min(places) + 16:
        return False
    place = min(places)
    flags, *numbers = struct.unpack(">III", head[place + 4 : place + 16])
    frame = head.rfind(b"\xff", 0, place)
    if not flags & 2 or frame < 0:
        return bool(flags & 1)
    size = numbers[1] if flags & 1 else numbers[0]
    if size > there - at - max(0, head.find(b"\xff")):
        raise AudioError(f"{where}: is cut short: {there - at} of {size} bytes of MP3 are there")
    return bool(flags & 1)
