"""Connections before TLS is agreed upon, and where no descriptor is left."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from fdan_edge.server import listener
from fdan_edge.server.limits import Limits
from tests.helpers.serving import certificate_of, eventually, running


def test_silence_instead_of_tls_ends(tmp_path: Path) -> None:
    made = certificate_of(tmp_path)
    trusted = ssl.create_default_context(cafile=made[0])
    with running(limits=Limits(tls=0.3, guests=3), certificate=made) as run, ExitStack() as stack:
        silent = [stack.enter_context(run.connect()) for _ in range(5)]
        secure = httpx.get(f"https://127.0.0.1:{run.port}/health", verify=trusted, trust_env=False)
        assert secure.json()["status"] == "ok"
        begun = time.monotonic()
        for connection in silent:
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b""
        assert time.monotonic() - begun < 10


def test_old_tls_is_refused(tmp_path: Path) -> None:
    made = certificate_of(tmp_path)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        running(certificate=made) as run,
        run.connect() as connection,
        pytest.raises((ssl.SSLError, ConnectionResetError)),
    ):
        old.wrap_socket(connection)


def test_where_no_descriptor_is_left_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    accept, failures = socket.socket.accept, [errno.EMFILE] * 3

    def fails(self: socket.socket) -> tuple[socket.socket, Any]:
        if failures:
            raise OSError(failures.pop(), "too many open files")
        return accept(self)

    with running() as run:
        monkeypatch.setattr(socket.socket, "accept", fails)
        assert httpx.get(f"{run.url}/health", trust_env=False).status_code == 200
    assert not failures


def test_a_client_that_has_gone_again_costs_no_guest_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    accept, failures = socket.socket.accept, [errno.ECONNABORTED] * 3

    def fails(self: socket.socket) -> tuple[socket.socket, Any]:
        if failures:
            raise OSError(failures.pop(), "aborted")
        return accept(self)

    with running() as run, run.connect() as guest:
        assert eventually(lambda: len(run.hub.guests) == 1)
        monkeypatch.setattr(socket.socket, "accept", fails)
        assert httpx.get(f"{run.url}/health", trust_env=False).status_code == 200
        guest.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert guest.recv(100).startswith(b"HTTP/1.1 200")
    assert not failures


def test_python_3_10_knows_no_limit_of_the_end_of_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = asyncio.BaseEventLoop.connect_accepted_socket

    async def older(self: Any, factory: Any, sock: Any, *, ssl: Any, ssl_handshake_timeout: Any) -> Any:
        return await connect(self, factory, sock, ssl=ssl, ssl_handshake_timeout=ssl_handshake_timeout)

    monkeypatch.setattr(asyncio.BaseEventLoop, "connect_accepted_socket", older)
    monkeypatch.setattr(listener, "_LIMITS_ITS_END", False)
    with running() as run:
        assert httpx.get(f"{run.url}/health", trust_env=False).status_code == 200
