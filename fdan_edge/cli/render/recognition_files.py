"""What `fdan-edge infer` writes for other programs: tables as csv, embeddings for numpy."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from typing_extensions import Self

from fdan_edge.utils.files import atomic_path
from fdan_edge.utils.growing_file import csv_row

if TYPE_CHECKING:
    from fdan_edge.runtime.recognition import Recognition
    from fdan_edge.streaming.events import Event


class RecognitionTable:
    """Writes a row for each file as soon as it is known: what it is recognised as, or its error.

    Args:
        write: takes text, whole lines at once.
        labels: of the model.
    """

    def __init__(self, write: Callable[[str], object], labels: Sequence[str]) -> None:
        self._write, self._labels = write, labels
        self._names = self._columns()
        self._row("path", self._names, "error")

    def result(self, path: Path, result: Recognition) -> None:
        """Write the row of one file."""
        percents = [f"{result.probabilities[label]:.6f}" for label in self._labels]
        self._row(str(path), [result.emotion, f"{result.confidence:.6f}", *percents, f"{result.seconds:.3f}"])

    def error(self, path: Path, text: str) -> None:
        """Write the row of a file that could not be used: its path and why."""
        self._row(str(path), [""] * len(self._names), text)

    def _columns(self) -> list[str]:
        """Name the columns between path and error."""
        return ["emotion", "confidence", *self._labels, "seconds"]

    def _row(self, path: str, values: Sequence[str], error: str = "") -> None:
        self._write(csv_row([path, *values, error]))


class SegmentTable(RecognitionTable):
    """Writes a row for each segment of each file; of a file without speech one row with its path alone."""

    def result(self, path: Path, result: list[Event]) -> None:  # type: ignore[override]  # of --windows
        """Write the rows of one file."""
        from fdan_edge.streaming.annotations import csv_values
        from fdan_edge.streaming.events import segments

        rows = [csv_values(segment, self._labels) for segment in segments(result)]
        for values in rows or [[""] * len(self._names)]:
            self._row(str(path), values)

    def _columns(self) -> list[str]:
        from fdan_edge.streaming.annotations import csv_names

        return csv_names(self._labels)


class EmbeddingFile:
    """Keeps the embeddings, and writes them when all files are done; nothing is written if there are none.

    Its arrays: `paths` (n,), `embeddings` (n, d) float32, `emotions` (n,), `probabilities` (n, C) float32,
    `labels` (C,). No pickle is needed to read it.

    Args:
        path: of the .npz file; its folder is created.
        labels: of the model.

    Raises:
        OSError: the folder cannot be written to.
    """

    def __init__(self, path: Path, labels: Sequence[str]) -> None:
        self._path, self._labels = path, labels
        self._results: list[Recognition] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):  # rather now than after an hour of work
            pass

    def result(self, path: Path, result: Recognition) -> None:  # noqa: ARG002
        """Keep the embedding of one file."""
        self._results.append(result)

    def error(self, path: Path, text: str) -> None:
        """Leave out a file that could not be used."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None or not self._results:
            return
        embeddings = [result.embedding for result in self._results if result.embedding is not None]
        probabilities = [[*result.probabilities.values()] for result in self._results]
        with atomic_path(self._path) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                paths=np.array([str(result.path) for result in self._results]),
                embeddings=np.stack(embeddings),
                emotions=np.array([result.emotion for result in self._results]),
                probabilities=np.array(probabilities, np.float32),
                labels=np.array(self._labels),
            )
