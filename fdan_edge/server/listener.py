"""Accept connections on a socket, as asyncio's own servers do, but know each one from its first moment.

asyncio tells a protocol of a connection when TLS is agreed upon. Who connects to the port and stays silent would
be known to nobody until then.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import itertools
import socket
import ssl
import sys
from collections.abc import Callable

from fdan_edge.server.guests import Guest, Guests

_AT_ONCE = 8  # connections that are accepted before those that are there have a turn
_PAUSE = 0.05  # s, where no connection can be accepted
_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_LIMITS_ITS_END = sys.version_info >= (3, 11)  # of TLS; with 3.10 only the deadline of guests does


class Listener:
    """Accepts connections until it is closed.

    Args:
        listening: the socket; is not closed.
        protocol: makes the protocol of a connection.
        guests: where connections are entered.
        context: for TLS; None: without.
        handshake: seconds that TLS may take to begin, and to end.
    """

    def __init__(
        self,
        listening: socket.socket,
        protocol: Callable[[Guest], asyncio.Protocol],
        guests: Guests,
        context: ssl.SSLContext | None,
        handshake: float,
    ) -> None:
        self._socket, self._protocol, self._guests = listening, protocol, guests
        self._context, self._handshake = context, handshake if context else None
        listening.setblocking(False)
        self._opening: set[asyncio.Task[None]] = set()
        self._task = asyncio.create_task(self._accept())

    async def close(self) -> None:
        """Accept no more; connections stay open, but for those that are not agreed upon."""
        tasks = {self._task, *self._opening}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        for number in itertools.count():
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)  # sock_accept does not wait where more connections are there
            try:
                connection, address = await loop.sock_accept(self._socket)
            except OSError as error:  # that of a client that has gone again costs no guest its place
                if error.errno in _FULL:
                    self._guests.evict()
                await asyncio.sleep(_PAUSE)
                continue
            guest = self._guests.enter(str(address[0]))
            task = loop.create_task(self._open(connection, guest))
            guest.cut = functools.partial(_cancel, task)
            self._opening.add(task)
            task.add_done_callback(functools.partial(self._opened, connection))

    def _opened(self, connection: socket.socket, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        if task.cancelled():  # before it began
            connection.close()

    async def _open(self, connection: socket.socket, guest: Guest) -> None:
        """Hand a connection to its protocol, once TLS is agreed upon; the protocol then says when it leaves."""
        loop = asyncio.get_running_loop()
        end = {"ssl_shutdown_timeout": self._handshake} if _LIMITS_ITS_END else {}
        try:
            await loop.connect_accepted_socket(
                lambda: self._protocol(guest),
                connection,
                ssl=self._context,
                ssl_handshake_timeout=self._handshake,
                **end,
            )
        except (OSError, asyncio.CancelledError):
            self._guests.leave(guest)
            connection.close()


def _cancel(task: asyncio.Task[None], _: str) -> None:
    task.cancel()
