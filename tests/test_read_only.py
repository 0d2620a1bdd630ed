"""Where nothing may be written but what was asked for, as in containers: home and packages are read-only."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import TINY
from tests.test_layers import imports, sources

Shell = Callable[..., subprocess.CompletedProcess[str]]

#: Root may write wherever a mode forbids it, but not below a file.
HOME = "/dev/null/home"


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Run a command in a process of its own, which can write neither into a home nor beside any module."""
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "FDAN_EDGE_CACHE", "MPLCONFIGDIR"):
        monkeypatch.delenv(name, raising=False)
    environment = {**os.environ, "HOME": HOME, "PYTHONDONTWRITEBYTECODE": "1"}

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "fdan_edge", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    return run


def test_no_module_imports_what_compiles_when_it_is_imported() -> None:
    """librosa does, by numba, into its own folder or the home."""
    packages = {name: {module.split(".")[0] for module in imports(file)} for name, file in sources().items()}
    users = {name for name, used in packages.items() if used & {"librosa", "numba"}}
    assert users == {"benchmarks.authors_recipe"}  # as the paper's authors did it


def test_a_training_says_once_that_its_features_are_not_kept(
    shell: Shell, ravdess_tree: Path, fer_tree: Path, tmp_path: Path
) -> None:
    settings = [word for value in (*TINY, "epochs=1") for word in ("--set", value)]
    corpora = ["--speech", f"ravdess:{ravdess_tree}", "--faces", f"fer2013:{fer_tree}"]
    done = shell("train", "--out", tmp_path / "run", *corpora, *settings)
    assert done.returncode in (0, 1), done.stderr  # 1: no better than chance
    said = [line for line in done.stderr.splitlines() if HOME in line or "atplotlib" in line]
    folder = f"{HOME}/.cache/fdan-edge/features"
    assert said == [f"{folder}: features cannot be kept: Not a directory; going on without"]
    assert (tmp_path / "run" / "confusion.png").is_file()
