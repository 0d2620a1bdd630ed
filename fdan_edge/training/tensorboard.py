"""Curves of a training for TensorBoard: `tensorboard --logdir RUN` shows them while it goes on.

PyTorch's SummaryWriter writes in a thread, which prints its traceback when the disk is full. What it writes with
is called here directly: an event of ten values takes 0.1 ms, and is in the file when the call returns.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from typing_extensions import Self

from fdan_edge.errors import INSTALL_TRAINING, one_line

log = logging.getLogger(__name__)

FOLDER = "tensorboard"


class TensorBoardWriter:
    """Writes the curves of one session; without a file nothing is written.

    Whatever happens to its file, it does not end the training: that is said once, and the rest is left out.
    """

    def __init__(self, file: _EventFile | None) -> None:
        self._file = file

    def step(self, step: int, values: Mapping[str, float]) -> None:
        """Write what is known after a step, counted from 1 over the whole training."""
        self._write(step, {f"step/{name}": value for name, value in values.items()})

    def epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        """Write what is known after an epoch, counted from 1; to be called when its state is on disk.

        Else a training that is taken up before it would show the epoch twice.
        """
        self._write(epoch, {f"epoch/{name}": value for name, value in values.items()})

    def close(self) -> None:
        """Close the file; nothing more is written."""
        file, self._file = self._file, None
        if file:
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, step: int, values: Mapping[str, float]) -> None:
        if self._file:
            try:
                self._file.scalars(step, values)
            except OSError as error:
                _report(error)
                self.close()


def open_writer(folder: Path, *, first_step: int) -> TensorBoardWriter:
    """Open a new file of events in a run folder's folder `tensorboard`.

    Args:
        first_step: the number of the next step, from 1. What an earlier session showed from there on, because it
            went further than what it saved, is not shown any more.
    """
    try:
        return TensorBoardWriter(_EventFile(folder / FOLDER, first_step))
    except Exception as error:  # its packages fail in many ways, above all with another protobuf than their own
        _report(error)
        return TensorBoardWriter(None)


class _EventFile:
    """One file of events."""

    def __init__(self, folder: Path, first_step: int) -> None:
        # Here and not above, because it takes 0.2 s; without types of its own.
        from torch.utils.tensorboard import RecordWriter

        self._events: Any = importlib.import_module("tensorboard.compat.proto.event_pb2")
        self._summaries: Any = importlib.import_module("tensorboard.compat.proto.summary_pb2")
        folder.mkdir(parents=True, exist_ok=True)
        now = time.time_ns()
        # TensorBoard reads a folder's files in the order of their names.
        self._file = (folder / f"events.out.tfevents.{now // 10**9:010}.{now % 10**9:09}").open("xb")
        self._records = RecordWriter(self._file)
        try:
            start = self._events.SessionLog(status=self._events.SessionLog.START)
            self._event(0, file_version="brain.Event:2")
            self._event(first_step, session_log=start)
        except Exception:
            self.close()
            raise

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        value = self._summaries.Summary.Value
        points = [value(tag=tag, simple_value=number) for tag, number in values.items()]
        self._event(step, summary=self._summaries.Summary(value=points))

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what could not be written is tried again by close
            self._file.close()

    def _event(self, step: int, **what: Any) -> None:
        event = self._events.Event(wall_time=time.time(), step=step, **what)
        self._records.write(event.SerializeToString())
        self._file.flush()  # so that a training that is killed has shown what it did


def _report(error: Exception) -> None:
    if isinstance(error, ModuleNotFoundError):
        log.warning(
            f"no curves for TensorBoard: {error.name} is not installed: {INSTALL_TRAINING}; training goes on"
        )
    else:
        reason = getattr(error, "strerror", None) or one_line(error)
        log.warning(f"no further curves for TensorBoard: {reason}; training goes on")
