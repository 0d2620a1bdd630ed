"""How many voices and faces fit into the memory, found by trying."""

from __future__ import annotations

import gc
from dataclasses import replace

import torch
from torch import Tensor

from fdan_edge.errors import TrainingError, is_out_of_memory, one_line
from fdan_edge.training.objective import Batch
from fdan_edge.training.step import Step


def out_of_memory_error(step: Step, batch: Batch, error: BaseException) -> TrainingError:
    """Find a batch that fits into memory, and make the error that says so.

    The networks' running statistics are spoilt by the trials: the training is over.
    """
    step.optimizer.zero_grad(set_to_none=True)
    voices, faces = len(batch.labels), 0 if batch.faces is None else len(batch.faces)
    both = f"{voices} voices" + (f" and {faces} faces" if faces else "")
    what = f"{both} at once need more memory than there is ({one_line(error)})"
    for divisor in (2**i for i in range(1, 12)):
        if voices // divisor < 2:
            break
        part = _first(batch, divisor)
        if _fits(step, part):
            words = f"--set batch_size={len(part.labels)}"
            words += f" --set face_batch_size={len(part.faces)}" if part.faces is not None else ""
            return TrainingError(f"{what}; these fit: {words}, with another --out")
    return TrainingError(f"{what}, and so do 2: take a smaller backbone, window or face_size")


def _fits(step: Step, batch: Batch) -> bool:
    """Whether one step can be taken, with the optimiser's moments in memory."""
    gc.collect()
    if step.device.type == "cuda":
        torch.cuda.empty_cache()
    try:
        moments = [] if step.optimizer.state else [torch.empty_like(p) for p in step.trained for _ in range(2)]
        step.trial(batch)
        del moments
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        step.optimizer.zero_grad(set_to_none=True)
    return True


def _first(batch: Batch, divisor: int) -> Batch:
    """A part of a batch: so many times fewer rows of everything, two at least."""

    def part(rows: Tensor | None) -> Tensor | None:
        return None if rows is None else rows[: max(2, len(rows) // divisor)]

    n, others = len(batch.labels), part(batch.target)
    both = [max(2, n // divisor), 0 if others is None else len(others)]

    def of_both(rows: Tensor | None) -> Tensor | None:  # first those of the voices, then those of the target
        return None if rows is None else torch.cat([rows[: both[0]], rows[n : n + both[1]]])

    return replace(
        batch,
        decibel=batch.decibel[: both[0]],
        labels=batch.labels[: both[0]],
        target=others,
        images=part(batch.images),
        faces=part(batch.faces),
        teacher=of_both(batch.teacher),
        keep=of_both(batch.keep),
    )
