"""Serve one WebSocket, from handshake to close; nothing that a client does reaches the others."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
from anyio import to_thread
from starlette.websockets import WebSocket, WebSocketDisconnect

from fdan_edge.errors import one_line, printable
from fdan_edge.server.client_stream import ClientStream, Turn
from fdan_edge.server.hub import TOO_MANY, Hub
from fdan_edge.server.limits import RateLimiter
from fdan_edge.server.protocol import (
    FAILED,
    GOING_AWAY,
    NORMAL,
    POLICY,
    TRY_LATER,
    Close,
    Start,
    parse_sound,
    parse_start,
)

log = logging.getLogger(__name__)

TRIED_OFTEN = "many wrong tokens came from this address; try again in some seconds"


async def serve_client(websocket: WebSocket, hub: Hub) -> None:
    """Serve a client from the handshake to the close."""
    end: Close | None = Close(GOING_AWAY, "the server ends")
    try:
        with hub.connection():
            end = await _serve_client(websocket, hub)
    finally:
        hub.guests.dismiss(websocket.state.guest)
    if end is None:  # the client has gone
        return
    hub.metrics.client_closed(end.code)
    with anyio.move_on_after(hub.limits.sending, shield=True):
        try:
            await websocket.close(end.code, end.reason)
        except (WebSocketDisconnect, RuntimeError):  # it went meanwhile
            return


async def _serve_client(websocket: WebSocket, hub: Hub) -> Close | None:
    """Serve a client; return how to close, None where it has gone."""
    try:
        await websocket.accept()
        start = await _greet(websocket, hub)
        with hub.client_slot() as slot:
            connection = Connection(websocket, hub, await _open_stream(start, hub), start.rate)
            slot.leave = connection.leave
            return await connection.run()
    except Exception as error:
        return _close_for(error)


def _close_for(error: Exception) -> Close | None:
    """Return how to close after an error, None where the client has gone.

    The error itself must not be kept: it knows the frames that it came through, and they know the client's sound.
    """
    if isinstance(error, Close):
        return Close(error.code, error.reason)
    if isinstance(error, WebSocketDisconnect):
        return None
    return _close_after(error)


def _close_after(error: Exception) -> Close:
    """Log an error that is none of the protocol, and return how to close."""
    log.error("a client's stream failed: %s: %s", type(error).__name__, printable(one_line(error)))
    return Close(FAILED, "the stream failed; the server's log says why")


async def _greet(websocket: WebSocket, hub: Hub) -> Start:
    """Receive the first message, and let the client in."""
    start = parse_start(await _receive(websocket, hub.limits.greeting))
    guest, address = websocket.state.guest, websocket.client.host if websocket.client else ""
    hub.guests.extend(guest)
    try:
        accepted = await hub.accepts(start.token, address, guest)
    except TimeoutError:
        raise Close(TRY_LATER, TRIED_OFTEN) from None
    if not accepted:
        raise Close(POLICY, "the token is wrong" if start.token else "a token is needed")
    hub.guests.admit(guest)
    return start


async def _open_stream(start: Start, hub: Hub) -> ClientStream:
    stream = await to_thread.run_sync(hub.stream, limiter=hub.threads)
    return ClientStream(stream, start.rate, hub.limits, hub.metrics)


async def _receive(websocket: WebSocket, seconds: float) -> Mapping[str, Any]:
    """Receive the next message.

    Raises:
        Close: none came within `seconds`.
        WebSocketDisconnect: the client has gone.
    """
    try:
        with anyio.fail_after(seconds):
            message = await websocket.receive()
    except TimeoutError:
        raise Close(POLICY, f"no message for {seconds:g} s") from None
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", NORMAL))
    return message


class Connection:
    """A client that streams: one task receives its sound, one sends the events."""

    def __init__(self, websocket: WebSocket, hub: Hub, stream: ClientStream, rate: int) -> None:
        self._websocket, self._hub, self._stream, self._rate = websocket, hub, stream, rate
        self._sound_came = anyio.Event()
        self._ends: list[Close | None] = []  # the first one counts
        self._scope = anyio.CancelScope()

    def leave(self) -> None:
        """End the stream because the machine is too slow."""
        self._ends.append(Close(TRY_LATER, TOO_MANY))
        self._scope.cancel()

    async def run(self) -> Close | None:
        """Stream until the end; return how to close, None where the client has gone."""
        await self._send(json.dumps({"type": "ready", **self._hub.about}))
        with self._scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._until_its_end, self._receive_sound)
                tasks.start_soon(self._until_its_end, self._send_events)
        return self._ends[0]

    async def _until_its_end(self, part: Callable[[], Awaitable[None]]) -> None:
        """Run one of the two tasks; its first exception ends both. A task group would wrap it."""
        try:
            await part()
        except anyio.get_cancelled_exc_class():
            return  # it ends anyway; the group would keep the exception, and so the frames and the sound
        except Exception as error:
            if not self._ends:
                self._ends.append(_close_for(error))
            self._scope.cancel()

    async def _receive_sound(self) -> None:
        limits = self._hub.limits
        limiter = RateLimiter(limits.speed, limits.burst)
        while True:
            samples = parse_sound(await _receive(self._websocket, limits.idle), limits.message)
            if samples is None:
                self._stream.stop("stopped")
                self._sound_came.set()
                return
            if not limiter.spend(len(samples) / self._rate):
                raise Close(POLICY, f"sound comes faster than {limits.speed:g} times real time")
            self._stream.add(samples)
            self._sound_came.set()

    async def _send_events(self) -> None:
        while True:
            await self._sound_came.wait()
            self._sound_came = anyio.Event()
            more = True
            while more:
                asked = time.monotonic()
                turn = await to_thread.run_sync(self._turn, limiter=self._hub.threads)
                if isinstance(turn, Close):
                    raise Close(turn.code, turn.reason)
                self._hub.waited(turn.begun - asked)
                for message in turn.messages:
                    await self._send(message)
                if turn.end is not None:
                    raise Close(NORMAL, turn.end)
                more = turn.more

    def _turn(self) -> Turn | Close:
        """Process what waits; return how to close where that fails: an error of a thread would keep the sound."""
        try:
            return self._stream.turn()
        except Exception as error:
            return _close_after(error)

    async def _send(self, message: str) -> None:
        seconds = self._hub.limits.sending
        try:
            with anyio.fail_after(seconds):
                await self._websocket.send_text(message)
        except TimeoutError:
            raise Close(POLICY, f"results were not read for {seconds:g} s") from None
