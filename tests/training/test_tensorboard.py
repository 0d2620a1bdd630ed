"""TensorBoard's logs as TensorBoard reads them; and nothing that happens to them ends a training."""

from __future__ import annotations

import importlib
import math
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("tensorboard")

from fdan_edge.training.tensorboard import FOLDER, open_writer
from tests.helpers.disks import room


def points(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Tag -> (step, value) of what TensorBoard would draw."""
    reader: Any = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(folder / FOLDER))
    events.Reload()
    return {tag: [(e.step, round(e.value, 5)) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_steps_and_epochs(tmp_path: Path) -> None:
    threads = threading.active_count()
    with open_writer(tmp_path, first_step=1) as writer:
        for step in (1, 2, 3):
            writer.step(step, {"loss": 1 / step, "voice": step})
            assert len(points(tmp_path)["step/loss"]) == step  # at once, not after two minutes
        writer.epoch(1, {"val_uar": 0.5})
        assert threading.active_count() == threads
    writer.step(4, {"loss": 1})
    writer.close()
    assert points(tmp_path) == {
        "step/loss": [(1, 1.0), (2, 0.5), (3, 0.33333)],
        "step/voice": [(1, 1.0), (2, 2.0), (3, 3.0)],
        "epoch/val_uar": [(1, 0.5)],
    }


def test_what_was_not_saved_is_shown_once(tmp_path: Path) -> None:
    """Two steps an epoch; killed in the third epoch, after the second was saved."""
    with open_writer(tmp_path, first_step=1) as writer:
        for step in range(1, 7):
            writer.step(step, {"loss": step})
        for epoch in (1, 2):
            writer.epoch(epoch, {"uar": epoch})
    with open_writer(tmp_path, first_step=5) as writer:
        writer.step(5, {"loss": 50})
        writer.epoch(3, {"uar": 3})
    assert points(tmp_path) == {
        "step/loss": [(1, 1), (2, 2), (3, 3), (4, 4), (5, 50)],
        "epoch/uar": [(1, 1), (2, 2), (3, 3)],
    }


def test_one_step_an_epoch_loses_no_epoch(tmp_path: Path) -> None:
    for first in (1, 2, 3):
        with open_writer(tmp_path, first_step=first) as writer:
            writer.step(first, {"loss": 1})
            writer.epoch(first, {"uar": 1})
    assert points(tmp_path) == {"step/loss": [(1, 1), (2, 1), (3, 1)], "epoch/uar": [(1, 1), (2, 1), (3, 1)]}


def test_another_training_in_the_same_folder_begins_anew(tmp_path: Path) -> None:
    for value in (1, 2):
        with open_writer(tmp_path, first_step=1) as writer:
            writer.step(1, {"loss": value})
    assert points(tmp_path) == {"step/loss": [(1, 2)]}


def test_a_torn_record_hides_no_later_session(tmp_path: Path) -> None:
    with open_writer(tmp_path, first_step=1) as writer:
        writer.step(1, {"loss": 1})
        writer.step(2, {"loss": 2})
    (file,) = (tmp_path / FOLDER).iterdir()
    file.write_bytes(file.read_bytes()[:-5])
    with open_writer(tmp_path, first_step=2) as writer:
        writer.step(2, {"loss": 3})
    assert points(tmp_path) == {"step/loss": [(1, 1), (2, 3)]}


def test_values_that_are_not_finite_are_no_error(tmp_path: Path) -> None:
    with open_writer(tmp_path, first_step=1) as writer:
        writer.step(1, {"loss": math.nan, "voice": math.inf})
    assert set(points(tmp_path)) == {"step/loss", "step/voice"}


def told_once(capsys: pytest.CaptureFixture[str], words: str) -> bool:
    written = capsys.readouterr()
    assert written.out == ""
    return written.err.count("\n") == 1 and words in written.err and "training goes on" in written.err


def full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_disk_that_fills_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is flushed fails, and so does closing it."""
    with open_writer(tmp_path, first_step=1) as writer:
        writer.step(1, {"loss": 1})
        (file,) = (tmp_path / FOLDER).iterdir()
        with room(file.stat().st_size):
            for step in (2, 3):
                writer.step(step, {"loss": step})
            writer.epoch(1, {"uar": 1})
    assert points(tmp_path) == {"step/loss": [(1, 1)]}
    assert told_once(capsys, "no further curves for TensorBoard: File too large")


def test_a_disk_without_room_for_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Path, "mkdir", full)
    with open_writer(tmp_path, first_step=1) as writer:
        writer.step(1, {"loss": 1})
    assert told_once(capsys, "No space left on device")


def test_a_disk_without_room_for_a_header(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with room(0), open_writer(tmp_path, first_step=1) as writer:
        writer.step(1, {"loss": 1})
    assert told_once(capsys, "File too large")


def without_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)


def with_another_protobuf(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: str) -> None:
        raise TypeError("Descriptors cannot be created directly.\nIf this call came from a _pb2.py file,")

    monkeypatch.setattr(importlib, "import_module", fails)


@pytest.mark.parametrize(
    ("broken", "words"),
    [(without_package, "is not installed: pip install"), (with_another_protobuf, "Descriptors cannot be created")],
)
def test_a_package_that_is_missing_or_broken(
    broken: Callable[[pytest.MonkeyPatch], None],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken(monkeypatch)
    with open_writer(tmp_path, first_step=1) as writer:
        writer.step(1, {"loss": 1})
        writer.epoch(1, {"uar": 1})
    assert not (tmp_path / FOLDER).exists()
    assert told_once(capsys, words)
