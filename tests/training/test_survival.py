"""A training that is killed, or has no room to write, is taken up as if nothing had been."""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fdan_edge.errors import TrainingError, is_out_of_memory
from fdan_edge.runs import run_folder
from tests.helpers.processes import started
from tests.helpers.training_parts import trainer

SETTINGS: dict[str, Any] = {
    "epochs": 3,
    "threads": 1,
    "attention_layers": 1,
    "visual_dropout": 0.3,
    "precision": "bf16",
}


def go_on(folder: Path, told: Path) -> None:
    """Train in a folder from where it was left, in a process of its own; says in a file where that was."""
    with run_folder.sole_writer(folder):
        training = trainer(folder, save_minutes=1e-9, **SETTINGS)
        if (folder / "last.safetensors").exists():
            training.resume()
            told.write_text(f"{training.epoch} {training.done}")
        training.run()


def same_weights(one: Path, other: Path) -> None:
    for name in ("last.safetensors", "checkpoint.safetensors"):
        (mine, state), (theirs, others) = (run_folder.load_tensors(folder / name) for folder in (one, other))
        assert mine.keys() == theirs.keys()
        assert [key for key in mine if not torch.equal(mine[key], theirs[key])] == []
        assert state["epoch"] == others["epoch"]


@pytest.mark.slow
def test_a_killed_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    """Killed without warning at two moments, in the middle of epochs and of files."""
    whole, left, chance = tmp_path / "whole", tmp_path / "left", random.Random(0)
    trainer(whole, **SETTINGS).run()
    told = [tmp_path / f"told-{i}" for i in range(3)]
    for i in range(2):
        process = started(go_on, left, told[i])
        wait_for(lambda: (left / "last.safetensors").exists())
        wait_for(partial(was_written_since, left, written(left)))
        time.sleep(chance.random() * 0.2)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    for name in (".last-abcdefgh.safetensors", ".tmpAbC123"):  # ours, and safetensors' own
        (left / name).write_bytes(b"half of a file")
    last = started(go_on, left, told[2])
    last.join()
    assert last.exitcode == 0
    assert [file.exists() for file in told] == [False, True, True]
    same_weights(whole, left)
    assert not list(left.glob(".*"))


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def was_written_since(folder: Path, before: int) -> bool:
    return written(folder) != before


def written(folder: Path) -> int:
    return (folder / "last.safetensors").stat().st_mtime_ns


def test_taken_up_within_an_epoch(tmp_path: Path) -> None:
    """What was skipped, averaged and summed before is not forgotten."""
    whole, left = (trainer(tmp_path / name, **SETTINGS) for name in ("whole", "left"))
    whole.run()
    left.model.train()
    left.train_step(next(iter(left.loader.epoch(0))))
    left.seconds = 3.0
    left.save_last()
    again = trainer(tmp_path / "left", **SETTINGS)
    again.resume()
    assert (again.epoch, again.done) == (0, 1)
    again.run()
    assert again.history[0].seconds > 3
    same_weights(tmp_path / "whole", tmp_path / "left")
    assert [e.loss for e in again.history] == [e.loss for e in whole.history]


def test_a_full_disk_loses_nothing_that_was_there(tmp_path: Path) -> None:
    training = trainer(tmp_path / "left", **SETTINGS)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(_: Any) -> None:  # after the first epoch no file may grow beyond this
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))

    training.on_epoch = fill
    try:
        with pytest.raises(OSError) as caught:  # noqa: PT011
            training.run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.EFBIG
    assert (training.saved, len(training.history)) == (1, 2)
    assert not list((tmp_path / "left").glob(".*"))
    again = trainer(tmp_path / "left", **SETTINGS)
    again.resume()
    assert again.epoch == 1
    again.run()
    trainer(tmp_path / "whole", **SETTINGS).run()
    same_weights(tmp_path / "whole", tmp_path / "left")


def test_within_an_epoch_a_full_disk_does_not_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    training = trainer(tmp_path, epochs=1, save_minutes=1e-9)
    save, times = run_folder.save_tensors, []

    def full(path: Path, *values: Any) -> None:
        times.append(path)
        if len(times) == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(path, *values)

    monkeypatch.setattr(run_folder, "save_tensors", full)
    training.run()
    assert capsys.readouterr().err.count("cannot be saved now: No space left on device; going on") == 1
    assert (tmp_path / "last.safetensors").exists()


@pytest.mark.parametrize("target", [False, True])
def test_out_of_memory_says_what_fits(tmp_path: Path, *, target: bool) -> None:
    training = trainer(
        tmp_path, epochs=1, with_target=target, visual_dropout=0.5, method="mmd" if target else "fdan"
    )
    tried, corpora = [], 2 if target else 1

    def small(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        tried.append(len(inputs[0]) // corpora)  # the target's voices come behind the others
        if tried[-1] > 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    training.model.register_forward_pre_hook(small)
    expected = r"6 voices and 4 faces at once need.*these fit: --set batch_size=3 --set face_batch_size=2, with"
    with pytest.raises(TrainingError, match=expected):
        training.run()
    assert tried == [6, 3]


def test_out_of_memory_in_the_optimiser_says_what_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = trainer(tmp_path, epochs=1)

    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")

    monkeypatch.setattr(training.optimizer, "step", full)
    with pytest.raises(TrainingError, match="these fit: --set batch_size=3"):
        training.run()


def test_killed_between_two_files_of_an_epoch(tmp_path: Path) -> None:
    training = trainer(tmp_path, **SETTINGS)
    training.run()
    history = (tmp_path / "epochs.jsonl").read_text()
    (tmp_path / "epochs.jsonl").write_text("".join(history.splitlines(keepends=True)[:-1]))
    again = trainer(tmp_path, **SETTINGS)
    again.resume()
    again.run()
    assert (tmp_path / "epochs.jsonl").read_text() == history


def test_a_real_allocation_that_fails_is_known() -> None:
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        torch.empty(2**62, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("shapes do not fit"))
