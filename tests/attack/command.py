"""Real commands in processes of their own, within limits of time and memory, and what came of them.

Time is that of the processor: others that keep a machine busy change no figure. A command that waits is ended too.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.attack.attack import check
from tests.attack.served import memory

SECONDS = 60.0  # of processor time, that a command may take for an answer
_PATIENCE = 5  # times as many seconds may pass
_TICK = os.sysconf("SC_CLK_TCK")
_PROTOCOLS = ("tcp", "tcp6", "udp", "udp6")


@dataclass(frozen=True)
class Done:
    """A command that has ended, or was ended after its time."""

    code: int | None  # negative: the signal that ended it; None: it took too long
    out: str
    err: str
    seconds: float  # of processor time
    megabytes: float  # largest resident size
    sockets: frozenset[str] = frozenset()  # of the internet, that it had at any time: udp and the like

    @property
    def refused(self) -> bool:
        """Whether it said in one line that it cannot do it."""
        return self.code == 2 and not self.problem and self._last.startswith("error: ")

    @property
    def _last(self) -> str:
        return self.err.rstrip("\n").rpartition("\n")[2]

    @property
    def problem(self) -> str:
        """What no command may do, whatever it is given; "" where it did not."""
        text = self.out + self.err
        if self.code is None:
            return f"no answer, after {self.seconds:.0f} s of the processor"
        if "Traceback (most" in text:
            return f"traceback: {text.strip().splitlines()[-1][:80]}"
        if self.code < 0 or self.code > 2:
            return f"exit code {self.code}"
        if any(not c.isprintable() and c not in "\n\t" for c in text):
            return "control characters"
        if self.code == 2 and not self._last:
            return "no line that says why"
        return f"sockets: {', '.join(sorted(self.sockets))}" if self.sockets else ""

    @property
    def measured(self) -> str:
        """Time and memory."""
        return f"{self.seconds:.1f} s, {self.megabytes:.0f} MB"


def run_command(
    words: Sequence[str | Path],
    seconds: float = SECONDS,
    environment: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
) -> Done:
    """Run `fdan-edge WORDS`, by the program `prefix` if any; it is ended after `seconds` of the processor."""
    command = [*prefix, sys.executable, "-m", "fdan_edge", *map(str, words)]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80", **(environment or {})}
    with (
        tempfile.TemporaryFile("w+", errors="replace") as out,
        tempfile.TemporaryFile("w+", errors="replace") as err,
    ):
        begun = time.monotonic()
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=variables) as process:
            most, took, sockets = 0.0, 0.0, set[str]()
            while process.poll() is None and took < seconds and time.monotonic() < begun + _PATIENCE * seconds:
                took = max(took, processor_seconds(process.pid))
                most = max(most, memory(process.pid, "VmHWM"))
                sockets |= internet_sockets(process.pid)
                time.sleep(0.02)
            code = process.poll()
            process.kill()
        said, errors = _content(out), _content(err)
    return Done(code, said, errors, took, most, frozenset(sockets))


def processor_seconds(pid: int) -> float:
    """Return how long a process, and those that it has started and that have ended, kept processors busy."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / _TICK
    return 0.0


def internet_sockets(pid: int) -> set[str]:
    """Return the protocols of which a process has sockets: tcp, tcp6, udp, udp6."""
    inodes = set()
    with contextlib.suppress(OSError):
        for path in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                kind, _, number = str(path.readlink()).partition(":[")
                inodes |= {number.rstrip("]")} if kind == "socket" else set()
    return {name for name in _PROTOCOLS if inodes & _inodes(name)} if inodes else set()


def _inodes(protocol: str) -> set[str]:
    """Return the inodes of all sockets of a protocol that are bound or connected."""
    with contextlib.suppress(OSError):
        return {line.split()[9] for line in Path(f"/proc/net/{protocol}").read_text().splitlines()[1:]}
    return set()


def _content(file: IO[str]) -> str:
    file.seek(0)
    return file.read(1_000_000)


def survived(done: Sequence[Done], seconds: float, megabytes: float) -> str:
    """Return what commands took that may do what they can: none did what no command may.

    Raises:
        Failed: one did, or took more.
    """
    wrong = [one.problem for one in done if one.problem]
    slowest, most = max(one.seconds for one in done), max(one.megabytes for one in done)
    words = f"{len(done)} tries, {wrong or 'no problem'}; at most {slowest:.1f} s, {most:.0f} MB"
    return check(not wrong and slowest <= seconds and most <= megabytes, words)
