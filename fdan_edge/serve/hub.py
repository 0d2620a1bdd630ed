"""What all clients share: the model, the limits, the threads, and the end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import anyio

from fdan_edge.serve.access import Access
from fdan_edge.serve.limits import Limits
from fdan_edge.serve.listener import Hearing
from fdan_edge.serve.metrics import Metrics
from fdan_edge.serve.protocol import TRY_LATER, Close


@dataclass
class Hub:
    """Used on the event loop only."""

    stream: Callable[[], Hearing]  # a new one for each client
    about: dict[str, Any]  # what `ready` tells
    card: str  # the model's, Markdown
    workers: int  # threads that hear
    access: Access = field(default_factory=Access)
    limits: Limits = field(default_factory=Limits)
    metrics: Metrics = field(default_factory=Metrics)
    stopping: bool = False
    heard: int = 0  # clients now
    waiting: int = 0  # connections before their first message
    _connections: set[anyio.CancelScope] = field(default_factory=set)
    _threads: anyio.CapacityLimiter | None = None

    @property
    def threads(self) -> anyio.CapacityLimiter:
        """First come, first served; made where the event loop is."""
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(self.workers)
        return self._threads

    @contextlib.contextmanager
    def connection(self) -> Iterator[anyio.CancelScope]:
        """A scope that `stop` cancels."""
        with anyio.CancelScope() as scope:
            self._connections.add(scope)
            try:
                if self.stopping:
                    scope.cancel()
                yield scope
            finally:
                self._connections.discard(scope)

    @contextlib.contextmanager
    def door(self) -> Iterator[None]:
        """For a connection until its first message.

        Raises:
            Close: too many stand there.
        """
        if self.waiting >= self.limits.waiting:
            raise Close(TRY_LATER, "too many connections wait here; try again later")
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """For a client that is heard.

        Raises:
            Close: all are taken.
        """
        if self.heard >= self.limits.clients:
            raise Close(TRY_LATER, f"this server hears {self.limits.clients} at once, and all are there")
        self.heard += 1
        self.metrics.began()
        try:
            yield
        finally:
            self.heard -= 1
            self.metrics.clients.dec()

    async def stop(self) -> None:
        """Close every connection; returns when they are closed, or after some seconds."""
        self.stopping = True
        for scope in list(self._connections):
            scope.cancel()
        with anyio.move_on_after(self.limits.sending):
            while self._connections:
                await anyio.sleep(0.02)
