"""`fdan-edge serve`: what it prints, its mistakes, its end; with a real model."""

from __future__ import annotations

import gc
import os
import re
import resource
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from websockets.sync.client import connect

from fdan_edge.errors import INSTALL_SERVE, ConfigError
from fdan_edge.runtime.opening import open_runner
from fdan_edge.server import server
from fdan_edge.server.access import make_access
from fdan_edge.server.hub import Hub
from fdan_edge.server.limits import Limits
from fdan_edge.server.server import Address, make_hub, open_socket, startup_lines
from fdan_edge.streaming.settings import StreamSettings
from tests.helpers.serving import begin, certificate_of, closed, running, sound, tell

Fails = Callable[..., str]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FDAN_EDGE_TOKEN", raising=False)


def test_mistakes(fails: Fails, bundle_folder: Path, tmp_path: Path) -> None:
    assert "no such bundle or file" in fails("serve", tmp_path / "none", "--port", 0)
    assert "unknown vad 'siler' (did you mean silero?)" in fails("serve", bundle_folder, "--vad", "siler")
    assert "hop = 0.01: valid are 0.05 to 60" in fails("serve", bundle_folder, "--hop", "0.01")
    assert "at least 16 and at most 1024 characters" in fails("serve", bundle_folder, "--token", "abc")
    assert "not of the form https://name" in fails("serve", bundle_folder, "--origin", "example.org")
    assert "unknown runtime 'onnx'" in fails("serve", bundle_folder, "--port", 0, "--runtime", "onnx")
    assert fails("serve", bundle_folder, "--host", "no.such.host.invalid") == (
        "--host 'no.such.host.invalid': no such name or address"
    )
    assert fails("serve", bundle_folder, "--host", "192.0.2.1").startswith("192.0.2.1, port 8765: ")


def test_port_in_use(fails: Fails, bundle_folder: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert fails("serve", bundle_folder, "--port", port) == (
            f"port {port} of 127.0.0.1 is in use; --port takes another, 0 any that is free"
        )


def test_certificates_that_are_none(fails: Fails, bundle_folder: Path, tmp_path: Path) -> None:
    assert fails("serve", bundle_folder, "--key", tmp_path / "k") == "--certificate and --key go together"
    both = ("--certificate", tmp_path / "c", "--key", tmp_path / "k")
    assert fails("serve", bundle_folder, *both).endswith("c: no such file")
    (tmp_path / "c").touch()
    (tmp_path / "k").touch()
    assert "not a certificate and its key" in fails("serve", bundle_folder, *both)


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "websockets", "prometheus_client"])
def test_what_is_not_installed(
    fails: Fails, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str
) -> None:
    import importlib.util

    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find_spec(name))
    assert fails("serve", tmp_path) == f"serve needs {package}, which is not installed: {INSTALL_SERVE}"


def test_what_is_printed(bundle_folder: Path, tmp_path: Path) -> None:
    def said(address: Address, token: str | None = None) -> str:
        with open_runner(bundle_folder, 1) as runner:
            hub = make_hub(bundle_folder, runner, StreamSettings(), make_access(address.host, token, []), Limits())
        return "\n".join(startup_lines(hub, address, 8765, new_token=token is None))

    own = said(Address())
    assert "open http://127.0.0.1:8765/\n" in own
    assert "microphone" not in own
    others = said(Address("192.168.7.7"))
    assert re.search(r"open http://192\.168\.7\.7:8765/#token=[\w-]{32,}\n", others)
    assert "give --certificate and --key" in others
    given = said(Address("0.0.0.0"), "abcdefghijklmnop")
    assert "abcdefghijklmnop" not in given
    assert "#token=YOUR-TOKEN" in given
    assert "0.0.0.0" not in given
    secure = said(Address("192.168.7.7", 8765, tmp_path / "c", tmp_path / "k"))
    assert "open https://192.168.7.7" in secure
    assert "microphone" not in secure
    assert "http://[::1]:8765/" in said(Address("::1"))


def test_only_one_may_listen_and_again_after_it() -> None:
    with open_socket(Address(port=0)) as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1 is in use"):
            open_socket(Address(port=port))
    open_socket(Address(port=port)).close()


def test_the_card_is_the_bundles_own(bundle_folder: Path, tmp_path: Path) -> None:
    def card(target: Path) -> str:
        with open_runner(target, 1) as runner:
            return make_hub(target, runner, StreamSettings(), make_access("localhost", None, []), Limits()).card

    assert card(bundle_folder) == (bundle_folder / "README.md").read_text()
    lone = tmp_path / "m.onnx"
    lone.write_bytes((bundle_folder / "model.onnx").read_bytes())
    assert "This file carries no card" in card(lone)


def test_voices_through_the_real_engine(bundle_folder: Path) -> None:
    """What the server tells is what the engine tells."""
    from fdan_edge.streaming.events import to_dict
    from fdan_edge.streaming.session import Stream

    rate = 16_000
    noise = np.random.default_rng(3).normal(0, 0.1, 3 * rate).astype(np.float32)
    settings = StreamSettings(vad="none")
    with open_runner(bundle_folder, 1) as runner:
        offline = Stream(runner, settings)
        expected = [to_dict(event) for event in [*offline.push(noise), *offline.finish("stopped")]]
        hub = make_hub(bundle_folder, runner, settings, make_access("localhost", None, []), Limits())
        with running(hub.stream, about=hub.about) as run, run.client() as client:
            assert begin(client, rate)["labels"] == list(runner.spec.labels)
            for first in range(0, len(noise), 1600):
                client.send(noise[first : first + 1600].tobytes())
            client.send('{"type": "stop"}')
            events = [tell(client) for _ in expected]
    assert [{k: v for k, v in event.items() if k != "latency"} for event in events] == expected
    assert sum("latency" in event for event in events) > 5


@contextmanager
def command(bundle: Path, *arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command in a process of its own, and the address that it prints."""
    words = [sys.executable, "-W", "error", "-m", "fdan_edge", "serve", str(bundle), "--port", "0", *arguments]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    ) as process:
        try:
            assert process.stdout
            found = ""
            for line in process.stdout:
                if line.startswith("open "):
                    found = line.removeprefix("open ").strip()
                if line.startswith("Ctrl-C"):
                    break
            assert found, process.stderr.read() if process.stderr else ""
            yield process, found
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_without_a_traceback(bundle_folder: Path, number: signal.Signals) -> None:
    with command(bundle_folder) as (process, url):
        port = url.rsplit(":", 1)[1].strip("/")
        with connect(f"ws://127.0.0.1:{port}/ws", proxy=None) as client:
            begin(client)
            client.send(sound())
            process.send_signal(number)
            assert closed(client) == (1001, "the server ends")
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, "ended\n", "")


def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Hub, tuple[int, int, int]]]:
    """What the command would have served, and how often Python would have looked for garbage."""
    found: list[tuple[Hub, tuple[int, int, int]]] = []

    class Ended:
        def __init__(self, hub: Hub, _: Address) -> None:
            self.hub = hub

        def run(self, _: list[socket.socket]) -> None:
            found.append((self.hub, gc.get_threshold()))

    monkeypatch.setattr(server, "make_server", Ended)
    return found


def test_a_token_out_of_a_file(
    run: Run, fails: Fails, monkeypatch: pytest.MonkeyPatch, bundle_folder: Path, tmp_path: Path
) -> None:
    found, path = started(monkeypatch), tmp_path / "token"
    path.write_text("abcdefghijklmnop\n")
    path.chmod(0o600)
    code, out, err = run("serve", bundle_folder, "--port", 0, "--token-file", path)
    assert (code, err) == (0, "")
    assert "#token=YOUR-TOKEN" in out
    assert found[0][0].access.token == "abcdefghijklmnop"
    path.chmod(0o440)  # as systemd shows a credential to a service
    assert run("serve", bundle_folder, "--port", 0, "--token-file", path)[2] == ""
    path.chmod(0o644)
    code, out, err = run("serve", bundle_folder, "--port", 0, "--token-file", path)
    assert err == f"{path}: others can read this token; chmod 600 keeps it to you\n"
    path.chmod(0o600)
    given = ("serve", bundle_folder, "--token-file")
    assert fails(*given, path, "--token", "abcdefghijklmnop") == "--token and --token-file: give one of them"
    assert fails(*given, tmp_path / "none") == f"--token-file {tmp_path / 'none'}: no such file"
    assert fails(*given, tmp_path) == f"--token-file {tmp_path}: a folder, a pipe or a device, not a file"
    os.mkfifo(tmp_path / "pipe")
    assert (
        fails(*given, tmp_path / "pipe")
        == f"--token-file {tmp_path / 'pipe'}: a folder, a pipe or a device, not a file"
    )
    path.write_bytes(b"\xff" * 20)
    assert fails(*given, path) == f"--token-file {path}: not ASCII text"
    for text in ("short\n", "abcdefghijklmno p", "abcdefghijklmnop\n\nq", "a" * 2000, ""):
        path.write_text(text)
        assert "at least 16 and at most 1024 characters" in fails(*given, path)


def test_garbage_is_collected_as_usual(run: Run, monkeypatch: pytest.MonkeyPatch, bundle_folder: Path) -> None:
    """The other verbs hardly ever do it."""
    found, before = started(monkeypatch), gc.get_threshold()
    try:
        assert run("serve", bundle_folder, "--port", 0)[0] == 0
        assert found[0][1] == (700, 10, 10)
    finally:
        gc.set_threshold(*before)


def test_guests_leave_descriptors_for_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    def guests(most: int, clients: int) -> int:
        monkeypatch.setattr(resource, "getrlimit", lambda _: (most, most))
        monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
        hub = Hub(lambda: pytest.fail("no stream is asked for"), {}, "", 1, limits=Limits(clients=clients))
        server.make_server(hub, Address())
        return hub.guests.limit

    assert [guests(*of) for of in ((300, 16), (100_000, 16), (1024, 10_000))] == [220, 256, 16]


def test_the_token_is_in_no_log(bundle_folder: Path) -> None:
    with command(bundle_folder, "--host", "0.0.0.0") as (process, url):
        port, token = url.rsplit(":", 1)[1].split("/#token=")
        base = f"127.0.0.1:{port}"
        assert httpx.get(f"http://{base}/card?token={token}", trust_env=False).status_code == 401
        bearer = {"Authorization": f"Bearer {token}"}
        assert httpx.get(f"http://{base}/card", headers=bearer, trust_env=False).status_code == 200
        with connect(f"ws://{base}/ws", proxy=None) as client:
            assert begin(client, token=token)["type"] == "ready"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert token not in out + err


def test_https(bundle_folder: Path, tmp_path: Path) -> None:
    made, key = certificate_of(tmp_path)
    trusted = ssl.create_default_context(cafile=made)
    with command(bundle_folder, "--certificate", str(made), "--key", str(key)) as (_, url):
        assert url.startswith("https://127.0.0.1:")
        assert httpx.get(f"{url}health", verify=trusted, trust_env=False).json()["status"] == "ok"
        with connect(f"{url.replace('https', 'wss')}ws", ssl=trusted, proxy=None) as client:
            assert begin(client)["type"] == "ready"
