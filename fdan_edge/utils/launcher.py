"""Which launcher, torchrun or one like it, started this process. Imports no torch."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path


def is_launched() -> bool:
    """Whether torchrun, or what does as it does, started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def restarts() -> int:
    """How often torchrun has started the processes again after it lost one."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def launcher_name() -> str:
    """Which torchrun started this process: the same for what it starts again, another for every other launch."""
    parent, begun = os.getppid(), ""
    with contextlib.suppress(OSError):
        begun = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[19]
    return f"{socket.gethostname()} {parent} {begun}"
