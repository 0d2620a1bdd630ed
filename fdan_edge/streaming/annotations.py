"""Segments in files for annotators: RTTM, csv, Audacity's label tracks. Imports no torch."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from fdan_edge.errors import ConfigError, printable
from fdan_edge.streaming.events import Event, Segment, segments


class AnnotationFile:
    """A file of segments, each written when it ends: to FILE.part, which becomes FILE when it is closed.

    Args:
        path: of the file; its folder is made.
        line: a segment as text.
        head: what stands above the segments.

    Raises:
        ConfigError: `path` is a folder.
    """

    def __init__(self, path: Path, line: Callable[[Segment], str], head: str = "") -> None:
        if path.is_dir():
            raise ConfigError(f"{path}: is a folder; name a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = path.exists() and not path.is_file()  # a pipe or a device stays what it is
        self._path, self._part = path, path if whole else part_path(path)
        self._line = line
        self._file = self._part.open("w", encoding="utf-8", newline="")
        self._file.write(head)
        self._file.flush()

    def __call__(self, events: Sequence[Event]) -> None:
        """Write the segments among these."""
        for segment in segments(events):
            self._file.write(self._line(segment))
            self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if kind is None and self._part != self._path:
            self._part.replace(self._path)


def part_path(path: Path) -> Path:
    """Where a file is written until it is whole."""
    return path.with_name(f"{path.name}.part")


def rttm(path: Path, recording: str) -> AnnotationFile:
    """NIST's Rich Transcription Time Marked: a SPEAKER line of ten fields for each segment, its label as name."""
    name = _word(recording)

    def line(one: Segment) -> str:
        length = max(one.end - one.start, 0.001)
        return f"SPEAKER {name} 1 {one.start:.3f} {length:.3f} <NA> <NA> {_word(one.label)} <NA> <NA>\n"

    return AnnotationFile(path, line)


def csv_table(path: Path, labels: Sequence[str]) -> AnnotationFile:
    """csv: start, end, label, confidence and the mean probability of each label."""

    def line(one: Segment) -> str:
        probabilities = [f"{one.probabilities[label]:.6f}" for label in labels]
        return _row(f"{one.start:.3f}", f"{one.end:.3f}", one.label, f"{one.confidence:.6f}", *probabilities)

    return AnnotationFile(path, line, _row("start", "end", "label", "confidence", *labels))


def audacity(path: Path) -> AnnotationFile:
    """Audacity's label track: start, end and label between tabs."""
    return AnnotationFile(path, lambda one: f"{one.start:.6f}\t{one.end:.6f}\t{one.label}\n")


def _row(*values: str) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def _word(text: str) -> str:
    """`text` without blanks, which end a field of RTTM."""
    return printable(re.sub(r"\s+", "_", text.strip())) or "-"
