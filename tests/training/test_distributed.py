"""Several processes train as one does."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from fdan_edge.errors import ConfigError
from fdan_edge.runs import run_folder
from fdan_edge.training import distributed
from fdan_edge.utils import launcher
from tests.helpers.training_parts import train_in_processes, trainer

#: With moments near 0 AdamW makes whole steps of a last bit's difference; SGD's are as small as the difference.
#: With seed 0 a last bit decides which of two places is the larger one for vgg8's pooling; with 1 to 3 none does.
STEADY: dict[str, Any] = {
    "seed": 1,
    "optimizer": "sgd",
    "lr": 0.01,
    "momentum": 0.5,
    "epochs": 2,
    "alpha": 0.5,
    "threads": 1,
    "precision": "fp32",  # sums in another order round otherwise, in bf16 by 0.004 of a number
    "backbone": "vgg8",
    "face_backbone": "vgg8",
}


TRAININGS: dict[str, dict[str, Any]] = {
    "faces": {"attention_layers": 2, "visual_dropout": 0.5},
    "faces and a target": {"method": "mmd", "with_target": True, "balanced": "true", "fc_layers": 2},
    "voices alone": {"with_faces": False, "clip_norm": 0.1},
}


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes leave of each training, in a folder by its name."""
    folder = tmp_path_factory.mktemp("of-two")
    train_in_processes(2, {folder / name: STEADY | changes for name, changes in TRAININGS.items()})
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAININGS)
def test_two_processes_with_half_the_batch_are_one_with_all_of_it(tmp_path: Path, of_two: Path, name: str) -> None:
    trainer(tmp_path, **STEADY | TRAININGS[name]).run()
    (one, state), (two, other) = (
        run_folder.load_tensors(folder / "last.safetensors") for folder in (tmp_path, of_two / name / "0")
    )
    assert one.keys() == two.keys()
    for tensor, values in one.items():
        most = 1e-4 if tensor.startswith("optimizer.") else 1e-5  # gradients are larger than what they do
        torch.testing.assert_close(two[tensor], values, rtol=1e-5, atol=most, msg=tensor)
    for mine, theirs in zip(state["history"], other["history"], strict=True):
        same = mine.keys() - {"seconds", "rate"}
        assert [theirs[key] for key in same] == pytest.approx([mine[key] for key in same], abs=1e-4)
    assert not (of_two / name / "1").exists()  # only the first one writes
    assert json.loads((of_two / name / "0/epochs.jsonl").read_text().splitlines()[1])["epoch"] == 2


@dataclass(frozen=True)
class _Item:
    key: str
    speaker_key: str | None


def test_a_speaker_belongs_to_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    items = [_Item(str(i), f"speaker {i % 5}" if i % 7 else None) for i in range(50)]
    shares = []
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    for rank in range(3):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        shares.append(distributed.own_items(items))
    assert sorted(item.key for share in shares for item in share) == sorted(item.key for item in items)
    speakers = [{item.speaker_key for item in share} - {None} for share in shares]
    assert all(speakers)
    assert sum(map(len, speakers)) == len(set.union(*speakers)) == 5


def test_a_batch_must_be_shared_equally(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: 4)
    with pytest.raises(ConfigError, match=r"batch_size = 6 cannot be shared by 4 processes; valid: 4, 8, 12"):
        trainer(tmp_path)


def test_alone_nothing_changes() -> None:
    rows = torch.randn(3, 2)
    assert distributed.all_gather(rows, [1, 2]) is rows
    assert distributed.all_reduce(rows) is rows
    assert (distributed.rank(), distributed.world_size(), distributed.own_rows(7)) == (0, 1, slice(0, 7))
    distributed.barrier()


def test_only_its_own_launch_takes_up_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second torchrun on the same folder, restarted for its own errors, must leave it alone."""
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    (tmp_path / "run.toml").touch()
    run_folder.save_launcher(tmp_path)
    assert not run_folder.is_restarted(tmp_path)  # the first start
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert run_folder.is_restarted(tmp_path)
    monkeypatch.setattr(launcher, "launcher_name", lambda: "another")
    assert not run_folder.is_restarted(tmp_path)


def test_more_processes_than_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "2", "WORLD_SIZE": "3", "LOCAL_RANK": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with (
        pytest.raises(ConfigError, match="--nproc-per-node 3 or more: this machine has 2 GPUs"),
        distributed.process_group(),
    ):
        pass
