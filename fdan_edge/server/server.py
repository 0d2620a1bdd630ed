"""Run the application: model, socket, certificate, uvicorn, and a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import resource
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn

from fdan_edge.errors import BundleError, ConfigError, one_line
from fdan_edge.runtime.bundle import Bundle
from fdan_edge.runtime.log_mel import FrameRunner
from fdan_edge.runtime.onnx_session import CPU
from fdan_edge.runtime.runner import Runner
from fdan_edge.server import connection
from fdan_edge.server.access import Access, is_loopback
from fdan_edge.server.guests import MALFORMED, Guest
from fdan_edge.server.hub import Hub
from fdan_edge.server.limits import Limits
from fdan_edge.server.listener import Listener
from fdan_edge.server.log_limits import limit_log
from fdan_edge.server.routes import make_app
from fdan_edge.server.uvicorn_http import BoundedHttp
from fdan_edge.server.uvicorn_websocket import BoundedWebSocket
from fdan_edge.streaming.session import Stream
from fdan_edge.streaming.settings import StreamSettings
from fdan_edge.utils.memory import give_back

_BACKLOG = 128  # connections that wait to be accepted; in a longer queue everyone waits for long
_DESCRIPTORS = 65_536  # where there is no limit
_OWN_DESCRIPTORS = 64  # the model, its threads, the standard streams, some to spare
_FEWEST_GUESTS = 16
_LOOPBACK = ["127.0.0.1", "::1"]  # proxies here say whom they speak for


@dataclass(frozen=True)
class Address:
    """The address that a server listens on."""

    host: str = "127.0.0.1"
    port: int = 8765  # 0: any that is free
    certificate: Path | None = None  # PEM, with `key`
    key: Path | None = None

    def url(self, port: int) -> str:
        """Return the URL that a browser opens."""
        host = _address() if self.host in ("0.0.0.0", "::") else self.host
        name = f"[{host}]" if ":" in host else host
        return f"{'https' if self.certificate else 'http'}://{name}:{port}/"


def make_hub(
    target: Path, runner: Runner | FrameRunner, settings: StreamSettings, access: Access, limits: Limits
) -> Hub:
    """Create what clients share; run the model once, so that the first client need not wait."""
    stream = Stream(runner, settings)
    _warm(runner, settings)
    spec = runner.spec
    about = {
        "model": str(spec.info.get("backbone") or target.name),
        "runtime": runner.name,
        "labels": list(spec.labels),
        "rate": spec.sample_rate,
        "window": spec.window / spec.sample_rate,
        "hop": stream.hop,
        "vad": stream.vad_name,
        "unknown_below": stream.unknown_below,
    }
    return Hub(lambda: Stream(runner, settings), about, _card(target, about), _workers(runner), access, limits)


def make_server(hub: Hub, address: Address) -> Server:
    """Create a server; its `run([socket])` takes a socket of `open_socket`, until SIGINT or SIGTERM."""
    # Threads wait for each other in steps of this, 5 ms by default, and the model is short work: with 50 clients,
    # in two runs of 15 s after each other, a result took 174 ms (median), and 26 so.
    sys.setswitchinterval(1e-4)
    _share_descriptors(hub)
    for name in ("uvicorn.error", connection.__name__):
        limit_log(name, lambda: hub.metrics.connection_cut(MALFORMED))
    config = uvicorn.Config(
        make_app(hub),
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        proxy_headers=True,
        forwarded_allow_ips=_LOOPBACK,
        server_header=False,
        ssl_certfile=address.certificate,
        ssl_keyfile=address.key,
        timeout_graceful_shutdown=5,
        http=BoundedHttp,
        ws=BoundedWebSocket,
        # A message somewhat too large is closed by us, with our reason; a huge one is not even received.
        ws_max_size=2 * hub.limits.message,
        ws_per_message_deflate=False,
    )
    return Server(config, hub)


class Server(uvicorn.Server):
    """Runs uvicorn, but bounds connections, tells clients of the end, and ends without an error at a signal."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub
        self._listeners: list[Listener] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections on sockets; uvicorn's way to do it knows no deadline for TLS, and no guests."""
        await self.lifespan.startup()
        hub, tls = self._hub, self.config.ssl
        self._listeners = [
            Listener(each, self._protocol, hub.guests, tls, hub.limits.tls) for each in sockets or []
        ]
        self.servers = []  # of uvicorn's own, to be closed
        self.started = True

    def _protocol(self, guest: Guest) -> BoundedHttp:
        state = {**self.lifespan.state, "guest": guest, "guests": self._hub.guests}
        return BoundedHttp(config=self.config, server_state=self.server_state, app_state=state)

    async def on_tick(self, counter: int) -> bool:
        """Do as uvicorn does, ten times a second; cut off guests whose time is over, give back clients' memory."""
        self._hub.guests.sweep()
        if counter % 10 == 0 and self._hub.has_freed:
            self._hub.has_freed = False
            asyncio.get_running_loop().run_in_executor(None, give_back)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, close all clients, then do as uvicorn does."""
        for listener in self._listeners:
            await listener.close()
        await self._hub.stop()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do as uvicorn does, without raising the signals again afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _share_descriptors(hub: Hub) -> None:
    """Raise the limit of open files to the hard one, as the usual 1024 is soon reached; keep guests within it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS has no hard limit, and takes none for the soft one.
    resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS if most == resource.RLIM_INFINITY else most, most))
    if most != resource.RLIM_INFINITY:
        room = most - hub.limits.clients - _OWN_DESCRIPTORS
        hub.guests.limit = min(hub.guests.limit, max(_FEWEST_GUESTS, room))
    # Where even these are used up, asyncio would write a traceback for each attempt to take one more.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)


def open_socket(address: Address) -> socket.socket:
    """Open a socket that listens.

    Raises:
        ConfigError: there is no such address here, its port is in use or not allowed, or certificate and key do
            not fit.
    """
    _check_certificate(address)
    try:
        addresses = socket.getaddrinfo(
            address.host.strip("[]"), address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError):
        raise ConfigError(f"--host {address.host!r}: no such name or address") from None
    family, kind, protocol, _, socket_address = addresses[0]
    listening = socket.socket(family, kind, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(socket_address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port {address.port} of {address.host} is in use; --port takes another, 0 any that is free"
            ) from None
        raise ConfigError(f"{address.host}, port {address.port}: {error.strerror}") from None
    return listening


def startup_lines(hub: Hub, address: Address, port: int, *, new_token: bool) -> list[str]:
    """Write the lines for the person who starts the server."""
    about = hub.about
    url = address.url(port)
    if hub.access.token:
        url += f"#token={hub.access.token if new_token else 'YOUR-TOKEN'}"
    lines = [
        f"{about['model']}, {about['runtime']}: {', '.join(about['labels'])}",
        f"every {about['hop']:g} s, voice activity by {about['vad']}, at most {hub.limits.clients} clients",
        f"open {url}",
    ]
    if not is_loopback(address.host) and not address.certificate:
        lines.append(
            "browsers open microphones for https and localhost only: give --certificate and --key, or people can "
            "try files only; what they send is not encrypted"
        )
    return [*lines, "Ctrl-C ends it"]


def _check_certificate(address: Address) -> None:
    if not address.certificate and not address.key:
        return
    if not address.certificate or not address.key:
        raise ConfigError("--certificate and --key go together")
    for path in (address.certificate, address.key):
        if not path.is_file():
            raise ConfigError(f"{path}: no such file")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(address.certificate, address.key)
    except OSError as error:
        raise ConfigError(
            f"{address.certificate}, {address.key}: not a certificate and its key: {one_line(error)}"
        ) from None


def _workers(runner: Runner | FrameRunner) -> int:
    """Return how many threads may run the model at once; all but ONNX Runtime's CPU have one set of buffers."""
    return len(os.sched_getaffinity(0)) if getattr(runner, "provider", "") == CPU else 1


def _warm(runner: Runner | FrameRunner, settings: StreamSettings) -> None:
    spec = runner.spec
    noise = np.random.default_rng(0).normal(0, 0.01, spec.window + spec.sample_rate).astype(np.float32)
    Stream(runner, replace(settings, vad="none")).push(noise)


def _card(target: Path, about: dict[str, Any]) -> str:
    """Return README.md of a bundle; a few words where there is none, or one that was changed."""
    if target.is_dir():
        with contextlib.suppress(BundleError, OSError):
            return Bundle.open(target).read("README.md").decode(errors="replace")
    labels = ", ".join(about["labels"])
    text = f"It tells {labels} from {about['window']:g} s of sound."
    return f"# {about['model']}\n\nThis file carries no card. {text}\n"


def _address() -> str:
    """Return this machine's address towards others, found without sending anything; else its name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # of a net that is nobody's
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
