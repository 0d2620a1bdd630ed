"""Requests that are none, or too many at once."""

from __future__ import annotations

import contextlib
import logging

import pytest

from fdan_edge.server.guests import FLOOD, MALFORMED
from tests.helpers.serving import Running, eventually, running

HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
WRONG = {
    "no HTTP": b"\x16\x03\x01\x02\x00 hello\r\n\r\n",
    "another upgrade": HEALTH[:-2] + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    "no key": HEALTH[:-2] + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "an endless line": b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
    "many headers": HEALTH[:-2] + b"X: y\r\n" * 4000 + b"\r\n",
}


def answer(run: Running, *data: bytes) -> bytes:
    """What comes back until the server closes."""
    found = b""
    with run.connect() as connection, contextlib.suppress(ConnectionError):
        for piece in data:
            connection.sendall(piece)
        while piece := connection.recv(65_536):
            found += piece
    return found


def test_malformed_requests_leave_no_line(caplog: pytest.LogCaptureFixture) -> None:
    with running() as run, caplog.at_level(logging.INFO, "fdan_edge"):
        for name, data in WRONG.items():
            status = answer(run, data.replace(b"localhost\r\n", b"localhost\r\nConnection: close\r\n", 1))[:12]
            assert status in (b"HTTP/1.1 400", b"HTTP/1.1 200", b"HTTP/1.1 426", b""), name
        assert eventually(lambda: run.cut(MALFORMED) >= 3)
        assert answer(run, HEALTH.replace(b"HTTP/1.1\r\n", b"HTTP/1.0\r\n")).startswith(b"HTTP/1.1 200")
    assert not caplog.records


def test_more_than_any_request_has_is_cut_off() -> None:
    chunks = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nz\r\n" * 20_000
    with running() as run:
        assert len(answer(run, chunks)) < 2000
        assert eventually(lambda: run.cut(FLOOD) == 1)


def test_requests_that_do_not_wait_for_answers_are_answered() -> None:
    with running() as run:
        found = answer(run, HEALTH * 99, HEALTH[:-2] + b"Connection: close\r\n\r\n")
        assert found.count(b"HTTP/1.1 200") == 100
