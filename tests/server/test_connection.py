"""What stays of a client that left: nothing, without the garbage collector too."""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from websockets.sync.client import ClientConnection

from fdan_edge.server.client_stream import ClientStream
from fdan_edge.server.connection import Connection
from fdan_edge.server.uvicorn_websocket import BoundedWebSocket
from tests.helpers.serving import FakeStream, begin, closed, eventually, running, sound, tell


@pytest.fixture
def _no_collector() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def stops(client: ClientConnection) -> None:
    client.send('{"type": "stop"}')
    assert closed(client)[0] == 1000


def closes(client: ClientConnection) -> None:
    client.close()


def vanishes(client: ClientConnection) -> None:
    client.socket.close()


def errs(client: ClientConnection) -> None:
    client.send(b"123")
    assert closed(client)[0] == 1007


def makes_it_fail(client: ClientConnection) -> None:
    client.send(sound(777))
    assert closed(client)[0] == 1011


@pytest.mark.usefixtures("_no_collector")
@pytest.mark.parametrize("leave", [stops, closes, vanishes, errs, makes_it_fail])
def test_nothing_of_a_client_stays(monkeypatch: pytest.MonkeyPatch, leave: Callable[..., None]) -> None:
    kept: dict[str, weakref.ref[object]] = {}

    def watched(kind: Any) -> None:
        begin_ = kind.__init__

        def begins(self: Any, *arguments: Any, **options: Any) -> None:
            kept[kind.__name__] = weakref.ref(self)
            begin_(self, *arguments, **options)

        monkeypatch.setattr(kind, "__init__", begins)

    def fails(samples: NDArray[np.float32]) -> None:
        if len(samples) == 777:
            raise RuntimeError("broken")

    for kind in (FakeStream, Connection, ClientStream, BoundedWebSocket):
        watched(kind)
    with running(lambda: FakeStream(fails)) as run:
        with contextlib.suppress(Exception), run.client() as client:
            begin(client)
            client.send(sound())
            tell(client)
            leave(client)
        assert len(kept) == 4
        assert eventually(lambda: not [name for name, object_ in kept.items() if object_()], 20), kept
