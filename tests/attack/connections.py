"""Attacks with connections that say little or nothing: silent ones, and slow ones."""

from __future__ import annotations

import contextlib
import ssl
import time
import warnings
from collections.abc import Callable

from tests.attack.attack import attack, check
from tests.attack.place import Place
from tests.attack.served import Served
from tests.attack.wire import PING, TEXT, Wire, frame_bytes, trusting

_PATIENCE = 25.0  # s, that an attacker keeps a connection
_SOON = 20.0  # s, within which it should be closed
_CLOSED = f"closed within {_SOON:g} s"
_HEAD = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@attack(_CLOSED, waits=True)
def silent_connection(place: Place) -> str:
    """Connect, and say nothing."""
    return _lasts(place.shared())


@attack(_CLOSED, waits=True)
def slow_head(place: Place) -> str:
    """Send the head of a request, a byte now and then."""
    return _lasts(place.shared(), drip=_HEAD + b"X: " + b"a" * 99)


@attack(_CLOSED, waits=True)
def slow_second_request(place: Place) -> str:
    """Send a whole request, and then the next one, a byte now and then."""
    return _lasts(place.shared(), lambda wire: wire.request("/health"), drip=_HEAD + b"X: " + b"a" * 99)


@attack(_CLOSED, waits=True)
def slow_body(place: Place) -> str:
    """Promise a large body, and send it, a byte now and then."""
    head = b"POST /card HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n"
    return _lasts(place.shared(), lambda wire: wire.send(head), drip=b"a" * 99)


@attack(_CLOSED, waits=True)
def silent_websocket(place: Place) -> str:
    """Open a WebSocket, and say no first message."""
    return _lasts(place.shared(), lambda wire: wire.upgrade())


@attack(_CLOSED, waits=True)
def slow_first_message(place: Place) -> str:
    """Send the first message of a WebSocket, a byte now and then."""
    return _lasts(place.shared(), lambda wire: wire.upgrade(), drip=frame_bytes(TEXT, b"{" + b" " * 99))


@attack("closed within 45 s", waits=True)
def stream_of_pings(place: Place) -> str:
    """Begin a stream, and send pings but no sound."""

    def begin(wire: Wire) -> None:
        wire.upgrade()
        wire.start()

    ping = frame_bytes(PING)
    return _lasts(place.shared(), begin, drip=ping * 99, step=len(ping), patience=50, soon=45)


@attack(_CLOSED, waits=True)
def silent_tls(place: Place) -> str:
    """Connect to the https port, and begin no handshake."""
    return _lasts(place.shared(tls=True))


@attack(_CLOSED, waits=True)
def slow_tls_handshake(place: Place) -> str:
    """Send the first message of a TLS handshake, a byte now and then."""
    return _lasts(place.shared(tls=True), drip=b"\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03" + bytes(240))


@attack("TLS 1.0 and 1.1 are refused", quick=True)
def old_tls(place: Place) -> str:
    """Offer nothing newer than TLS 1.1, with the weakest ciphers."""
    served, let_in = place.shared(tls=True), []
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        with warnings.catch_warnings(), contextlib.suppress(OSError):
            warnings.simplefilter("ignore", DeprecationWarning)
            context = trusting()
            context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, version
            context.set_ciphers("ALL:@SECLEVEL=0")
            with Wire(served.port, context):
                let_in.append(version.name)
    with Wire(served.port, trusting()) as wire:
        check(wire.request("/health") == 200, "the versions of today are refused too")
    return check(not let_in, f"let in: {', '.join(let_in) or 'neither'}")


@attack("at most 5 lines in the log")
def http_to_the_https_port(place: Place) -> str:
    """Speak plain HTTP to the https port, and send what is no TLS."""
    with place.serve(tls=True) as served:
        for number in range(50):
            with contextlib.suppress(OSError), Wire(served.port) as wire:
                wire.send(_HEAD + b"\r\n" if number % 2 else bytes(99))
                wire.lasts(0.2)
        check(served.health() < 5, "/health does not answer afterwards")
        lines = served.log().count("\n")
    return check(lines <= 5, f"50 connections, {lines} lines")


def _lasts(
    served: Served,
    begin: Callable[[Wire], object] = lambda _: None,
    drip: bytes = b"",
    step: int = 1,
    patience: float = _PATIENCE,
    soon: float = _SOON,
) -> str:
    """Return how long a connection lasts; every half second `step` bytes of `drip` go out, if there are any."""
    with Wire(served.port) as wire:
        begun = time.monotonic()
        begin(wire)
        with contextlib.suppress(OSError):
            while time.monotonic() - begun < patience and wire.lasts(0.5) >= 0.5:
                wire.send(drip[:step])
                drip = drip[step:]
        seconds = time.monotonic() - begun
    return check(seconds <= soon, f"{seconds:.1f} s")
