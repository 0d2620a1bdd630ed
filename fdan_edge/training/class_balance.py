"""Classes of unequal size: weights that make up for it, and samples that are even over the classes."""

from __future__ import annotations

import torch
from torch import Tensor


def class_weights(labels: Tensor, classes: int, drawn: Tensor | None = None) -> Tensor:
    """Compute the weights that give every class the same part in the loss, 1 on average over the recordings: (C,).

    Args:
        labels: class indices of the recordings, (n,).
        classes: C.
        drawn: how often each is drawn in an epoch, (n,), as of `corpus_weights`; None: once.
    """
    count = labels.bincount(drawn, minlength=classes).float()
    return len(labels) / (count.clamp_min(1) * (count > 0).sum())


def corpus_weights(labels: Tensor, corpora: Tensor, balance: float) -> Tensor:
    """Compute how often each recording is drawn in an epoch, 1 on average, so that corpora and classes are even.

    Of the n_kc recordings of a class in a corpus of C_k classes each has a weight in proportion to
    (C_k n_kc)^-balance. With balance 1 every corpus is drawn equally often, and of it every class. Below 1 large
    ones are drawn more often, as languages are in multilingual training (Conneau et al. 2020, "Unsupervised
    Cross-lingual Representation Learning at Scale", whose exponent is 1 - balance).

    Args:
        labels: class indices of the recordings, (n,).
        corpora: indices of their corpora, (n,).
        balance: 0 to 1.
    """
    count = torch.zeros(int(corpora.max()) + 1, int(labels.max()) + 1, dtype=torch.double)
    count.index_put_((corpora, labels), count.new_ones(()), accumulate=True)
    classes = (count > 0).sum(1)  # of each corpus
    weights = (count[corpora, labels] * classes[corpora]).pow(-balance)
    return (weights * len(labels) / weights.sum()).float()


def balanced_order(weights: Tensor, count: int, chance: torch.Generator) -> Tensor:
    """Draw `count` indices so that each comes as often as its weight says, rounded up or down by chance, shuffled.

    Systematic sampling (Madow 1949) over a random order: chance misses no recording whose weight is 1 or more.

    Args:
        weights: of the recordings, (n,).
        count: of indices.
        chance: decides the order and the rounding.

    Returns:
        (count,).
    """
    order = torch.randperm(len(weights), generator=chance)
    ends = weights[order].double().cumsum(0)
    places = (torch.arange(count) + torch.rand(1, generator=chance).double()) * (ends[-1] / count)
    drawn = order[torch.searchsorted(ends, places, right=True).clamp_max(len(order) - 1)]
    return drawn[torch.randperm(count, generator=chance)]


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
