"""Bound what a client does to uvicorn's HTTP, before and between WebSockets."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

from fdan_edge.server.guests import FLOOD, Guest, Guests

_UNANSWERED = 65_536  # bytes of requests that wait for an answer; no route takes a body


class BoundedHttp(H11Protocol):
    """Gives each request a deadline, from the answer before it to its own.

    uvicorn knows a deadline for the silence between two requests only. `app_state` has `guest` and `guests`.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._guest: Guest = self.app_state["guest"]
        self._guests: Guests = self.app_state["guests"]
        self._unanswered = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        both_ways = cast("asyncio.Transport", transport)
        self._guest.cut = lambda _: both_ways.abort()
        super().connection_made(both_ways)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        super().connection_lost(exc)
        self._guests.leave(self._guest)

    def data_received(self, data: bytes) -> None:
        """Parse what has come, unless it is more than any request of ours has."""
        self._unanswered += len(data)
        if self._unanswered > _UNANSWERED:
            self._guests.count(FLOOD)
            self.transport.abort()
            return
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        self._guests.extend(self._guest)
        self._unanswered = 0
        super().on_response_complete()
