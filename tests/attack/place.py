"""Where attacks run: a folder, a bundle, a recording, and the servers that they share."""

from __future__ import annotations

import atexit
import contextlib
import functools
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import soundfile
from numpy.typing import NDArray

from fdan_edge.runtime.bundle import MODEL, write_manifest
from fdan_edge.runtime.log_mel import FRONT_END_KEY, FrontEnd
from fdan_edge.runtime.manifest import STREAM_SUFFIX
from fdan_edge.runtime.model_spec import METADATA_KEY, ModelSpec
from fdan_edge.runtime.onnx_stream import write_front_end
from tests.attack.served import Served, serving
from tests.helpers import bundles, tiny_models

TOKEN = "a-token-of-the-attacks"
RATE = 16_000  # Hz
SPEC = ModelSpec(("angry", "sad"), RATE, RATE, RATE // 2, 0.0)  # windows of a second


_ONCE = threading.RLock()
_Made = TypeVar("_Made")


def once(make: Callable[[], _Made]) -> Callable[[], _Made]:
    """Let a function run once; who asks meanwhile waits for it."""
    kept = functools.cache(make)

    @functools.wraps(make)
    def get() -> _Made:
        with _ONCE:
            return kept()

    return get


class Impossible(Exception):  # noqa: N818 (not an error of the attack)
    """Raised by an attack that this machine cannot run; the message says why."""


class Servers:
    """Servers that attacks share, started when they are first asked for."""

    def __init__(self) -> None:
        self._stack, self._running, self._lock = contextlib.ExitStack(), dict[str, Served](), threading.Lock()

    def get(self, name: str, start: Callable[[], contextlib.AbstractContextManager[Served]]) -> Served:
        """Return the server of a name: a new one where there is none, or it has ended."""
        with self._lock:
            served = self._running.get(name)
            if served is None or served.process.poll() is not None:
                served = self._running[name] = self._stack.enter_context(start())
            return served

    def close(self) -> None:
        """End all."""
        self._stack.close()


@dataclass(frozen=True)
class Place:
    """What an attack is given."""

    folder: Path  # its own
    seconds: float = 5.0  # that a flood lasts
    clients: int = 1000  # that come and go
    server: tuple[str, ...] = (
        sys.executable,
        "-m",
        "fdan_edge",
        "serve",
    )  # the tests of the attacks give a weak one
    servers: Servers = field(default_factory=Servers)

    def for_attack(self, name: str) -> Place:
        """Return the same with a new folder below this one."""
        return replace(self, folder=Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder)))

    def shared(self, *, token: bool = False, tls: bool = False) -> Served:
        """Return a server that other attacks use too."""
        return self.servers.get(f"{token} {tls}", lambda: self.serve(token=token, tls=tls))

    def serve(
        self,
        *options: str,
        token: bool = False,
        tls: bool = False,
        descriptors: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> contextlib.AbstractContextManager[Served]:
        """Start a server of the attack's own.

        Args:
            options: of `fdan-edge serve`.
            token: whether it asks for one.
            tls: whether it speaks https.
            descriptors: hard limit of them; 0: that of this process.
            environment: variables beside those of this process.
        """
        if tls:
            made, key = certificate()
            options = (*options, "--certificate", str(made), "--key", str(key))
        command = [*self.server, str(bundle()), "--port", "0", *options]
        variables = {**(environment or {}), **({"FDAN_EDGE_TOKEN": TOKEN} if token else {})}
        return serving(command, scratch(), variables, descriptors)


@once
def scratch() -> Path:
    """Return a folder of this process that ends with it."""
    folder = tempfile.TemporaryDirectory(prefix="fdan-edge-attack-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


@once
def bundle() -> Path:
    """Return a small sound bundle; read only."""
    return write_bundle(scratch() / "bundle")


@once
def recording() -> Path:
    """Return a recording of a second and a half of noise; read only."""
    path = scratch() / "recording.wav"
    soundfile.write(path, noise(1.5), RATE)
    return path


@once
def certificate() -> tuple[Path, Path]:
    """Return a certificate that nobody signed, and its key.

    Raises:
        Impossible: openssl is not installed.
    """
    made, key = scratch() / "certificate.pem", scratch() / "key.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    try:
        subprocess.run([*words, "-out", made, "-keyout", key], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        raise Impossible("no openssl") from None
    return made, key


def noise(seconds: float, rate: int = RATE) -> NDArray[np.float32]:
    """Return noise, mono."""
    return np.random.default_rng(0).normal(0, 0.1, round(seconds * rate)).astype(np.float32)


def write_bundle(folder: Path, graph: bytes | None = None) -> Path:
    """Write a bundle with a graph of one's own, whose manifest fits it; without one, a sound bundle."""
    folder.mkdir(parents=True)
    model = tiny_models.model(folder / MODEL, {METADATA_KEY: SPEC.to_json()}, window=SPEC.window)
    stream = None
    if graph is not None:
        model.write_bytes(graph)
    else:
        stream = _write_stream(folder / f"model{STREAM_SUFFIX}")
    write_manifest(folder, bundles.manifest(bundles.artifact(model, stream=stream), spec=SPEC))
    return folder


def _write_stream(path: Path) -> Path:
    """Write the graph that live streams run: of two bands, frames of 32 ms, every 10 ms."""
    frames = 1 + SPEC.window // 160
    filters = np.full((2, 257), 1 / 257, np.float32)
    front_end = FrontEnd(512, 160, frames, filters)
    metadata = {METADATA_KEY: SPEC.to_json(), FRONT_END_KEY: write_front_end(front_end)}
    return tiny_models.stream_model(path, metadata, frames=frames)
