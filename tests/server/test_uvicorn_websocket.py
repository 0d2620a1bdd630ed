"""Frames that never reach the application: pings, fragments, text that is none."""

from __future__ import annotations

import contextlib
import json
import logging

import pytest
from websockets.frames import Frame, Opcode

from fdan_edge.server.guests import FLOOD, MALFORMED
from tests.helpers.serving import begin, closed, eventually, running, sound, tell


def frames(*these: Frame) -> bytes:
    return b"".join(frame.serialize(mask=True) for frame in these)


def test_pings_whose_answers_are_not_read() -> None:
    """They are fewer than the limit of frames, and their answers still more than are kept."""
    ping = frames(Frame(Opcode.PING, b"x" * 125))
    with running() as run, run.client(max_queue=1) as client:
        begin(client)
        client.socket.sendall(ping * 1000)
        assert client.ping().wait(60)  # some are welcome
        with contextlib.suppress(OSError):
            client.socket.sendall(ping * 20_000)
        assert closed(client)[0] in (1006, 1008)
        assert run.cut(FLOOD) == 1


@pytest.mark.parametrize("admitted", [True, False])
def test_empty_frames_without_end(admitted: bool) -> None:
    first, more = frames(Frame(Opcode.BINARY, b"", fin=False)), frames(Frame(Opcode.CONT, b"", fin=False))
    with running() as run, run.client() as client:
        if admitted:
            begin(client)
        with contextlib.suppress(OSError):
            client.socket.sendall(first + more * 2000)
        assert closed(client)[0] in (1006, 1008)
        assert run.cut(FLOOD) == 1


def test_a_message_in_some_pieces_is_read() -> None:
    start = json.dumps({"type": "start", "rate": 16_000}).encode()
    pieces = [Frame(Opcode.TEXT, start[:1], fin=False)]
    pieces += [Frame(Opcode.CONT, start[at : at + 1], fin=False) for at in range(1, len(start))]
    with running() as run, run.client() as client:
        client.socket.sendall(frames(*pieces, Frame(Opcode.CONT, b"")))
        assert tell(client)["type"] == "ready"
        large, size = sound(16_384), 1400
        rest = [Frame(Opcode.CONT, large[at : at + size], fin=False) for at in range(size, len(large), size)]
        client.socket.sendall(
            frames(Frame(Opcode.BINARY, large[:size], fin=False), *rest, Frame(Opcode.CONT, b""))
        )
        assert tell(client)["time"] == pytest.approx(1.024)


def test_as_many_messages_as_a_client_may_send_are_no_flood() -> None:
    with running() as run, run.client() as client:
        begin(client)
        client.socket.sendall(frames(*[Frame(Opcode.BINARY, sound(80))] * 2000))
        client.send('{"type": "stop"}')
        assert closed(client)[0] == 1000
        assert run.cut(FLOOD) == 0


def test_nothing_is_decompressed() -> None:
    """A client that offers it is not taken at its word: some bytes could become a gigabyte."""
    with running() as run, run.client(compression="deflate") as client:
        assert client.protocol.extensions == []


def test_what_is_no_text_leaves_no_line(caplog: pytest.LogCaptureFixture) -> None:
    with running() as run, caplog.at_level(logging.INFO, "fdan_edge"):
        for _ in range(3):
            with run.client() as client:
                client.socket.sendall(frames(Frame(Opcode.TEXT, b"\xff")))
                assert closed(client)[0] == 1007
        assert eventually(lambda: run.cut(MALFORMED) == 3)
    assert not caplog.records
