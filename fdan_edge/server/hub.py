"""What all clients share: the model, the limits, the threads, and the end."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import anyio

from fdan_edge.server.access import Access
from fdan_edge.server.attempts import Attempts
from fdan_edge.server.guests import Guest, Guests, address_group
from fdan_edge.server.limits import Limits
from fdan_edge.server.prometheus import ServerMetrics
from fdan_edge.server.protocol import TRY_LATER, Close
from fdan_edge.streaming.live import EventStream

TOO_MANY = "this machine is too slow for so many; try again later"


@dataclass(eq=False)
class ClientSlot:
    """The place of a client that streams."""

    leave: Callable[[], None] = lambda: None  # ends the stream because the machine is too slow


@dataclass
class Hub:
    """The state of a server; used on the event loop only."""

    stream: Callable[[], EventStream]  # opens one for each client
    about: dict[str, Any]  # the content of `ready`
    card: str  # the model's, Markdown
    workers: int  # threads that infer
    access: Access = field(default_factory=Access)
    limits: Limits = field(default_factory=Limits)
    metrics: ServerMetrics = field(default_factory=ServerMetrics)
    stopping: bool = False
    has_freed: bool = False  # whether a client has left, whose memory can be given back
    clock: Callable[[], float] = time.monotonic
    _slots: list[ClientSlot] = field(default_factory=list)  # the oldest first
    _late: float = 0.0  # s that sound waits, on average
    _last_shed: float = -math.inf  # when clients last had to go
    _connections: set[anyio.CancelScope] = field(default_factory=set)
    _threads: anyio.CapacityLimiter | None = None

    def __post_init__(self) -> None:
        """Create what its limits bound."""
        self.guests = Guests(self.limits.guests, self.limits.request, self.metrics.connection_cut, self.clock)
        self.attempts = Attempts(self.limits.attempts, self.limits.attempts_at_once, self.clock)

    @property
    def client_count(self) -> int:
        """Number of clients that stream."""
        return len(self._slots)

    @property
    def threads(self) -> anyio.CapacityLimiter:
        """The worker threads, first come, first served; created on the event loop."""
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(self.workers)
        return self._threads

    @contextlib.contextmanager
    def connection(self) -> Iterator[anyio.CancelScope]:
        """Yield a scope that `stop` cancels."""
        with anyio.CancelScope() as scope:
            self._connections.add(scope)
            try:
                if self.stopping:
                    scope.cancel()
                yield scope
            finally:
                self._connections.discard(scope)

    async def accepts(self, token: str, address: str, guest: Guest) -> bool:
        """Return whether this is the token, or none is needed.

        Args:
            token: of a client; empty where it has none.
            address: of the client. After wrong tokens from there, it waits for its turn.
            guest: its connection.

        Raises:
            TimeoutError: its turn does not come.
        """
        if not self.access.token or not token:
            return not self.access.token
        group = address_group(address)
        with anyio.fail_after(self.limits.greeting):
            while seconds := self.attempts.wait(group):
                await anyio.sleep(seconds)
                if guest.gone:  # who does not wait for the answer has no turn
                    return False
        right = self.access.accepts(token)
        if not right:
            self.attempts.failed(group)
        return right

    @contextlib.contextmanager
    def client_slot(self) -> Iterator[ClientSlot]:
        """Reserve a slot for a client while it streams.

        Raises:
            Close: all are taken, or the machine was too slow a moment ago.
        """
        if self.client_count >= self.limits.clients:
            raise Close(TRY_LATER, f"this server hears {self.limits.clients} at once, and all are there")
        if self.clock() < self._last_shed + self.limits.busy:
            raise Close(TRY_LATER, TOO_MANY)
        self._slots.append(slot := ClientSlot())
        self.metrics.client_started()
        try:
            yield slot
        finally:
            self._slots.remove(slot)
            self.has_freed = True
            self.metrics.clients.dec()

    def waited(self, seconds: float) -> None:
        """Note how long a client's sound has waited for a thread; where that is too long, end the youngest tenth.

        Else all would lose sound, again and again, and no stream would be whole for long enough to be of use.
        """
        self._late += (seconds - self._late) / (3 * max(1, self.client_count))  # over about three turns of each
        now = self.clock()
        if self._late <= self.limits.late or now < self._last_shed + self.limits.respite or self.client_count < 2:
            return
        self._last_shed = now
        for slot in self._slots[-max(1, self.client_count // 10) :]:
            slot.leave()

    async def stop(self) -> None:
        """Close every connection; return when they are closed, or after some seconds."""
        self.stopping = True
        for scope in list(self._connections):
            scope.cancel()
        with anyio.move_on_after(self.limits.sending):
            while self._connections:
                await anyio.sleep(0.02)
