"""Classes of unequal size: weights that make up for it, and samples that are even over the classes."""

from __future__ import annotations

import torch
from torch import Tensor


def class_weights(labels: Tensor, classes: int) -> Tensor:
    """Compute the weights that give every class the same part in the loss, 1 on average over the recordings: (C,).

    Args:
        labels: class indices of the recordings, (n,).
        classes: C.
    """
    count = labels.bincount(minlength=classes).float()
    return len(labels) / (count.clamp_min(1) * (count > 0).sum())


def even_sample(labels: Tensor, count: int, classes: int) -> Tensor:
    """Choose `count` indices of each class, evenly over its items, with repetition where it has fewer.

    Args:
        labels: class indices of the items, (n,).
        count: of indices for each class.
        classes: C; those without items leave room, which the others fill.

    Returns:
        (count * C,).
    """
    chosen = []
    for c in range(classes):
        members = (labels == c).nonzero().flatten()
        if len(members):
            chosen.append(members[torch.linspace(0, len(members) - 1, count).long()])
    indices = torch.cat(chosen)
    # The bank's shape is fixed, whichever classes there are.
    return indices.repeat(-(-count * classes // len(indices)))[: count * classes]
