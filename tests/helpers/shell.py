"""Commands in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any


def shell(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    command = [sys.executable, "-m", "fdan_edge", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)
