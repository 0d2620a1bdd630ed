"""How much sound may come, and who may connect."""

from __future__ import annotations

import pytest

from fdan_edge.errors import ConfigError
from fdan_edge.server.access import Access, bearer, is_loopback, make_access
from fdan_edge.server.limits import RateLimiter

TOKEN = "abcdefghijklmnop"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_real_time_and_twice_of_it_go_on_for_ever() -> None:
    clock = Clock()
    limiter = RateLimiter(2.0, 15.0, clock)
    for _ in range(10_000):
        clock.now += 0.1
        assert limiter.spend(0.2)


def test_a_burst_may_come_once() -> None:
    clock = Clock()
    limiter = RateLimiter(2.0, 15.0, clock)
    assert limiter.spend(15.0)
    assert not limiter.spend(0.1)
    clock.now += 1000
    assert limiter.spend(15.0)  # not 2000: it refills to the burst
    assert not limiter.spend(0.1)


def test_three_times_real_time_is_too_fast_in_the_end() -> None:
    clock = Clock()
    limiter = RateLimiter(2.0, 15.0, clock)

    def goes_on() -> bool:
        clock.now += 0.1
        return limiter.spend(0.3)

    assert sum(iter(goes_on, False)) == pytest.approx(150, abs=3)  # 15 s at 1 s in excess each second


def test_empty_messages_are_not_free() -> None:
    limiter = RateLimiter(2.0, 15.0, Clock())
    assert sum(iter(lambda: limiter.spend(0.0), False)) == pytest.approx(3000, abs=1)


def test_loopback() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.9.9.9", "localhost", "::1", "[::1]"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "192.168.1.2", "example.org", "localhost.example.org"]))


def test_hosts_of_the_loopback() -> None:
    allowed = make_access("127.0.0.1", None, ["https://proxy.example:8443"])
    for host in ("127.0.0.1:8765", "localhost", "LOCALHOST:1", "[::1]:8765", "proxy.example"):
        assert allowed.knows_host({"host": host}), host
    for host in ("evil.example", "127.0.0.1.evil.example", "", "[::1", "a@evil.example:80"):
        assert not allowed.knows_host({"host": host}), host
    assert not allowed.knows_host({})
    assert make_access("0.0.0.0", None, []).knows_host({"host": "any.example"})  # its token stands before it


def test_origins() -> None:
    allowed = Access(origins=frozenset({"https://other.example"}))

    def knows(origin: str, host: str = "localhost:8765") -> bool:
        return allowed.knows_origin({"host": host, "origin": origin})

    assert allowed.knows_origin({"host": "localhost:8765"})
    assert knows("http://localhost:8765")
    assert knows("https://other.example")
    assert knows("https://edge.example", "edge.example")
    assert knows("https://edge.example", "edge.example:443")
    assert knows("http://[::1]:8765", "[::1]:8765")
    for origin in (
        "http://localhost:3000",
        "http://localhost",
        "http://127.0.0.1:8765",
        "https://evil.example",
        "https://other.example:8443",
        "null",
        "",
        "file://",
        "http://localhost:x",
    ):
        assert not knows(origin), origin


def test_tokens() -> None:
    assert Access().accepts("")
    allowed = Access(TOKEN)
    assert allowed.accepts(TOKEN)
    assert not any(map(allowed.accepts, ["", TOKEN[:-1], TOKEN + "q", "ü"]))
    assert bearer({"authorization": f"Bearer {TOKEN}"}) == bearer({"authorization": f"bearer  {TOKEN}"}) == TOKEN
    for header in ("", TOKEN, f"Basic {TOKEN}", "Bearer"):
        assert bearer({"authorization": header}) == "", header
    assert bearer({}) == ""


def test_a_token_is_made_where_others_can_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FDAN_EDGE_TOKEN", raising=False)
    assert make_access("127.0.0.1", None, []).token == ""
    first, second = (make_access("0.0.0.0", None, []).token for _ in range(2))
    assert len(first) >= 32
    assert first != second
    assert make_access("127.0.0.1", TOKEN, []).token == TOKEN
    monkeypatch.setenv("FDAN_EDGE_TOKEN", TOKEN[::-1])
    assert make_access("0.0.0.0", None, []).token == TOKEN[::-1]
    assert make_access("0.0.0.0", TOKEN, []).token == TOKEN


@pytest.mark.parametrize("token", ["", "short", "abcdefghijklmno p", "abcdefghijklmnopü", 1025 * "a"])
def test_tokens_that_can_be_guessed_or_typed_wrong(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    with pytest.raises(ConfigError, match="at least 16 and at most 1024 characters"):
        make_access("0.0.0.0", token, [])
    monkeypatch.setenv("FDAN_EDGE_TOKEN", token)
    with pytest.raises(ConfigError, match="at least 16 and at most 1024 characters"):
        make_access("0.0.0.0", None, [])


@pytest.mark.parametrize("origin", ["example.org", "ftp://x", "https://x/", "https://", "https://x:y", "null"])
def test_origins_that_are_none(origin: str) -> None:
    with pytest.raises(ConfigError, match="not of the form https://name"):
        make_access("127.0.0.1", None, [origin])
