"""A training that costs nothing, for tests of `tuning.search`, and what a process does that tunes with it.

Its UAR depends on the settings, so that each trial has one right value.
"""

from __future__ import annotations

import json
import math
import os
import signal
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from fdan_edge.config import Config
from fdan_edge.data.corpora import Source
from fdan_edge.errors import TrainingError
from fdan_edge.runs.run_folder import sole_writer
from fdan_edge.training.history import EpochMetrics
from fdan_edge.training.run import TrainingResult
from fdan_edge.training.trainer import OnEpoch

EPOCHS = 3
FACES = [Source("synthetic", None)]
DIVERGES = 0.5  # alpha from which on the loss is nan


def uar(config: Config, epoch: int = EPOCHS) -> float:
    """What an epoch comes to: best at alpha 1e-3, a little worse in later folds."""
    fold = sum(map(ord, "".join(config.val_speakers))) % 10 / 1000
    return (0.8 - 0.1 * abs(math.log10(config.alpha) + 3) - fold) * epoch / config.epochs


def read(folder: Path, name: str) -> list[Any]:
    """The lines of a file of JSON lines, or of none."""
    path = folder / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def fake_train(
    config: Config,
    speech: list[Source],
    folder: Path,
    *,
    faces: list[Source],
    resume: bool,
    score: bool,
    on_epoch: OnEpoch,
) -> TrainingResult:
    """Leave what `train` leaves, and in calls.jsonl every epoch that was trained."""
    assert not score
    assert resume == (folder / "run.toml").exists()
    with sole_writer(folder):
        (folder / "run.toml").write_text(f"{speech} {faces}")
        for name in ("last", "checkpoint"):
            (folder / f"{name}.safetensors").touch()
        for epoch in range(len(read(folder, "epochs.jsonl")) + 1, config.epochs + 1):
            if config.alpha >= DIVERGES:
                raise TrainingError(f"epoch {epoch}: the loss is nan")
            record = EpochMetrics(epoch, 1, 1, 1, 1, 0.5, uar(config, epoch), 0.5, 1 / epoch, 1e-3, 0.1)
            with (folder / "epochs.jsonl").open("a") as file:
                file.write(json.dumps(asdict(record)) + "\n")
            with (folder / "calls.jsonl").open("a") as file:
                file.write(f"{epoch}\n")
            on_epoch(record)
    metrics = {"val": {"uar": uar(config)}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return TrainingResult(folder, metrics)


def calls(folder: Path) -> dict[str, list[int]]:
    """List every epoch that was trained, by trial and fold."""
    runs = sorted(folder.glob("trials/*/fold-*"))
    return {f"{run.parent.name}/{run.name}": read(run, "calls.jsonl") for run in runs}


def values(result: Any) -> list[tuple[str, float | None, dict[str, Any]]]:
    """Give what a search found, trial by trial, without times."""
    return [(trial.state, trial.uar, trial.settings) for trial in result.trials]


def tune_slowly(out: Path, tree: Path, trials: int, kill: int) -> None:
    """Tune, in a process of its own; it is killed in epoch 2 of fold 2 of trial `kill`.

    0: of none; then it begins when there are two of them, or one could be done before the other has started.
    """
    from fdan_edge.evaluation import plots
    from fdan_edge.tuning import search
    from fdan_edge.tuning.search import Search

    def train(*arguments: Any, on_epoch: OnEpoch, **named: Any) -> TrainingResult:
        folder = arguments[2]

        def slowly(epoch: EpochMetrics) -> None:
            if (folder.parent.name, folder.name, epoch.epoch) == (f"{kill:04}", "fold-2", 2):
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.02)
            with (out / "who.txt").open("a") as file:
                file.write(f"{os.getpid()} {folder.parent.name}\n")
            on_epoch(epoch)

        return fake_train(*arguments, on_epoch=slowly, **named)

    patch = pytest.MonkeyPatch()
    patch.setattr(search, "train", train)
    patch.setattr(plots, "tuning", lambda *_: None)
    (out.parent / f"here-{os.getpid()}").touch()
    while not kill and len(list(out.parent.glob("here-*"))) < 3:  # the one that was killed was here too
        time.sleep(0.01)
    speech, faces = [Source("ravdess", tree)], FACES
    search.tune(Config.load(None, [f"epochs={EPOCHS}"]), speech, faces, out, Search(("alpha=1e-5..0.1",), trials))
