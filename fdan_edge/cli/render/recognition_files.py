"""What `fdan-edge infer` writes for other programs: tables as csv, embeddings for numpy."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import Self

from fdan_edge.utils.files import atomic_path
from fdan_edge.utils.growing_file import csv_path, csv_row

if TYPE_CHECKING:
    from fdan_edge.runtime.recognition import Recognition
    from fdan_edge.streaming.events import Event


class RecognitionTable:
    """Writes a row for each file or channel as soon as it is known: what it is recognised as, or its error.

    Args:
        write: takes text, whole lines at once.
        labels: of the model.
        channels: rows are of channels, and have a column that names them.
    """

    def __init__(self, write: Callable[[str], object], labels: Sequence[str], *, channels: bool = False) -> None:
        self._write, self._labels, self._channels = write, labels, channels
        self._names = self._columns()
        self._row(Path("path"), "channel", self._names, "error")

    def result(self, path: Path, result: Recognition, channel: str = "") -> None:
        """Write the row of one file or channel."""
        percents = [f"{result.probabilities[label]:.6f}" for label in self._labels]
        values = [result.emotion, f"{result.confidence:.6f}", *percents, f"{result.seconds:.3f}"]
        self._row(path, channel, values)

    def error(self, path: Path, text: str, channel: str = "") -> None:
        """Write the row of what could not be used: its path, its channel and why."""
        self._row(path, channel, [""] * len(self._names), text)

    def _columns(self) -> list[str]:
        """Name the columns between path and error."""
        return ["emotion", "confidence", *self._labels, "seconds"]

    def _row(self, path: Path, channel: str, values: Sequence[str], error: str = "") -> None:
        self._write(csv_row([csv_path(path), *([channel] if self._channels else []), *values, error]))


class SegmentTable(RecognitionTable):
    """Writes a row for each segment of each file; of one without speech a row with its path alone."""

    def result(self, path: Path, result: list[Event], channel: str = "") -> None:  # type: ignore[override]  # of --windows
        """Write the rows of one file or channel."""
        from fdan_edge.streaming.annotations import csv_values
        from fdan_edge.streaming.events import segments

        rows = [csv_values(segment, self._labels) for segment in segments(result)]
        for values in rows or [[""] * len(self._names)]:
            self._row(path, channel, values)

    def _columns(self) -> list[str]:
        from fdan_edge.streaming.annotations import csv_names

        return csv_names(self._labels)


class EmbeddingFile:
    """Keeps the embeddings, and writes them when all files are done; nothing is written if there are none.

    Its arrays: `paths` (n,), `embeddings` (n, d) float32, `emotions` (n,), `probabilities` (n, C) float32,
    `labels` (C,), and `channels` (n,) where they are of channels. No pickle is needed to read it.

    Args:
        path: of the .npz file; its folder is created.
        labels: of the model.
        channels: the embeddings are of channels, and the file names them.

    Raises:
        OSError: the folder cannot be written to.
    """

    def __init__(self, path: Path, labels: Sequence[str], *, channels: bool = False) -> None:
        self._path, self._labels = path, labels
        self._results: list[Recognition] = []
        self._channels: list[str] | None = [] if channels else None
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):  # rather now than after an hour of work
            pass

    def result(self, path: Path, result: Recognition, channel: str = "") -> None:  # noqa: ARG002
        """Keep the embedding of one file or channel."""
        self._results.append(result)
        if self._channels is not None:
            self._channels.append(channel)

    def error(self, path: Path, text: str, channel: str = "") -> None:
        """Leave out what could not be used."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None or not self._results:
            return
        embeddings = [result.embedding for result in self._results if result.embedding is not None]
        probabilities = [[*result.probabilities.values()] for result in self._results]
        named: dict[str, Any] = {} if self._channels is None else {"channels": np.array(self._channels)}
        with atomic_path(self._path) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                paths=np.array([str(result.path) for result in self._results]),
                embeddings=np.stack(embeddings),
                emotions=np.array([result.emotion for result in self._results]),
                probabilities=np.array(probabilities, np.float32),
                labels=np.array(self._labels),
                **named,
            )
