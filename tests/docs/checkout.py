"""A copy of the source tree in which the pages for contributors are followed, step by step."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.docs.corpora import Corpora
from tests.docs.pages import ROOT, Block
from tests.docs.parsing import programs

#: Programs that these pages may run; others need a comment that says why they are not run.
ALLOWED = ("fdan-edge", "python", "ruff", "mypy")
_LEFT_OUT = shutil.ignore_patterns("*.so")  # what is compiled of Python is as old as its source, and used


class Checkout:
    """A copy of the package and of its tests; nothing in it is shared with the original but the compiled ops.

    Args:
        folder: where it goes.
        corpora: what the `/data/...` of the pages means.
    """

    def __init__(self, folder: Path, corpora: Corpora) -> None:
        self.folder, self._corpora = folder, corpora
        for name in ("fdan_edge", "tests", "docs"):
            shutil.copytree(ROOT / name, folder / name, ignore=_LEFT_OUT)  # what a link points at is copied too
        for library in (ROOT / "fdan_edge").glob("*.so"):
            (folder / "fdan_edge" / library.name).symlink_to(library)
        shutil.copy(ROOT / "pyproject.toml", folder)

    def run(self, block: Block) -> None:
        """Write a block's file, change a file as its diff says, or run its commands.

        Raises:
            AssertionError: a diff does not fit its file, or a command fails.
        """
        if block.language == "diff":
            path = self.folder / block.title
            assert path.is_file(), f"{block.where}: there is no {block.title}"
            path.write_text(_applied(block, path.read_text(encoding="utf-8")), encoding="utf-8")
        elif block.title:
            path = self.folder / block.title
            assert not path.exists(), f"{block.where}: {block.title} is there already; show a diff"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text + "\n", encoding="utf-8")
        else:
            assert block.language == "console", f"{block.where}: a block without a title is not run here"
            for command in block.commands:
                self._command(command, block.where)

    def check_style(self, block: Block) -> None:
        """Check the Python file that a block shows as `make lint` does, but for its types."""
        for arguments in (["check"], ["format", "--check"]):
            command = [sys.executable, "-m", "ruff", *arguments, "--quiet", "--no-cache", block.title]
            run = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
            assert run.returncode == 0, f"{block.where}: ruff {arguments[0]}:\n{run.stdout}{run.stderr}"

    def _command(self, command: str, where: str) -> None:
        for words in programs(command):
            assert words[0] in ALLOWED, f"{where}: {words[0]}: not run here; say why: <!-- not run: reason -->"
        tools = Path(sys.executable).parent
        environment = {**os.environ, "PYTHONPATH": str(self.folder)}
        environment["PATH"] = f"{tools}{os.pathsep}{os.environ['PATH']}"
        run = subprocess.run(
            ["bash", "-o", "pipefail", "-c", self._corpora.translate(command)],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, (
            f"{where}: exit code {run.returncode} of: {command}\n{run.stdout}\n{run.stderr}"
        )


def _applied(block: Block, text: str) -> str:
    """The text with each run of lines that the diff shows replaced; lines of dots stand for what is left out."""
    for part in _parts(block.text):
        before = "\n".join(line[1:] for line in part if not line.startswith("+"))
        after = "\n".join(line[1:] for line in part if not line.startswith("-"))
        assert text.count(before) == 1, (
            f"{block.where}: {block.title} has these lines {text.count(before)} times:\n{before}"
        )
        text = text.replace(before, after)
    return text


def _parts(diff: str) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for line in diff.splitlines():
        if line.strip() == "...":
            parts.append([])
        else:
            parts[-1].append(line or " ")
    return [part for part in parts if part]
