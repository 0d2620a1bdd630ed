"""Connections that were not let in: how many there may be, who must go, and when."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest
from websockets.exceptions import ConnectionClosed

from fdan_edge.server.access import Access
from fdan_edge.server.guests import CROWDED, SLOW, Guest, Guests, address_group
from fdan_edge.server.limits import Limits
from tests.helpers.serving import begin, closed, eventually, running

TOKEN = "abcdefghijklmnop"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def entered(guests: Guests, cut: list[str], name: str, address: str = "192.0.2.1") -> Guest:
    """A guest that adds its name to `cut` when it is cut off."""
    guest = guests.enter(address)
    guest.cut = lambda why: cut.append(f"{name} {why}")
    return guest


def test_the_oldest_of_the_address_that_has_most_goes() -> None:
    guests, cut = Guests(4, 10.0), list[str]()
    entered(guests, cut, "honest", "192.0.2.7")
    for number in range(6):
        entered(guests, cut, f"{number}")
    assert cut == [f"0 {CROWDED}", f"1 {CROWDED}", f"2 {CROWDED}"]
    assert len(guests) == 4


def test_who_is_let_in_stays_and_who_ends_is_a_guest_again() -> None:
    guests, cut, counted, clock = Guests(2, 10.0, clock=Clock()), list[str](), list[str](), Clock()
    guests = Guests(2, 10.0, counted.append, clock)
    client = entered(guests, cut, "client")
    guests.admit(client)
    for number in range(3):
        entered(guests, cut, f"{number}")
    clock.now += 1000
    guests.sweep()
    assert cut == [f"0 {CROWDED}", f"1 {SLOW}", f"2 {SLOW}"]
    assert counted == [CROWDED, SLOW, SLOW]
    guests.dismiss(client)
    clock.now += 9
    guests.sweep()
    assert len(cut) == 3
    clock.now += 2
    guests.sweep()
    assert cut[3:] == [f"client {SLOW}"]
    guests.dismiss(client)  # too late
    assert not len(guests)


def test_each_step_has_its_time() -> None:
    clock, cut = Clock(), list[str]()
    guests = Guests(2, 10.0, clock=clock)
    guest = entered(guests, cut, "slow")
    for _ in range(5):
        clock.now += 9
        guests.sweep()
        guests.extend(guest)
    assert cut == []
    clock.now += 11
    guests.sweep()
    assert cut == [f"slow {SLOW}"]


def test_who_leaves_makes_room_once() -> None:
    guests, cut = Guests(2, 10.0), list[str]()
    first = entered(guests, cut, "first")
    entered(guests, cut, "second")
    for _ in range(2):
        guests.leave(first)
    entered(guests, cut, "third")
    assert (cut, len(guests)) == ([], 2)
    assert guests.evict()
    assert guests.evict()
    assert not guests.evict()


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("x" * 10_000, "x" * 64),
    ],
)
def test_addresses_that_count_as_one(address: str, group: str) -> None:
    assert address_group(address) == group


def test_sockets_without_a_token_lock_out_nobody_who_has_it() -> None:
    with running(access=Access(TOKEN), limits=Limits(guests=4)) as run, ExitStack() as stack:
        silent = [stack.enter_context(run.client()) for _ in range(12)]
        assert closed(silent[0]) == (1013, "too many connections wait here; try again later")
        for _ in range(3):
            with run.client() as client:
                assert begin(client, token=TOKEN)["type"] == "ready"
                for _ in range(6):
                    silent.append(stack.enter_context(run.client()))
                assert client.ping().wait(60)  # it is let in, so that it stays
        assert run.cut(CROWDED) > 20


def test_silent_and_slow_connections_end() -> None:
    """Nothing said, half a request, a byte after an answer, a WebSocket that never begins."""
    begun = (b"", b"GET / HT", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nG", _upgrade(headers=200))
    with running(limits=Limits(request=0.3, greeting=60)) as run, ExitStack() as stack:
        open_ = [stack.enter_context(run.connect()) for _ in begun]
        for connection, data in zip(open_, begun, strict=True):
            connection.sendall(data)
        with run.client() as silent, pytest.raises(ConnectionClosed):
            silent.recv(timeout=60)
        for connection in open_:
            _read_to_the_end(connection)
        assert eventually(lambda: len(run.hub.guests) == 0)
        assert run.cut(SLOW) == 5


def test_a_body_that_never_ends_is_cut_off() -> None:
    with running(limits=Limits(request=0.3)) as run, run.connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 405"
        _read_to_the_end(connection)


def _upgrade(headers: int = 0) -> bytes:
    """A request for a WebSocket; with more than 128 headers, the library behind uvicorn refuses it in silence."""
    lines = ["GET /ws HTTP/1.1", "Host: localhost", "Upgrade: websocket", "Connection: Upgrade"]
    return "\r\n".join([*lines, *(f"X-{number}: 1" for number in range(headers)), "\r\n"]).encode()


def _read_to_the_end(connection: socket.socket) -> None:
    try:
        while connection.recv(65_536):
            pass
    except ConnectionResetError:
        pass
