"""Read WAV: RIFF, RIFX, RF64 and BW64, forwards only, so that files and pipes are read alike.

How much of a file is sound, where its header may promise too much, too little or nothing (docs/formats/sound.md):

- A size of 0, of all ones, or near 2 or 4 GiB stands for "until the end": programs that cannot seek back write it.
  A size of 0 with chunks behind it is an empty recording.
- More promised than there: the file is cut short, and refused.
- Less promised than there: what is promised is read. What follows may be chunks, padding or tags; for anything
  else the reader says how much was left.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, TypeAlias

from fdan_edge.audio.pcm import MOST_CHANNELS, RATES, PcmFormat
from fdan_edge.errors import AudioError
from fdan_edge.utils.messages import warn_once

#: Returns as many bytes as are asked for, or fewer at the end.
Read: TypeAlias = Callable[[int], bytes]

DAMAGED = "its WAV header is damaged or cut short"
EMPTY = "holds no samples"

_PCM, _FLOAT, _ALAW, _ULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_INTEGERS = {1: "u8", 2: "s16", 3: "s24", 4: "s32"}
_NAMES = {2: "Microsoft ADPCM", 17: "IMA ADPCM", 49: "GSM 6.10", 0x55: "MP3", 0xFF: "AAC", 0x161: "WMA"}
_NAMES |= {56: "NMS ADPCM", 64: "G.721"}
#: Encodings that libsndfile decodes; FFmpeg refuses one of them, and makes another sound of another.
OF_LIBSNDFILE = tuple(_NAMES[tag] for tag in (2, 17, 49, 56, 64))
LEFT_OVER = 0.01  # s behind the sound that a header promises: less is padding
_WHOLE_HEADER = 1 << 26  # bytes before the sound: longer ones are damage
#: Another recording behind the first, whose header would pass as a chunk.
_FILES = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM")
#: Chunks of sound, of WAV and AIFF; the first one is read.
_SOUND = (b"data", b"SSND")
#: What may follow the sound without being a chunk: ID3 and APE tags, signatures, XML.
_TAGS = (b"TAG", b"ID3", b"APETAGEX", b"-----BEGIN", b"<?xml", b"\x30\x80", b"\x30\x82")


@dataclass(frozen=True)
class WavHeader:
    """What stands before the sound of a WAV file or stream.

    Args:
        pcm: format of the samples; None: they are encoded in a way that is not read here.
        encoding: that way, for people; "" for PCM.
        size: bytes of sound; None: all until the end.
        at: bytes before the sound.
    """

    pcm: PcmFormat | None
    encoding: str
    size: int | None
    at: int
    #: Bytes that were read to decide whether sound follows; they belong to the sound.
    peeked: bytes = b""


def read_header(read: Read) -> WavHeader:
    """Read everything before the sound.

    Raises:
        AudioError: damaged, or it names a rate or a number of channels that cannot be.
    """
    return _HeaderReader(read).header()


class _HeaderReader:
    def __init__(self, read: Read) -> None:
        self._read, self._at = read, 0
        self._pushed = b""
        self._format: tuple[PcmFormat | None, str] | None = None
        self._long_size: int | None = None  # of RF64's chunk ds64

    def header(self) -> WavHeader:
        start = self._exactly(12)
        self._order = ">" if start[:4] == b"RIFX" else "<"
        riff_size = self._number(start[4:8])
        padded = False
        while self._at < _WHOLE_HEADER:
            name, size = self._chunk_head(after_odd=padded)
            if name == b"data":
                return self._of_sound(size, riff_size)
            padded = bool(size % 2)
            self._pass(name, size)
        raise AudioError(DAMAGED)

    def _of_sound(self, size: int, riff_size: int) -> WavHeader:
        if self._format is None:
            raise AudioError(DAMAGED)
        if self._long_size is not None and (size == 0xFFFFFFFF or self._long_size):
            size = self._long_size
        pcm, encoding = self._format
        at, peeked = self._at, b""
        if size == 0:
            peeked = self._up_to(8)
            empty = not peeked or is_chunk_head(peeked, self._order, max(0, riff_size + 8 - at))
            return WavHeader(pcm, encoding, 0 if empty else None, at, peeked)
        return WavHeader(pcm, encoding, None if stands_for_all(size) else size, at)

    def _chunk_head(self, *, after_odd: bool) -> tuple[bytes, int]:
        head = self._exactly(8)
        if after_odd and not _is_name(head[:4]):  # the byte that makes a chunk's length even; some forget it
            head = head[1:] + self._exactly(1)
        if not _is_name(head[:4]):
            raise AudioError(DAMAGED)
        return head[:4], self._number(head[4:8])

    def _pass(self, name: bytes, size: int) -> None:
        """Read one chunk before the sound."""
        if name == b"fmt ":
            if not 14 <= size <= 1 << 16:
                raise AudioError(DAMAGED)
            self._format = parse_format(self._exactly(size), self._order)
        elif name == b"ds64" and size >= 24:
            chunk = self._exactly(24)
            self._long_size = struct.unpack(f"{self._order}Q", chunk[8:16])[0]
            self._skip(size - 24)
        else:
            self._skip(size)

    def _skip(self, size: int) -> None:
        if self._at + size > _WHOLE_HEADER:
            raise AudioError(DAMAGED)
        while size:
            size -= len(self._exactly(min(size, 1 << 16)))

    def _exactly(self, size: int) -> bytes:
        data = self._up_to(size)
        self._at += len(data)
        if len(data) < size:
            raise AudioError(DAMAGED)
        return data

    def _up_to(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (more := self._read(size - len(data))):
            data += more
        return data

    def _number(self, data: bytes) -> int:
        number: int = struct.unpack(f"{self._order}I", data)[0]
        return number


def parse_format(chunk: bytes, order: str = "<") -> tuple[PcmFormat | None, str]:
    """Parse a "fmt " chunk: the format of its samples, or None and how they are encoded.

    Raises:
        AudioError: a rate, a number of channels or of bits that cannot be.
    """
    tag, channels, rate, _, block = struct.unpack(f"{order}HHIIH", chunk[:14])
    bits = struct.unpack(f"{order}H", chunk[14:16])[0] if len(chunk) >= 16 else 8
    if tag == _EXTENSIBLE and len(chunk) >= 26:
        tag = struct.unpack(f"{order}H", chunk[24:26])[0]
    check_rate(rate)
    if not 1 <= channels <= MOST_CHANNELS:
        raise AudioError(f"damaged header: {channels} channels; valid are 1 to {MOST_CHANNELS}")
    sample = _sample(tag, bits, block / channels)
    if sample is None:
        return None, _NAMES.get(tag, f"encoding {tag} with {bits} bits")
    big = order == ">" and sample not in ("u8", "s8", "ulaw", "alaw")
    return PcmFormat(rate, channels, sample + "be" * big), ""


def _sample(tag: int, bits: int, width: float) -> str | None:
    """Name the encoding of samples that take `width` bytes each; None for one that is not PCM."""
    if tag in (_ALAW, _ULAW):
        return "alaw" if tag == _ALAW else "ulaw"
    if tag == _FLOAT:
        return {32: "f32", 64: "f64"}.get(bits)
    if tag != _PCM:
        return None
    # Fewer bits than bytes have room for stand at their upper end: 12 of 16, 24 of 32.
    size = int(width) if width == int(width) and 8 * width >= bits else -(-bits // 8)
    if not bits or size not in _INTEGERS:
        raise AudioError(f"damaged header: samples of {bits} bits; valid are 1 to 32")
    return _INTEGERS[size]


def check_rate(rate: int) -> None:
    """Raise AudioError for a sample rate that cannot be."""
    if not RATES[0] <= rate <= RATES[1]:
        raise AudioError(f"damaged header: a sample rate of {rate} Hz; valid are {RATES[0]} to {RATES[1]}")


def stands_for_all(size: int) -> bool:
    """Tell whether a program that cannot seek back wrote this size, to mean "until the end"."""
    return 0x7FFFF000 <= size <= 0x80000000 or 0xFFFFF000 <= size <= 0xFFFFFFFF or size >= 1 << 62


def is_chunk_head(data: bytes, order: str = "<", room: int | None = None) -> bool:
    """Tell whether a chunk begins with these bytes, which has room in what is left."""
    if len(data) < 8 or not _is_name(data[:4]) or data[:4] in _FILES:
        return False
    size: int = struct.unpack(f"{order}I", data[4:8])[0]
    return room is None or size <= max(0, room - 8)


def bytes_left_over(file: BinaryIO, at: int, length: int, order: str = "<") -> int:
    """Count the bytes from `at` to the end of a file that are neither chunks nor padding nor tags.

    A second chunk of sound counts: it is not read.

    Args:
        file: open for reading; its position changes.
        at: the end of the sound.
        length: of the file.
        order: < or >.
    """
    while at < length:
        file.seek(at)
        head = file.read(16)
        if head[:4] in _FILES:
            break
        shift = next((s for s in (0, 1) if is_chunk_head(head[s:], order, length - at - s)), None)
        if shift is None or head[shift : shift + 4] in _SOUND:
            break
        size = struct.unpack(f"{order}I", head[shift + 4 : shift + 8])[0]
        at = min(length, at + shift + 8 + size)
    return bytes_of_no_tag(file, at, length)


def bytes_of_no_tag(file: BinaryIO, at: int, length: int) -> int:
    """Count the bytes from `at` to the end of a file; 0 where they begin as a tag does, or are padding."""
    file.seek(at)
    head = file.read(1 << 16)
    if head.lstrip(b"\0").startswith(_TAGS) or head.startswith(_TAGS):
        return 0
    silent = not head.strip(b"\0") and length - at <= len(head)
    return 0 if silent else length - at


def tell_left_over(where: str, left: int, seconds: float, more: float) -> None:
    """Warn of bytes that follow the sound and are not used, unless they are too few to be more than padding.

    Args:
        where: what the recording is called.
        left: how many.
        seconds: that the header promises.
        more: seconds that they are if they are sound.
    """
    if more >= LEFT_OVER:
        rest = f"{left} bytes follow that are no metadata ({more:.2f} s if they are sound) and are not used"
        warn_once(f"{where}: its header promises {seconds:.2f} s of sound; {rest}")


def is_ordinary(data: bytes, order: str = "<") -> bool:
    """Tell whether what follows the sound is a chunk, padding or a tag, by its first 16 bytes."""
    if data[:4] in _FILES or data[:4] in _SOUND or data[1:5] in _SOUND:
        return False
    tag = data.lstrip(b"\0").startswith(_TAGS)
    return tag or not data.strip(b"\0") or any(is_chunk_head(data[shift:], order) for shift in (0, 1))


def _is_name(name: bytes) -> bool:
    return len(name) == 4 and all(32 <= byte < 127 for byte in name) and name.strip() != b""
