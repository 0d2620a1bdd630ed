"""The state of a training on disk: `last.safetensors`, from which it goes on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fdan_edge.errors import CheckpointError, one_line
from fdan_edge.models.fdan import Fdan
from fdan_edge.runs import run_folder
from fdan_edge.training.history import EpochMetrics, RunningMetrics
from fdan_edge.training.optimizer import AveragedWeights

#: The file's name in a run folder.
LAST = "last.safetensors"


@dataclass(frozen=True)
class Progress:
    """How far a training is."""

    epoch: int  # whole epochs
    done: int  # steps of the next one
    seconds: float  # that those steps took
    history: list[EpochMetrics]


def save_state(
    path: Path,
    progress: Progress,
    running: RunningMetrics,
    model: Fdan,
    averaged: AveragedWeights | None,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> None:
    """Write everything that a training needs to go on.

    Raises:
        OSError: the file cannot be written; what was there before stays.
    """
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    state: dict[str, Any] = {"epoch": progress.epoch, "done": progress.done, "seconds": progress.seconds}
    if averaged is not None:
        tensors |= {f"averaged.{k}": v for k, v in averaged.module.state_dict().items()}
        state["updates"] = averaged.updates
    tensors |= run_folder.optimizer_tensors(optimizer) | {"tally": running.state}
    state |= {"scaler": scaler.state_dict(), "history": [asdict(e) for e in progress.history]}
    run_folder.save_tensors(path, tensors, state)


def load_state(
    path: Path,
    epochs: int,
    model: Fdan,
    averaged: AveragedWeights | None,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> tuple[Progress, RunningMetrics | None]:
    """Restore what `save_state` wrote.

    Args:
        path: of the file.
        epochs: of the whole training. Of one that is over only the history is restored, and no running metrics.
        model: gets the weights, as `averaged`, `optimizer` and `scaler` get their states.

    Raises:
        CheckpointError: the file is missing, damaged, or of other settings.
    """
    tensors, state = run_folder.load_tensors(path)
    try:
        history = [EpochMetrics(**values) for values in state["history"]]
        if int(state["epoch"]) >= epochs:
            return Progress(int(state["epoch"]), 0, 0.0, history), None
        model.load_state_dict(_with_prefix(tensors, "model."))
        if averaged is not None:
            averaged.module.load_state_dict(_with_prefix(tensors, "averaged."))
            averaged.updates = int(state["updates"])
        run_folder.restore_optimizer(optimizer, tensors)
        scaler.load_state_dict(state["scaler"])
        running = RunningMetrics(next(model.parameters()).device, tensors["tally"])
        progress = Progress(int(state["epoch"]), int(state["done"]), float(state["seconds"]), history)
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise _does_not_fit(path, error) from None
    return progress, running


def load_weights(path: Path, model: Fdan) -> None:
    """Load the model's weights, and nothing else, from a state that `save_state` wrote.

    Raises:
        CheckpointError: the file is missing, damaged, or of another model.
    """
    tensors, _ = run_folder.load_tensors(path)
    try:
        model.load_state_dict(_with_prefix(tensors, "model."))
    except RuntimeError as error:
        raise _does_not_fit(path, error) from None


def _does_not_fit(path: Path, error: Exception) -> CheckpointError:
    detail = one_line(RuntimeError(" ".join(str(error).split())))
    return CheckpointError(f"{path}: does not fit the run's config.toml: {detail}")


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin so, without it."""
    return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}
