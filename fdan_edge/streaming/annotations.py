"""Write segments to files for annotators: RTTM, csv, Audacity's label tracks. Imports no torch."""

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
    """Writes each segment as it ends to FILE.part, which becomes FILE when it is closed.

    Args:
        path: of the file; its folder is created.
        line: gives a segment as text.
        head: the text above the segments.

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
        """Write the segments among these events."""
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
    """Return the path that a file has until it is complete."""
    return path.with_name(f"{path.name}.part")


def rttm(path: Path, recording: str) -> AnnotationFile:
    """Open a file of NIST's Rich Transcription Time Marked: a SPEAKER line of ten fields for each segment."""
    name = _word(recording)

    def line(segment: Segment) -> str:
        length = max(segment.end - segment.start, 0.001)
        return f"SPEAKER {name} 1 {segment.start:.3f} {length:.3f} <NA> <NA> {_word(segment.label)} <NA> <NA>\n"

    return AnnotationFile(path, line)


def csv_table(path: Path, labels: Sequence[str]) -> AnnotationFile:
    """Open a csv file: start, end, label, confidence and the mean probability of each label."""

    def line(segment: Segment) -> str:
        probabilities = [f"{segment.probabilities[label]:.6f}" for label in labels]
        return _row(
            f"{segment.start:.3f}",
            f"{segment.end:.3f}",
            segment.label,
            f"{segment.confidence:.6f}",
            *probabilities,
        )

    return AnnotationFile(path, line, _row("start", "end", "label", "confidence", *labels))


def audacity(path: Path) -> AnnotationFile:
    """Open a label track of Audacity: start, end and label between tabs."""
    return AnnotationFile(path, lambda segment: f"{segment.start:.6f}\t{segment.end:.6f}\t{segment.label}\n")


def _row(*values: str) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def _word(text: str) -> str:
    """Return `text` without blanks, which end a field of RTTM."""
    return printable(re.sub(r"\s+", "_", text.strip())) or "-"
