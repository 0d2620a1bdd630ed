"""A server in a process of its own, and what it takes: memory, descriptors, lines in its log, time to answer."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.attack.wire import Wire, trusting

SLOWEST = 10.0  # s that an answer is waited for


@dataclass
class Served:
    """A server that runs."""

    process: subprocess.Popen[str]
    port: int
    log_file: Path  # its standard error
    token: str = ""
    tls: ssl.SSLContext | None = None  # of its clients

    @property
    def megabytes(self) -> float:
        """Its resident size."""
        return memory(self.process.pid, "VmRSS")

    @property
    def peak(self) -> float:
        """Its largest resident size in megabytes."""
        return memory(self.process.pid, "VmHWM")

    @property
    def descriptors(self) -> int:
        """How many it has open."""
        return sum(1 for _ in os.scandir(f"/proc/{self.process.pid}/fd"))

    def log(self) -> str:
        """What it has written on standard error."""
        return self.log_file.read_text(errors="replace")

    def health(self) -> float:
        """Seconds until /health answers with 200; infinite where it does not within SLOWEST."""
        begun = time.monotonic()
        try:
            with Wire(self.port, self.tls, SLOWEST) as wire:
                return time.monotonic() - begun if wire.request("/health") == 200 else math.inf
        except OSError:
            return math.inf

    def settled(self, seconds: float = 3.0) -> float:
        """Resident megabytes, once they no longer fall: what clients leave behind is freed a moment later."""
        least, end = self.megabytes, time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.1)
            least = min(least, self.megabytes)
        return least

    def end(self, seconds: float = 20.0) -> int:
        """Stop it as systemd does; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


def memory(pid: int, entry: str) -> float:
    """Return an entry of a process's status in megabytes; 0 where it has ended."""
    with contextlib.suppress(OSError):
        _, found, rest = Path(f"/proc/{pid}/status").read_text().partition(f"{entry}:")
        if found:
            return int(rest.split()[0]) / 1024
    return 0.0


@contextlib.contextmanager
def watched_health(served: Served) -> Iterator[list[float]]:
    """Ask for /health again and again while the block runs; the list has the seconds of each answer."""
    times, stop = list[float](), threading.Event()

    def ask() -> None:
        while not stop.is_set():
            times.append(served.health())
            stop.wait(0.1)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield times
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def serving(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], descriptors: int = 0
) -> Iterator[Served]:
    """Start a server; it ends with the block.

    Args:
        command: starts it, and prints a line `open http://127.0.0.1:PORT/...` and one that begins with Ctrl-C.
        folder: takes its log.
        environment: variables beside those of this process.
        descriptors: hard limit of them; 0: that of this process.

    Raises:
        RuntimeError: it does not start.
    """
    handle = folder / f"server-{time.monotonic_ns()}.log"
    variables = {name: value for name, value in os.environ.items() if name != "FDAN_EDGE_TOKEN"}
    variables |= {"OMP_NUM_THREADS": "1", **environment}
    limit = ["prlimit", f"--nofile={descriptors}:{descriptors}"] if descriptors else []
    with handle.open("w") as log:
        process = subprocess.Popen(
            [*limit, *command],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=variables,
        )
    try:
        yield Served(
            process,
            _port(process, handle),
            handle,
            environment.get("FDAN_EDGE_TOKEN", ""),
            trusting() if "--certificate" in command else None,
        )
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def _port(process: subprocess.Popen[str], log: Path) -> int:
    port = 0
    for line in process.stdout or ():
        if line.startswith("open "):
            port = int(line.split("://")[1].split("/")[0].rpartition(":")[2])
        if line.startswith("Ctrl-C") and port:
            return port
    raise RuntimeError(f"the server does not start: {log.read_text(errors='replace')[-200:]}")
