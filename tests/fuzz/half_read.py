"""Whether sound was read only in part, and nobody said so: what is known of an input without a decoder."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from tests.fuzz.checks import Finding
from tests.fuzz.seeds import SHORT, Seed, sounds

_SLACK = 0.6  # s of what is encoded: fdan_edge.audio.ffmpeg lets a stream end half a second early
_EXACT = 0.012  # s of PCM: what a WAV may have left over, and the resampler's rounding
_HEAD = 512  # bytes of a file in which damage may change what its header promises


@dataclass(frozen=True)
class Promise:
    """What the header of a PCM file promises.

    Args:
        promised: bytes of sound; None: all until the end.
        there: bytes behind the header.
        per_second: bytes of a second of sound.
    """

    promised: int | None
    there: int
    per_second: float


def check(data: bytes, seconds: float, lines: Sequence[str], *, tail: bool = True) -> None:
    """Raise `Finding` where `seconds` of sound are not all that `data` holds, and no line says so.

    Args:
        data: the file.
        seconds: that were read of it.
        lines: that were logged.
        tail: whether what follows the sound of PCM must be told.
    """
    if lines:
        return
    what, least, slack = _expected(data)
    if seconds < least - slack:
        raise Finding(f"{what}: {seconds:.3f} s of {least:.3f} s were read, without a word")
    promise = promise_of(data)
    if promise is None or promise.per_second <= 0:
        return
    there = promise.there / promise.per_second
    promised = there if promise.promised is None else promise.promised / promise.per_second
    if promised > there + _EXACT:
        raise Finding(
            f"{data[:4]!r}: accepted: {there:.3f} s are there of {promised:.3f} s that its header promises"
        )
    if seconds < promised - _EXACT:
        raise Finding(f"{data[:4]!r}: {seconds:.3f} s were read of {promised:.3f} s that its header promises")
    if tail and there > max(promised, seconds) + _EXACT and not _ordinary(_rest(data, promise)):
        raise Finding(f"{data[:4]!r}: {there - promised:.3f} s follow what its header promises, without a word")


def _rest(data: bytes, promise: Promise) -> bytes:
    return data[len(data) - promise.there + (promise.promised or 0) :]


def _expected(data: bytes) -> tuple[str, float, float]:
    """Return what became of a seed, the least seconds that must be read of it, and by how much that may be off."""
    for seed in sounds():
        slack = _EXACT if seed.seconds == SHORT else _SLACK
        if seed.data[:16] != data[:16]:
            continue
        if len(data) < len(seed.data) and seed.data.startswith(data):
            share = 1.0 if seed.promises else len(data) / len(seed.data)
            return f"{seed.name}, cut short", seed.seconds * share, slack
        if data.startswith(seed.data) and (second := _whole(data[len(seed.data) :])) is not None:
            more = second.seconds if second.data[:4] == data[:4] else 0.0
            return f"{data[:4]!r} and another", seed.seconds + more, slack
        if len(data) == len(seed.data) and seed.promises and _headers(data, seed) == _headers(seed.data, seed):
            return f"{seed.name}, damaged", seed.seconds, slack
    return "", 0.0, 0.0


def _headers(data: bytes, seed: Seed) -> tuple[bytes, bytes]:
    """Return the parts of a seed, or of what it became, that say how long it is: of MP4 they may be at its end."""
    if b"moov" not in seed.data:  # what stands before a chunk of sound, or at the beginning
        return data[: max(_HEAD, seed.data.find(b"data") + 16)], b""
    sound, index = seed.data.index(b"mdat"), seed.data.index(b"moov")
    return data[: max(_HEAD, sound)], data[index:] if index > sound else b""


def _whole(data: bytes) -> Seed | None:
    return next((seed for seed in sounds() if seed.data == data), None)


def promise_of(data: bytes) -> Promise | None:
    """Read the header of a plain WAV, AIFF, AU or CAF of PCM samples; None: not so plain, or another file."""
    try:
        if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
            return _of_wav(data)
        if data[:4] == b"FORM" and data[8:12] == b"AIFF":
            return _of_aiff(data)
        if data[:4] == b".snd":
            return _of_au(data)
        if data[:8] == b"caff\0\1\0\0":
            return _of_caf(data)
    except (struct.error, ZeroDivisionError, KeyError):
        pass
    return None


def _of_wav(data: bytes) -> Promise | None:
    """Read a RIFF file whose first chunks are fmt and data."""
    if data[12:20] != b"fmt \x10\0\0\0" or data[36:40] != b"data":
        return None
    tag, channels, rate, _, block, bits = struct.unpack("<HHIIHH", data[20:36])
    size = struct.unpack("<I", data[40:44])[0]
    if tag not in (1, 3) or block * 8 != channels * bits or (tag == 3 and bits not in (32, 64)):
        return None
    unknown = size == 0 or 0x7FFFF000 <= size <= 0x80000000 or size >= 0xFFFFF000
    if unknown and size == 0:
        return None  # what follows decides
    return Promise(None if unknown else size, len(data) - 44, block * rate)


def _of_aiff(data: bytes) -> Promise | None:
    """Read an AIFF file whose first chunks are COMM and SSND."""
    if data[12:20] != b"COMM\0\0\0\x12" or data[38:42] != b"SSND":
        return None
    channels, frames, bits, exponent, mantissa = struct.unpack(">HIHHQ", data[20:38])
    size, offset, _ = struct.unpack(">III", data[42:54])
    if bits not in (8, 16, 24, 32) or not channels or offset or size == 0:
        return None
    rate = mantissa * 2.0 ** (exponent - 16383 - 63) if exponent < 20000 else 0.0
    return Promise(max(size - 8, frames * channels * bits // 8), len(data) - 54, channels * bits // 8 * rate)


def _of_au(data: bytes) -> Promise | None:
    """Read an AU file of samples whose width its number tells."""
    at, size, encoding, rate, channels = struct.unpack(">IIIII", data[4:24])
    width = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}[encoding]
    if not 24 <= at <= len(data):
        return None
    return Promise(None if size == 0xFFFFFFFF else size, len(data) - at, width * channels * rate)


def _of_caf(data: bytes) -> Promise | None:
    """Read a CAF file of PCM samples; its data chunk begins with four bytes that count edits."""
    if data[8:20] != b"desc" + struct.pack(">Q", 32):
        return None
    rate, name, _, block, frames, channels, bits = struct.unpack(">d4sIIIII", data[20:52])
    if name != b"lpcm" or frames != 1 or block * 8 != channels * bits or not 0 < rate < 1e9:
        return None
    place = 52
    while data[place : place + 4] != b"data":
        step = 12 + struct.unpack(">q", data[place + 4 : place + 12])[0]
        if step < 12 or place + step >= len(data):
            return None
        place += step
    size = struct.unpack(">q", data[place + 4 : place + 12])[0]
    promised = None if size < 0 or size >= 1 << 62 else max(0, size - 4)
    return Promise(promised, len(data) - place - 16, block * rate)


def _ordinary(rest: bytes) -> bool:
    """Tell whether what follows the sound may be chunks, padding or tags; in doubt it may."""
    names = any(rest[at : at + 4].replace(b" ", b"a").isalnum() for at in (0, 1))
    return names or not rest.strip(b"\0") or rest.lstrip(b"\0")[:1] in (b"<", b"-", b"\x30")
