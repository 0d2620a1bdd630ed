"""Where inputs are written before they are read: in memory, where the system has such a folder."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

#: Folder in which each process makes its own; whoever ends processes by force sets it, and removes it.
top: Path | None = None


@functools.cache
def new_folder(name: str) -> Path:
    """Make a folder that is removed when this process ends; the same for a name."""
    shared = Path("/dev/shm")
    folder = Path(
        tempfile.mkdtemp(prefix=f"fdan-edge-fuzz-{name}-", dir=top or (shared if shared.is_dir() else None))
    )
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
