"""A client by hand: bytes on a socket, HTTP requests and WebSocket frames that no library would send."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from typing import Any

from typing_extensions import Self

TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9
RATE = 16_000  # Hz, of what clients send
TIMEOUT = 10.0  # s that a client waits

_KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # of RFC 6455
_OPENING = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {_KEY}")


class Wire:
    """A connection to a server on this machine.

    Raises:
        OSError: there is none, or it went.
    """

    def __init__(self, port: int, tls: ssl.SSLContext | None = None, timeout: float = 0) -> None:
        plain = socket.create_connection(("127.0.0.1", port), timeout or TIMEOUT)
        try:
            self.socket = tls.wrap_socket(plain, server_hostname="localhost") if tls else plain
        except BaseException:
            plain.close()
            raise
        self._rest, self.head = b"", b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def abort(self) -> None:
        """Go without a word: what is on the way is thrown away."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.socket.sendall(data)

    def request(self, path: str, *headers: str, host: str = "127.0.0.1") -> int:
        """Send the head of a GET, and return the status of the answer; 0: none, the connection was closed."""
        self.send("\r\n".join([f"GET {path} HTTP/1.1", f"Host: {host}", *headers, "", ""]).encode("latin-1"))
        while b"\r\n\r\n" not in self._rest:
            try:
                piece = self.socket.recv(65536)
            except ConnectionError:
                piece = b""
            if not piece:
                return 0
            self._rest += piece
        self.head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        return int(self.head.split()[1])

    def body(self) -> bytes:
        """Return what follows the head, until the server closes or is silent."""
        with contextlib.suppress(OSError):
            while piece := self.socket.recv(65536):
                self._rest += piece
        return self._rest

    def upgrade(self, *headers: str, path: str = "/ws", host: str = "127.0.0.1") -> int:
        """Ask for a WebSocket, and return the status; 101: it is one."""
        return self.request(path, *_OPENING, *headers, host=host)

    def frame(self, opcode: int, payload: bytes = b"", **more: Any) -> None:
        """Send a frame as `frame_bytes` makes it."""
        self.send(frame_bytes(opcode, payload, **more))

    def start(self, rate: int = RATE, token: str = "") -> dict[str, Any]:
        """Say the first message, and return the answer: `ready`, or `closed` with code and reason."""
        self.frame(TEXT, json.dumps({"type": "start", "rate": rate, "token": token}).encode())
        return self.message()

    def message(self) -> dict[str, Any]:
        """Return the next message, whose type is `closed` for the end."""
        opcode, payload = self.read_frame()
        if opcode == CLOSE:
            code = struct.unpack("!H", payload[:2])[0] if payload else 0
            return {"type": "closed", "code": code, "reason": payload[2:].decode(errors="replace")}
        value: dict[str, Any] = json.loads(payload)
        return value

    def read_frame(self) -> tuple[int, bytes]:
        """Return opcode and payload of the next frame of the server.

        Raises:
            ConnectionError: there is none any more.
            TimeoutError: none came in time.
        """
        first, size = self._take(2)
        if size == 126:
            size = int.from_bytes(self._take(2), "big")
        elif size == 127:
            size = int.from_bytes(self._take(8), "big")
        return first & 15, self._take(size)

    def close_code(self) -> int:
        """Return the code of the close that comes, whatever comes before it; 0: closed without one."""
        with contextlib.suppress(ConnectionError):
            while True:
                opcode, payload = self.read_frame()
                if opcode == CLOSE:
                    return int.from_bytes(payload[:2], "big")
        return 0

    def lasts(self, seconds: float) -> float:
        """Return after how many seconds the server closes, at most `seconds`; what it sends is dropped."""
        begun = time.monotonic()
        while (left := begun + seconds - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                if not self.socket.recv(65536):
                    break
            except TimeoutError:
                return seconds
            except OSError:
                break
        return time.monotonic() - begun

    def _take(self, size: int) -> bytes:
        while len(self._rest) < size:
            piece = self.socket.recv(65536)
            if not piece:
                raise ConnectionError("closed by the server")
            self._rest += piece
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken


def frame_bytes(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    reserved: int = 0,
    masked: bool = True,
    size: int | None = None,
) -> bytes:
    """Return a WebSocket frame; `size` may promise another length than the payload has. The mask is 0."""
    length = len(payload) if size is None else size
    first, mask = fin << 7 | reserved << 4 | opcode, masked << 7
    if length < 126:
        head = struct.pack("!BB", first, mask | length)
    elif length < 1 << 16:
        head = struct.pack("!BBH", first, mask | 126, length)
    else:
        head = struct.pack("!BBQ", first, mask | 127, length)
    return head + (bytes(4) if masked else b"") + payload


@contextlib.contextmanager
def streaming(port: int, token: str = "", rate: int = RATE) -> Iterator[Wire]:
    """Open a stream that the server has welcomed.

    Raises:
        ConnectionError: it was not.
    """
    with Wire(port) as wire:
        status = wire.upgrade()
        answer = wire.start(rate, token) if status == 101 else {"type": f"status {status}"}
        if answer["type"] != "ready":
            raise ConnectionError(f"not let in: {answer}")
        yield wire


def trusting(**options: Any) -> ssl.SSLContext:
    """Return a TLS context that takes any certificate, and the oldest versions that this OpenSSL has."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for name, value in options.items():
        setattr(context, name, value)
    return context
