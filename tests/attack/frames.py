"""Attacks with WebSocket frames and HTTP that no browser sends: floods, wrong sizes, broken rules."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable

from tests.attack.attack import attack, check
from tests.attack.place import Place
from tests.attack.served import Served, watched_health
from tests.attack.wire import BINARY, CLOSE, PING, TEXT, Wire, frame_bytes, streaming

_MEMORY = 10.0  # MB that a flood may add
_ANSWER = 1.0  # s, that /health may take meanwhile
_LINES = 20  # of the log, that a flood may cause
_CONTINUATION, _PONG = 0, 10


@attack(f"at most {_MEMORY:g} MB more, /health within {_ANSWER:g} s")
def pings_whose_pongs_are_not_read(place: Place) -> str:
    """Send pings as fast as it goes, and read none of the pongs."""
    return _flood(place, frame_bytes(PING, b"a" * 125))


@attack(f"at most {_MEMORY:g} MB more, /health within {_ANSWER:g} s")
def pongs_that_nobody_asked_for(place: Place) -> str:
    """Send pongs as fast as it goes."""
    return _flood(place, frame_bytes(_PONG))


@attack(f"closed; at most {_MEMORY:g} MB more, /health within {_ANSWER:g} s")
def empty_continuation_frames(place: Place) -> str:
    """Begin a message, and go on with empty frames, without an end."""
    begin = frame_bytes(TEXT, b"a", fin=False)
    return _flood(place, frame_bytes(_CONTINUATION, fin=False), begin, must_close=True)


@attack(f"closed; at most {_MEMORY:g} MB more, /health within {_ANSWER:g} s")
def messages_without_end(place: Place) -> str:
    """Begin a message, and go on with frames of 1 KB, without an end."""
    begin = frame_bytes(BINARY, bytes(4), fin=False)
    return _flood(place, frame_bytes(_CONTINUATION, bytes(1024), fin=False), begin, must_close=True)


@attack(f"closed; at most {_MEMORY:g} MB more, /health within {_ANSWER:g} s")
def empty_messages(place: Place) -> str:
    """Send sound of no samples, as fast as it goes."""
    return _flood(place, frame_bytes(BINARY), must_close=True)


@attack("closed with 1009; at most 10 MB more", quick=True)
def frames_of_any_size(place: Place) -> str:
    """Promise frames of 200 KB, 4 GB and 2^62 bytes."""
    served = place.shared()
    before, codes = served.megabytes, []
    for size in (200_000, 1 << 32, 1 << 62):
        with Wire(served.port) as wire:
            wire.upgrade()
            wire.frame(TEXT, b"a" * 1000, size=size)
            codes.append(wire.close_code())
    more = served.megabytes - before
    return check(set(codes) <= {1009, 1002} and more <= 10, f"codes {codes}; {more:+.0f} MB")


@attack("closed with 1002, nothing in the log", quick=True)
def broken_rules(place: Place) -> str:
    """Send frames that are not masked, of reserved bits and kinds, control frames that are long or in parts."""
    served = place.shared()
    before, frames = served.log(), _broken()
    codes = {name: _answer(served, frame) for name, frame in frames.items()}
    wrong = {name: code for name, code in codes.items() if code not in (1002, 1007)}
    lines = served.log().removeprefix(before).count("\n")
    return check(not wrong and not lines, f"{len(frames)} kinds, other codes: {wrong or 'none'}; {lines} lines")


def _broken() -> dict[str, bytes]:
    return {
        "not masked": frame_bytes(TEXT, b"{}", masked=False),
        "reserved bit": frame_bytes(TEXT, b"{}", reserved=1),
        "compressed": frame_bytes(TEXT, b"\xaa\x56\x00\x00", reserved=4),
        "reserved kind": frame_bytes(3, b"{}"),
        "reserved control": frame_bytes(12),
        "long ping": frame_bytes(PING, bytes(126)),
        "ping in parts": frame_bytes(PING, fin=False),
        "no message to go on with": frame_bytes(_CONTINUATION, b"{}"),
        "a message within another": frame_bytes(TEXT, b"{", fin=False) + frame_bytes(TEXT, b"}"),
        "close of one byte": frame_bytes(CLOSE, b"\x03"),
        "close of a code that is none": frame_bytes(CLOSE, b"\x00\x01"),
    }


@attack("no compression is agreed on", quick=True)
def compression(place: Place) -> str:
    """Offer to compress, so that a few bytes could become gigabytes."""
    served = place.shared()
    with Wire(served.port) as wire:
        status = wire.upgrade("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
        agreed = b"permessage-deflate" in wire.head.lower()
    return check(status == 101 and not agreed, f"status {status}, {'agreed' if agreed else 'not agreed'}")


@attack(f"at most {_LINES} lines in the log, none a traceback")
def messages_that_cannot_be_read(place: Place) -> str:
    """Send, on one connection after another, what is no UTF-8, no JSON or no start."""
    payloads = (b"\xff\xfe", b"\xed\xa0\x80", b"{", b"[" * 50_000, b'{"type": 1}', b"\x1b[31m\n\n", b"1" * 20_000)
    kinds = [frame_bytes(TEXT, payload) for payload in payloads] + list(_broken().values())

    def one(served: Served, number: int) -> None:
        with Wire(served.port) as wire:
            wire.upgrade()
            wire.send(kinds[number % len(kinds)])
            wire.close_code()

    return _lines(place, one)


@attack(f"at most {_LINES} lines in the log, none a traceback")
def http_that_is_none(place: Place) -> str:
    """Send, on one connection after another, heads that break the rules of HTTP."""
    head = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    texts: tuple[bytes, ...] = (
        b"\x16\x03\x01\n\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x1b[31m / HTTP/1.1\r\n\r\n",
        b"GET\r\n\r\n",
        b"\r\n" * 999,
    )
    texts += (b"GET / HTTP/1.1\r\n\r\n", head + b"A\x00B: c\r\n\r\n", head + b"X: " + b"a" * 99_999 + b"\r\n\r\n")
    texts += (head + b"Content-Length: -1\r\n\r\n", head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", head * 400)
    texts += (head + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n", b"A" * 70_000)
    texts += (
        head.replace(b"/ ", b"/ws ")
        + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: a\r\n\r\n",
    )

    def one(served: Served, number: int) -> None:
        with Wire(served.port) as wire:
            wire.send(texts[number % len(texts)])
            wire.lasts(0.3)

    return _lines(place, one)


def _answer(served: Served, frame: bytes) -> int:
    with Wire(served.port) as wire:
        wire.upgrade()
        wire.send(frame)
        return wire.close_code()


def _flood(place: Place, frame: bytes, begin: bytes = b"", *, must_close: bool = False) -> str:
    """Return what a flood of one frame on one connection takes; nothing that the server sends is read."""
    with place.serve() as served, streaming(served.port) as wire:
        before, piece = served.megabytes, frame * max(1, 65536 // len(frame))
        sent, left, most = 0, piece, before
        wire.socket.settimeout(0.5)
        with watched_health(served) as times:
            end = time.monotonic() + place.seconds
            with contextlib.suppress(ConnectionError):
                wire.send(begin)
                while time.monotonic() < end:
                    with contextlib.suppress(TimeoutError):  # the server does not read on: as good
                        went = wire.socket.send(left)
                        sent, left = sent + went, left[went:] or piece
                    most = max(most, served.megabytes)
        closed = wire.lasts(2.0) < 2.0
    slowest = max(times, default=math.inf)
    more, words = most - before, "closed" if closed else "open"
    held = more <= _MEMORY and slowest <= _ANSWER and (closed or not must_close)
    return check(held, f"{words} after {sent / 1e6:.1f} MB; {more:+.0f} MB, /health {slowest:.2f} s")


def _lines(place: Place, one: Callable[[Served, int], None]) -> str:
    """Return how many lines the log has after connections of one kind, for as long as a flood lasts."""
    with place.serve() as served:
        count, end = 0, time.monotonic() + place.seconds
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                one(served, count)
            count += 1
        check(served.health() < 5, "/health does not answer afterwards")
        log = served.log()
    lines, traceback = log.count("\n"), "Traceback" in log
    return check(
        lines <= _LINES and not traceback, f"{count} connections, {lines} lines{', tracebacks' * traceback}"
    )
