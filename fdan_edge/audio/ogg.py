"""The pages of Ogg: which streams follow each other in a file, where each ends, and how long it must be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

_START = b"OggS\0"  # of a page, before its flags
_FIRST = 2  # a flag: of a stream
PAGE = 65307  # bytes of a page at most
CUT = "is cut short: the end of its Ogg stream is missing"
LOST = 0.2  # s by which a whole stream may be shorter than its pages say
_FROM_START = 60.0  # s; a first page that ends later is of a broadcast that was cut out


def parts(path: Path) -> list[tuple[int, int]]:
    """Find the streams that follow each other in an Ogg file, as (start, end) in bytes.

    libsndfile reads the first one only, and FFmpeg refuses a later one of another rate.
    """
    starts, ended = [0], False
    with path.open("rb") as file:
        at, before = 0, b""  # `at`: where `before` begins
        while block := file.read(1 << 20):
            data = before + block
            page = data.find(b"OggS\0")
            while 0 <= page < len(data) - 6:
                if ended and data[page + 5] & 2:
                    starts.append(at + page)
                    ended = False
                ended = ended or bool(data[page + 5] & 4)
                page = data.find(b"OggS\0", page + 5)
            before = data[-6:]
            at += len(data) - len(before)
    return list(zip(starts, [*starts[1:], path.stat().st_size], strict=True))


class Link:
    """The first of the streams that follow each other in a pipe, as a file that is read forwards only.

    FFmpeg refuses a next one of another codec or rate, and loses sound where one is cut short before the next.

    Args:
        some: reads from the pipe what is there, at most so many bytes; none at the end.
        begin: what of it was read before.
    """

    def __init__(self, some: Callable[[int], bytes], begin: bytes = b"") -> None:
        self._some, self._waiting, self._looked = some, bytearray(begin), 0
        self._sound = False  # a page that is no stream's first came
        self.head = self.tail = b""  # the first and the last bytes that were given out, two pages of each
        self.rest = b""  # of what follows, the bytes that were read already
        self._ended = False
        self._look()

    def read(self, size: int) -> bytes:
        """Read what is there, at most so many bytes; none at the end."""
        while not self._known and not self._ended:
            more = self._some(1 << 16)
            self._ended = not more
            self._waiting += more
            self._look()
        data = bytes(self._waiting[: size if self._ended else min(size, self._known)])
        del self._waiting[: len(data)]
        self._looked = max(0, self._looked - len(data))
        self.head += data[: max(0, 2 * PAGE - len(self.head))]
        self.tail = (self.tail + data)[-2 * PAGE :]
        return data

    def drain(self) -> None:
        """Read to the end."""
        while self.read(1 << 16):
            pass

    @property
    def _known(self) -> int:
        """How many bytes that wait are certainly of this stream: a page's start may be cut at their end."""
        return max(0, len(self._waiting) - len(_START))

    def _look(self) -> None:
        """Look for the first page of a next stream; first pages of streams that take turns follow each other."""
        at = self._waiting.find(_START, self._looked)
        while 0 <= at < len(self._waiting) - len(_START):
            first = bool(self._waiting[at + len(_START)] & _FIRST)
            if first and self._sound:
                self.rest, self._ended = bytes(self._waiting[at:]), True
                del self._waiting[at:]
                return
            self._sound = self._sound or not first
            at = self._waiting.find(_START, at + len(_START))
        self._looked = self._known


def ends_well(tail: bytes) -> bool:
    """Tell whether the last page of an Ogg stream, in its last bytes, is whole and marked as the last."""
    page = tail[tail.rfind(b"OggS") :]
    if not page.startswith(b"OggS") or len(page) < 27:
        return False
    segments = page[27 : 27 + page[26]]
    return bool(page[5] & 4) and len(page) >= 27 + page[26] + sum(segments)


def ends(path: Path, start: int, end: int) -> tuple[bytes, bytes]:
    """Read the first and the last bytes of a part of a file, two pages of each at least."""
    with path.open("rb") as file:
        file.seek(start)
        head = file.read(min(2 * PAGE, end - start))
        file.seek(max(start, end - 2 * PAGE))
        return head, file.read(end - file.tell())


def problem(head: bytes, tail: bytes, seconds: float) -> str:
    """Say what is missing of a stream of which `seconds` were decoded; "" where nothing is."""
    if not ends_well(tail):
        return CUT
    if not _sums_up(tail[tail.rfind(b"OggS") :]):  # so its position says nothing
        return "is damaged: the last page of its Ogg stream"
    promised = least_seconds(head, tail)
    return f"is damaged: {seconds:.2f} of {promised:.2f} s could be decoded" if seconds < promised - LOST else ""


def least_seconds(head: bytes, tail: bytes) -> float:
    """Return how long a stream must be at least, by the positions on its pages; 0: they do not say.

    Decoders pass over damaged pages without a word.

    Args:
        head, tail: the first and the last bytes of the stream, two pages of each at least.
    """
    rate, skipped = _rate(head)
    first = next((position for position in _positions(head) if position > 0), 0)
    last = max(_positions(tail), default=0)
    if not rate or head[14:18] != _serial(tail):  # of several streams in turns, or one behind the other
        return 0.0
    start = skipped if first < _FROM_START * rate else first
    return max(0.0, (last - start) / rate)


def _rate(head: bytes) -> tuple[int, int]:
    """Return the positions of a second, and how many at the start are no sound; 0 for codecs not known here."""
    packet = head[28:64] if head[26:27] == b"\1" else b""
    if packet.startswith(b"OpusHead"):
        return 48000, int.from_bytes(packet[10:12], "little")
    if packet.startswith(b"\1vorbis"):
        return int.from_bytes(packet[12:16], "little"), 0
    return 0, 0


def _sums_up(page: bytes) -> bool:
    """Tell whether a page has the checksum that it names: a CRC of 32 bits, polynomial 0x04c11db7."""
    size = 27 + page[26] + sum(page[27 : 27 + page[26]])
    crc = 0
    for byte in page[:22] + bytes(4) + page[26:size]:
        crc = (crc << 8 & 0xFFFFFFFF) ^ _CRC[crc >> 24 ^ byte]
    return crc == int.from_bytes(page[22:26], "little")


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value >> 31 else 0)) & 0xFFFFFFFF
        table.append(value)
    return table


_CRC = _crc_table()


def _serial(tail: bytes) -> bytes:
    """Return the number of the stream that the last page belongs to."""
    page = tail.rfind(b"OggS")
    return tail[page + 14 : page + 18] if page >= 0 else b""


def _positions(data: bytes) -> Iterator[int]:
    """Yield the positions that pages end at, of the pages whose beginning is there."""
    at = data.find(b"OggS\0")
    while 0 <= at <= len(data) - 14:
        yield int.from_bytes(data[at + 6 : at + 14], "little", signed=True)
        at = data.find(b"OggS\0", at + 5)
