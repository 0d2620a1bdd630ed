"""Write segments to files for annotators: RTTM, csv, Audacity's label tracks. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from fdan_edge.audio.channels import channel_number
from fdan_edge.errors import printable
from fdan_edge.streaming.events import Event, Segment, segments
from fdan_edge.utils.growing_file import GrowingFile, csv_row


class AnnotationFile(GrowingFile):
    """Writes each segment as it ends to FILE.part, which becomes FILE when it is closed.

    Args:
        path: of the file; its folder is created.
        line: gives a segment, of the channel that is named, as text.
        head: the text above the segments.

    Raises:
        ConfigError: `path` is a folder.
    """

    def __init__(self, path: Path, line: Callable[[Segment, str], str], head: str = "") -> None:
        super().__init__(path, head)
        self._line = line

    def __call__(self, events: Sequence[Event], channel: str = "") -> None:
        """Write the segments among these events, which are of one channel."""
        for segment in segments(events):
            self.write(self._line(segment, channel))


def rttm(path: Path, recording: str) -> AnnotationFile:
    """Open a file of NIST's Rich Transcription Time Marked: a SPEAKER line of ten fields for each segment."""
    name = _word(recording)

    def line(segment: Segment, channel: str) -> str:
        start, length = segment.start, max(segment.end - segment.start, 0.001)
        where = f"{name} {channel_number(channel)} {start:.3f} {length:.3f}"
        return f"SPEAKER {where} <NA> <NA> {_word(segment.label)} <NA> <NA>\n"

    return AnnotationFile(path, line)


def csv_table(path: Path, labels: Sequence[str], *, channels: bool = False) -> AnnotationFile:
    """Open a csv file: start, end, label, confidence and the mean probability of each label.

    Args:
        path, labels: of the file, and of the model.
        channels: a first column names the channel.
    """

    def row(channel: str, values: list[str]) -> str:
        return csv_row([channel, *values] if channels else values)

    return AnnotationFile(
        path,
        lambda segment, channel: row(channel, csv_values(segment, labels)),
        row("channel", csv_names(labels)),
    )


def csv_names(labels: Sequence[str]) -> list[str]:
    """Return the names of the columns that a segment has in a table."""
    return ["start", "end", "label", "confidence", *labels]


def csv_values(segment: Segment, labels: Sequence[str]) -> list[str]:
    """Return what a segment has in these columns: times in ms, probabilities in 1e-6."""
    probabilities = [f"{segment.probabilities[label]:.6f}" for label in labels]
    return [
        f"{segment.start:.3f}",
        f"{segment.end:.3f}",
        segment.label,
        f"{segment.confidence:.6f}",
        *probabilities,
    ]


def audacity(path: Path, *, channels: bool = False) -> AnnotationFile:
    """Open a label track of Audacity: start, end and label between tabs; `channels`: named before the label."""

    def line(segment: Segment, channel: str) -> str:
        label = f"{channel}: {segment.label}" if channels and channel else segment.label
        return f"{segment.start:.6f}\t{segment.end:.6f}\t{label}\n"

    return AnnotationFile(path, line)


def _word(text: str) -> str:
    """Return `text` without blanks, which end a field of RTTM."""
    return printable(re.sub(r"\s+", "_", text.strip())) or "-"
