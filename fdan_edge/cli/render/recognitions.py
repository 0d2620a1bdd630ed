"""What `fdan-edge infer` prints: the emotion in each file, as soon as it is known."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rich.cells import cell_len

from fdan_edge.cli.render.console import json_line, out
from fdan_edge.errors import printable

if TYPE_CHECKING:
    from fdan_edge.runtime.recognition import Recognition


class Results(Protocol):
    """Something that takes what became of each file, in order."""

    def result(self, path: Path, result: Any, channel: str = "") -> None:
        """Take the result of one file, or of its channel: a `Recognition`, or with --windows its events."""

    def error(self, path: Path, text: str, channel: str = "") -> None:
        """Take why one file, or its channel, could not be used."""


class Recognitions:
    """Prints each result as soon as it is there: a row of a table, or a line of JSON.

    Args:
        as_json: lines of JSON.
        paths: of all files.
        labels: of the model.
        channels: results are of channels, and name them.
    """

    _HEAD: tuple[str, ...] = ("seconds",)  # of the columns after those that all tables have

    def __init__(
        self, as_json: bool, paths: Sequence[Path], labels: Sequence[str], *, channels: bool = False
    ) -> None:
        self.as_json, self.channels = as_json, channels
        self.base = _common_folder(paths)
        self.width = max([cell_len("file"), *(cell_len(self._short(path)) for path in paths)])
        self.emotion = max(cell_len(label) for label in ("emotion", *labels))
        self.has_head = False

    def result(self, path: Path, result: Recognition, channel: str = "") -> None:
        """Print the result of one file or channel."""
        if self.as_json:
            self._json(channel, result.to_dict())
            return
        self._head()
        percent = f"{100 * result.confidence:.0f} %"
        self._row(self._short(path), channel, result.emotion, percent, f"{result.seconds:.2f}")

    def error(self, path: Path, text: str, channel: str = "") -> None:
        """Print why one file or channel could not be used among the results, if they are JSON."""
        if self.as_json:
            self._json(channel, {"path": str(path), "error": text})

    def _json(self, channel: str, values: dict[str, Any]) -> None:
        """Print values that begin with the path as a line; the channel follows it."""
        named = {"path": values["path"], "channel": channel or None} if self.channels else {}
        json_line({**named, **values})

    def _head(self) -> None:
        """Print what stands above the first row."""
        if self.has_head:
            return
        self.has_head = True
        if self.base:
            out.print(f"in {printable(str(self.base))}", markup=False)
        self._row("file", "channel", "emotion", "confidence", *self._HEAD, style="bold")

    def _row(
        self, file: str, channel: str, emotion: str, confidence: str, *seconds: str, style: str | None = None
    ) -> None:
        cells = [_pad(file, self.width), *([_pad(channel, len("channel"))] if self.channels else [])]
        cells += [_pad(emotion, self.emotion), f"{confidence:>10}"]
        cells += [f"{value:>7}" for value in seconds]
        out.out("  ".join(cells), highlight=False, style=style)

    def _short(self, path: Path) -> str:
        return printable(os.path.relpath(path, self.base) if self.base else str(path))


def _common_folder(paths: Sequence[Path]) -> Path | None:
    """Find the folder that all paths share, which is shown once; None where that would not help."""
    folders = {path.parent for path in paths}
    if len(paths) < 2 or len({folder.is_absolute() for folder in folders}) > 1:
        return None
    common = Path(os.path.commonpath(folders))
    return common if len(common.parts) > common.is_absolute() else None


def _pad(text: str, width: int) -> str:
    """Append blanks up to `width` cells of a terminal, where some letters take two."""
    return text + " " * (width - cell_len(text))
