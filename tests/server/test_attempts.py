"""Tokens that are tried, one after the other."""

from __future__ import annotations

import time

import httpx

from fdan_edge.server.access import Access
from fdan_edge.server.attempts import Attempts
from fdan_edge.server.limits import Limits
from tests.helpers.serving import Running, begin, closed, running

TOKEN = "abcdefghijklmnop"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_some_at_once_then_so_many_a_second() -> None:
    clock = Clock()
    attempts = Attempts(2.0, 5.0, clock)
    for _ in range(5):
        assert attempts.wait("a") == 0
        attempts.failed("a")
    assert 0 < attempts.wait("a") < 1
    assert attempts.wait("b") == 0
    clock.now += 0.5
    assert attempts.wait("a") == 0
    attempts.failed("a")
    assert attempts.wait("a") > 0
    clock.now += 1000
    for _ in range(5):
        attempts.failed("a")
    assert attempts.wait("a") > 0


def test_what_is_remembered_is_bounded() -> None:
    attempts = Attempts(1.0, 1.0, Clock())
    attempts.failed("first")
    for number in range(5000):
        attempts.failed(str(number))
    assert attempts.wait("first") == 0
    assert attempts.wait("4999") > 0


def wrong(run: Running, address: str = "") -> httpx.Response:
    headers = {"Authorization": "Bearer abcdefghijklmnoX"} | ({"X-Forwarded-For": address} if address else {})
    return httpx.get(f"{run.url}/card", headers=headers, trust_env=False, timeout=60)


def test_right_tokens_from_an_address_that_was_wrong_come_in_soon() -> None:
    with running(access=Access(TOKEN), limits=Limits(attempts=20, attempts_at_once=3)) as run:
        begun = time.monotonic()
        assert [wrong(run).status_code for _ in range(9)] == [401] * 9
        assert time.monotonic() - begun > 0.25  # six of them had to wait
        with run.client() as client:
            assert begin(client, token=TOKEN)["type"] == "ready"
        with run.client() as client:  # without one there is nothing to guess
            client.send('{"type": "start", "rate": 16000}')
            assert closed(client) == (1008, "a token is needed")


def test_whose_turn_does_not_come_is_told_to_come_again() -> None:
    with running(access=Access(TOKEN), limits=Limits(greeting=0.3, attempts=0.01, attempts_at_once=1)) as run:
        assert wrong(run).status_code == 401
        refused = wrong(run)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
        with run.client() as client:
            client.send('{"type": "start", "rate": 16000, "token": "abcdefghijklmnop"}')
            assert closed(client) == (1013, "many wrong tokens came from this address; try again in some seconds")
        # A proxy on this machine says for whom it asks; who is behind it must not lock out the others.
        assert wrong(run, "203.0.113.7").status_code == 401
        assert wrong(run, "203.0.113.7").status_code == 429
        assert wrong(run, "203.0.113.8").status_code == 401
