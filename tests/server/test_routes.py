"""The server over real sockets: routes, headers, tokens, wrong messages, many clients, the end."""

from __future__ import annotations

import json
import logging
import re
import threading
from contextlib import ExitStack

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from websockets.exceptions import InvalidStatus

from fdan_edge.server import routes
from fdan_edge.server.access import Access, make_access
from fdan_edge.server.limits import Limits
from fdan_edge.streaming.events import Event
from tests.helpers.serving import ABOUT, FakeStream, Running, begin, closed, eventually, running, sound, tell

TOKEN = "abcdefghijklmnop"


def get(run: Running, path: str, **headers: str) -> httpx.Response:
    return httpx.get(run.url + path, headers=headers, trust_env=False, timeout=60)


# --- routes ---


def test_routes() -> None:
    with running() as run:
        page = get(run, "/")
        assert page.status_code == 200
        assert "<title>fdan-edge</title>" in page.text
        assert get(run, "/card").json() == {**ABOUT, "text": "# card\n"}
        assert get(run, "/health").json() == {"status": "ok", "clients": 0, "limit": 16}
        assert "fdan_edge_clients 0.0" in get(run, "/metrics").text
        for path in routes.STATIC.iterdir():
            assert get(run, f"/static/{path.name}").status_code == 200
        assert get(run, "/static/../run.py").status_code == 404
        assert get(run, "/static/%2e%2e/run.py").status_code == 404
        assert get(run, "/none").status_code == 404
        assert httpx.post(run.url, trust_env=False).status_code == 405


def test_headers_are_on_every_answer() -> None:
    with running() as run:
        for path in ("/", "/static/app.js", "/health", "/none"):
            headers = get(run, path).headers
            assert "default-src 'self'" in headers["content-security-policy"]
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert "server" not in headers


def test_the_page_needs_nothing_from_elsewhere_and_nothing_inline() -> None:
    page = (routes.STATIC / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=", page)
    for path in routes.STATIC.iterdir():
        addresses = set(re.findall(r"https?://[^\s\"']+", path.read_text()))
        assert addresses <= {"http://www.w3.org/2000/svg"}, path.name


def test_every_module_that_is_imported_is_there() -> None:
    for path in routes.STATIC.glob("*.js"):
        for name in re.findall(r'from "\./([\w.]+)"', path.read_text()):
            assert (routes.STATIC / name).is_file()


# --- who may connect ---


def test_token() -> None:
    with running(access=Access(TOKEN)) as run:
        for path in ("/card", "/metrics"):
            refused = get(run, path)
            assert refused.status_code == 401
            assert "mobilenet" not in refused.text
            assert get(run, path, Authorization="Bearer wrong").status_code == 401
            assert get(run, path, Authorization=f"Bearer {TOKEN}").status_code == 200
        assert get(run, "/health").status_code == get(run, "/").status_code == 200
        with run.client() as client:
            client.send('{"type": "start", "rate": 16000}')
            assert closed(client) == (1008, "a token is needed")
        with run.client() as client:
            client.send('{"type": "start", "rate": 16000, "token": "wrong"}')
            assert closed(client) == (1008, "the token is wrong")
        with run.client() as client:
            assert begin(client, token=TOKEN)["type"] == "ready"


def test_hosts_and_origins() -> None:
    with running(access=make_access("127.0.0.1", None, ["https://other.example"])) as run:
        assert get(run, "/", Host="evil.example").status_code == 421
        assert get(run, "/metrics", Host=f"evil.example:{run.port}").status_code == 421
        assert get(run, "/", Host=f"localhost:{run.port}").status_code == 200
        for origin in (None, run.url, "https://other.example"):
            with run.client(origin=origin) as client:
                assert begin(client)["type"] == "ready"
        for origin in ("https://evil.example", "null", "http://localhost:1"):
            with pytest.raises(InvalidStatus) as refused, run.client(origin=origin):
                pass
            assert refused.value.response.status_code == 403


# --- one client ---


def test_a_client_from_start_to_stop() -> None:
    with running() as run, run.client() as client:
        assert begin(client, 48_000) == {"type": "ready", **ABOUT}
        client.send(sound(4800))
        first = tell(client)
        assert first["type"] == "result"
        assert first["probabilities"] == {"angry": 0.75, "sad": 0.25}
        assert 0 <= first["latency"] < 60
        client.send('{"type": "stop"}')
        *_, last = [json.loads(message) for message in client]
        assert (last["type"], last["reason"]) == ("ended", "stopped")
        assert last["time"] == pytest.approx(0.1, abs=1e-3)
        assert client.close_code == 1000
        assert eventually(lambda: "fdan_edge_clients 0.0" in get(run, "/metrics").text)
        assert "fdan_edge_clients_started_total 1.0" in get(run, "/metrics").text


WRONG: list[tuple[str | bytes, int, str | None]] = [
    ("hello", 1007, "text that is not JSON"),
    (sound(3)[:-1], 1007, "11 bytes are no whole number of float32 samples"),
    (np.array([np.nan], "<f4").tobytes(), 1007, "samples that are not finite numbers"),
    (sound(16_385), 1009, "a message has at most 65536 bytes"),
    (sound(100_000), 1009, None),  # never received
    ('{"type": "start", "rate": 16000}', 1003, 'after the start there is sound and {"type": "stop"}'),
]


def test_a_wrong_message_closes_that_client_only() -> None:
    with running() as run, run.client() as other:
        begin(other)
        for message, code, reason in WRONG:
            with run.client() as client:
                begin(client)
                client.send(message)
                found = closed(client)
                assert found[0] == code
                assert reason is None or found[1] == reason
        with run.client() as client:
            client.send(sound())
            assert closed(client) == (1003, "expected text, got binary data")
        other.send(sound())
        assert tell(other)["type"] == "result"
        text = get(run, "/metrics").text
        assert 'fdan_edge_errors_total{code="1007"} 3.0' in text
        assert eventually(lambda: run.hub.client_count == 1)


def test_clients_that_say_nothing() -> None:
    limits = Limits(greeting=0.3, idle=0.3)
    with running(limits=limits) as run:
        with run.client() as client:
            assert closed(client) == (1008, "no message for 0.3 s")
        with run.client() as client:
            begin(client)
            assert closed(client) == (1008, "no message for 0.3 s")


def test_more_sound_than_real_time_allows() -> None:
    with running(limits=Limits(burst=1.0)) as run, run.client() as client:
        begin(client)
        for _ in range(13):
            client.send(sound(1600))
        client.send(sound(16_000))
        assert closed(client) == (1008, "sound comes faster than 2 times real time")


def test_a_stream_that_fails_closes_its_client_only(caplog: pytest.LogCaptureFixture) -> None:
    def fails(samples: NDArray[np.float32]) -> None:
        if len(samples) == 777:
            raise RuntimeError("broken\nin two lines")

    with (
        caplog.at_level(logging.ERROR),
        running(lambda: FakeStream(fails)) as run,
        run.client() as other,
        run.client() as client,
    ):
        begin(other)
        begin(client)
        client.send(sound(777))
        assert closed(client) == (1011, "the stream failed; the server's log says why")
        other.send(sound())
        assert tell(other)["type"] == "result"
    assert [record.getMessage() for record in caplog.records] == ["a client's stream failed: RuntimeError: broken"]
    assert not caplog.records[0].exc_info


def test_a_client_that_goes_away_frees_its_place() -> None:
    with running(limits=Limits(clients=1)) as run:
        for _ in range(3):
            with run.client() as client:
                begin(client)
                client.send(sound())
                client.socket.close()
            assert eventually(lambda: run.hub.client_count == 0)


def test_a_client_that_reads_nothing_is_closed_in_the_end() -> None:
    """Its events are large, so that they fill the system's buffers soon."""

    class Talkative(FakeStream):
        def finish(self, reason: str) -> list[Event]:
            return super().finish(reason * 20_000) * 300

    with running(Talkative, limits=Limits(sending=0.5)) as run, run.client(max_queue=1, max_size=None) as client:
        begin(client)
        client.send('{"type": "stop"}')
        assert eventually(lambda: run.hub.client_count == 0)
        assert eventually(lambda: 'fdan_edge_errors_total{code="1008"} 1.0' in get(run, "/metrics").text)
        client.socket.close()


# --- many clients, and the end ---


def test_the_next_client_is_refused_and_told_why() -> None:
    with running(limits=Limits(clients=2)) as run, ExitStack() as stack:
        for client in [stack.enter_context(run.client()) for _ in range(2)]:
            begin(client)
        assert get(run, "/health").json()["status"] == "full"
        with run.client() as third:
            third.send('{"type": "start", "rate": 16000}')
            assert closed(third) == (1013, "this server hears 2 at once, and all are there")
        assert "fdan_edge_clients_refused_total 1.0" in get(run, "/metrics").text


def test_clients_are_heard_side_by_side() -> None:
    """One whose stream hangs does not hold the others up."""
    hanging = threading.Event()

    def hangs(samples: NDArray[np.float32]) -> None:
        if len(samples) == 777:
            hanging.wait(60)

    limits = Limits(clients=30)
    with running(lambda: FakeStream(hangs), limits=limits) as run, ExitStack() as stack:
        slow, *others = [stack.enter_context(run.client()) for _ in range(20)]
        for client in (slow, *others):
            begin(client)
        slow.send(sound(777))
        for _ in range(5):
            for client in others:
                client.send(sound())
        for client in others:
            assert [tell(client)["time"] for _ in range(5)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
        hanging.set()
        assert tell(slow)["type"] == "result"


def test_the_end_is_told_to_every_client(caplog: pytest.LogCaptureFixture) -> None:
    with running() as run, ExitStack() as stack:
        clients = [stack.enter_context(run.client()) for _ in range(5)]
        for client in clients[:-1]:
            begin(client)
            client.send(sound())
        assert eventually(lambda: (run.hub.client_count, len(run.hub.guests)) == (4, 1))
        run.server.should_exit = True
        for client in clients:
            assert closed(client) == (1001, "the server ends")
        run.stop()
        with pytest.raises(httpx.ConnectError):
            get(run, "/health")
    assert not caplog.records
