"""A tiny training on tensors made here, for tests in one process and in several."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed as dist

from fdan_edge.config import Config
from fdan_edge.features.extract import Faces, Voices
from fdan_edge.training.trainer import Trainer
from tests.conftest import TINY
from tests.helpers.processes import run_ranks

CLASSES = ["angry", "happy", "sad"]


def config(**changes: object) -> Config:
    words = (f"{name}={value}" for name, value in changes.items())
    return Config.load(
        None, [*TINY, "backbone=vgg8", "batch_size=6", "face_batch_size=4", "feature_size=8", *words]
    )


def voices(n: int, seed: int, windows: int = 1) -> Voices:
    """Every class is loud in a third of the mel bands of its own."""
    chance = torch.Generator().manual_seed(seed)
    owner = torch.arange(n).repeat_interleave(windows)
    labels = owner % 3
    decibel = -80 + 20 * torch.rand(1, len(owner), 1, 32, 32, generator=chance)
    for i, c in enumerate(labels.tolist()):
        decibel[0, i, 0, 10 * c : 10 * c + 10] += 50
    return Voices(decibel.half(), labels, owner)


def faces(n: int = 9) -> Faces:
    chance = torch.Generator().manual_seed(7)
    labels = torch.arange(n) % 3
    pixels = torch.randint(0, 60, (n, 3, 32, 32), generator=chance, dtype=torch.uint8)
    for i, c in enumerate(labels.tolist()):
        pixels[i, :, 10 * c : 10 * c + 10] += 190
    return Faces(pixels, labels)


def trainer(folder: Path, *, with_faces: bool = True, with_target: bool = False, **changes: object) -> Trainer:
    return Trainer(
        config(**changes),
        CLASSES,
        voices(12, 0),
        voices(6, 1, windows=2),
        faces() if with_faces else None,
        folder,
        target=voices(8, 3) if with_target else None,
    )


def train_in_processes(count: int, trainings: dict[Path, dict[str, object]]) -> None:
    """Train in several processes, one training after another.

    Args:
        count: of processes.
        trainings: a folder, below which each process may write in one by its rank -> what `trainer` gets.
    """
    for folder in trainings:
        folder.mkdir(parents=True)
    run_ranks(_process, count, count, trainings)


def _process(rank: int, count: int, trainings: dict[Path, dict[str, object]]) -> None:
    torch.set_num_threads(1)
    meeting = next(iter(trainings)) / "meeting"
    dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=count)
    for folder, changes in trainings.items():
        trainer(folder / str(rank), **changes).run()  # type: ignore[arg-type]
    dist.destroy_process_group()
