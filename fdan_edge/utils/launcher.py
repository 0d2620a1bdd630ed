"""Find out which launcher, torchrun or one like it, started this process. Imports no torch."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path


def is_launched() -> bool:
    """Return whether torchrun, or a launcher like it, started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def restarts() -> int:
    """Return how often torchrun has restarted the processes after it lost one."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def launcher_name() -> str:
    """Return the name of the torchrun that started this process: the same for its restarts, another per launch."""
    parent, begun = os.getppid(), ""
    with contextlib.suppress(OSError):
        begun = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[19]
    return f"{socket.gethostname()} {parent} {begun}"
