"""A server that really listens, on a port of 127.0.0.1, with streams that need no model."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from fdan_edge.server.access import Access
from fdan_edge.server.hub import Hub
from fdan_edge.server.limits import Limits
from fdan_edge.server.server import Address, Server, make_server, open_socket
from fdan_edge.streaming.events import Ended, Event, Lost, Result
from fdan_edge.streaming.live import EventStream

RATE = 16_000  # Hz, of the model that is not there
ABOUT = {"model": "none", "runtime": "none", "labels": ["angry", "sad"], "rate": RATE, "window": 1.0, "hop": 0.25}
ABOUT |= {"vad": "none", "unknown_below": 0.5}


@dataclass
class FakeStream:
    """Tells a result for every block; `before` is called first."""

    before: Callable[[NDArray[np.float32]], None] = lambda _: None
    rate: int = RATE
    heard: int = 0

    @property
    def time(self) -> float:
        return self.heard / self.rate

    def push(self, samples: NDArray[np.float32]) -> list[Event]:
        self.before(samples)
        self.heard += len(samples)
        if not len(samples):
            return []
        p = {"angry": 0.75, "sad": 0.25}
        return [Result(self.time, max(0.0, self.time - 1), "angry", 0.75, p, p)]

    def lost(self, samples: int, reason: str) -> list[Event]:
        self.heard += samples
        return [Lost(self.time - samples / self.rate, samples / self.rate, reason)]

    def finish(self, reason: str) -> list[Event]:
        return [Ended(self.time, reason)]


@dataclass
class Running:
    """A server that runs in a thread."""

    server: Server
    hub: Hub
    port: int
    thread: threading.Thread = field(repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def client(self, **options: Any) -> Iterator[ClientConnection]:
        """A WebSocket that has said nothing yet."""
        address = f"ws://127.0.0.1:{self.port}/ws"
        with connect(address, proxy=None, open_timeout=60, close_timeout=10, **options) as made:
            yield made

    def connect(self) -> socket.socket:
        """A connection that has said nothing yet."""
        made = socket.create_connection(("127.0.0.1", self.port), 60)
        made.settimeout(60)
        return made

    def cut(self, reason: str) -> float:
        """How many connections were cut off for a reason."""
        text = self.hub.metrics.text().decode()
        found = re.search(f'connections_cut_total{{reason="{reason}"}} (.*)', text)
        return float(found[1]) if found else 0.0

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(60)
        assert not self.thread.is_alive()


@contextlib.contextmanager
def running(
    stream: Callable[[], EventStream] = FakeStream,
    access: Access | None = None,
    limits: Limits | None = None,
    about: dict[str, Any] | None = None,
    card: str = "# card\n",
    port: int = 0,
    certificate: tuple[Path, Path] | None = None,
) -> Iterator[Running]:
    hub = Hub(stream, about or ABOUT, card, 2, access or Access(), limits or Limits())
    address = Address("127.0.0.1", port, *(certificate or ()))
    listening = open_socket(address)
    made = make_server(hub, address)
    thread = threading.Thread(target=made.run, args=([listening],), daemon=True)
    thread.start()
    run = Running(made, hub, listening.getsockname()[1], thread)
    try:
        yield run
    finally:
        run.stop()


def eventually(true: Callable[[], object], seconds: float = 60) -> bool:
    """Whether something becomes true."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(true())


def certificate_of(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost that nobody signed, and its key; skips where openssl is not installed."""
    made, key = folder / "c.pem", folder / "k.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost".split()  # noqa: SIM905
    rest = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-out", str(made), "-keyout", str(key)]
    try:
        subprocess.run([*command, *rest], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no openssl")
    return made, key


def begin(client: ClientConnection, rate: int = RATE, **more: Any) -> dict[str, Any]:
    """Say the first message; gives the answer."""
    client.send(json.dumps({"type": "start", "rate": rate, **more}))
    return tell(client)


def tell(client: ClientConnection) -> dict[str, Any]:
    """The next message."""
    message: dict[str, Any] = json.loads(client.recv(timeout=60))
    return message


def sound(samples: int = 1600) -> bytes:
    return np.full(samples, 0.1, "<f4").tobytes()


def closed(client: ClientConnection) -> tuple[int, str]:
    """Code and reason of the close that comes, whatever comes before it."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            client.recv(timeout=60)
    assert client.close_code is not None
    return client.close_code, client.close_reason or ""
