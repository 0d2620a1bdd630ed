"""Bound what a client does to uvicorn's WebSockets: frames a second, frames a message, and answers that wait.

Limits of sound and of messages are the application's. What is bounded here never reaches it: pings, empty and
unfinished messages, pongs that are not read.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State

from fdan_edge.server.guests import CROWDED, FLOOD, Guest, Guests
from fdan_edge.server.limits import Bucket
from fdan_edge.server.protocol import POLICY, TRY_LATER

_SLICE = 4096  # bytes that are parsed before their frames are counted
_FRAMES, _FRAMES_AT_ONCE = 800.0, 6000.0  # a second, and at once; twice what a client's sound may have
_FRAMES_OF_GUESTS = 300.0  # at once, before the client is let in: one message
_FRAGMENTS = 256  # frames of a message; 64 KiB in TCP's segments are 47
_UNSENT = 262_144  # bytes that wait to be read by the client


class BoundedWebSocket(WebSocketsSansIOProtocol):
    """Closes a client that sends frames without end, or reads none; `app_state` has `guest` and `guests`."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._guest: Guest = self.app_state["guest"]
        self._guests: Guests = self.app_state["guests"]
        self._first_budget = Bucket(_FRAMES, _FRAMES_OF_GUESTS)
        self._budget = Bucket(_FRAMES, _FRAMES_AT_ONCE)
        self._fragments = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._guest.cut = self._cut
        self._guests.extend(self._guest)
        super().connection_made(cast("asyncio.Transport", transport))

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        super().connection_lost(exc)
        self._guests.leave(self._guest)
        self.conn.parser.close()  # they know each other, and would stay until a garbage collection

    def data_received(self, data: bytes) -> None:
        """Parse what has come in slices, so that a flood is noticed before all of it is parsed."""
        for start in range(0, len(data), _SLICE):
            if self.transport.is_closing():
                return
            super().data_received(data[start : start + _SLICE])
            if self.transport.get_write_buffer_size() > _UNSENT:
                self._guests.count(FLOOD)
                self.transport.abort()

    def handle_events(self) -> None:
        """Count the frames, then do as uvicorn does."""
        frames = [event for event in self.conn.events if isinstance(event, Frame)]
        for frame in frames:
            if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                self._fragments = 0 if frame.fin else self._fragments + 1
        budget = self._budget if self._guest.admitted else self._first_budget
        if self._fragments > _FRAGMENTS or not budget.spend(len(frames)):
            self._guests.count(FLOOD)
            self._end(POLICY, "too many frames")
        else:
            super().handle_events()

    def _cut(self, why: str) -> None:
        """Close at once."""
        reason = "too many connections wait here; try again later" if why == CROWDED else "this takes too long"
        self._end(TRY_LATER if why == CROWDED else POLICY, reason)
        self.transport.abort()

    def _end(self, code: int, reason: str) -> None:
        """Send a close frame, where there can be one, and tell the application; then close."""
        if self.conn.state is State.OPEN:
            self.conn.fail(code, reason)
            self.handle_parser_exception()
        self.transport.close()
