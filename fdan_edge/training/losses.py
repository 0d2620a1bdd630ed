"""Losses of labelled voices and faces: what one output should be, and how near faces and voices of a class are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fdan_edge.models.fdan import REGRESSION_SCALE
from fdan_edge.models.ops.lmmd import lmmd


def label_loss(
    logits: Tensor,
    labels: Tensor,
    kind: str = "cross_entropy",
    *,
    label_smoothing: float = 0.0,
    weight: Tensor | None = None,
    known: Tensor | None = None,
) -> Tensor:
    """Compute cross-entropy, or DIDAN's regression into the labels: mean over the rows.

    Classes that a row's corpus does not have are left out of its softmax: they are neither right nor wrong for it.

    Args:
        logits: (n, C); of a regression REGRESSION_SCALE times its outputs.
        labels: class indices, (n,).
        kind: `cross_entropy`, or `regression`: the squared distance of the outputs to the one-hot label.
        label_smoothing: of cross-entropy.
        weight: of each class, (C,); the mean is weighted as in `torch.nn.functional.cross_entropy`.
        known: which classes each row's corpus has, its label among them, bool, (n, C); None: all.
    """
    if kind == "cross_entropy":
        if known is not None:
            return _masked_cross_entropy(logits, labels, known, label_smoothing, weight)
        return functional.cross_entropy(logits, labels, weight=weight, label_smoothing=label_smoothing)
    wanted = functional.one_hot(labels, logits.shape[1]).to(logits.dtype)
    squares = (logits / REGRESSION_SCALE - wanted).square()
    distance = squares.sum(dim=1) if known is None else squares.where(known, 0).sum(dim=1)
    if weight is None:
        return distance.mean()
    return (distance * weight[labels]).sum() / weight[labels].sum()


def masked_log_softmax(logits: Tensor, known: Tensor) -> Tensor:
    """Compute log-probabilities among the known classes of each row, (n, C); 0 for the others, without gradient.

    Args:
        logits: (n, C).
        known: bool, (n, C), at least one of each row.
    """
    lowest = torch.finfo(logits.dtype).min  # not minus infinity, whose gradient is no number
    return functional.log_softmax(logits.masked_fill(~known, lowest), dim=1).where(known, 0)


def _masked_cross_entropy(
    logits: Tensor, labels: Tensor, known: Tensor, label_smoothing: float, weight: Tensor | None
) -> Tensor:
    """Compute cross-entropy among the known classes, smoothed over them; with all known, PyTorch's own."""
    costs = -masked_log_softmax(logits, known)
    weight = logits.new_ones(logits.shape[1]) if weight is None else weight
    own = costs.gather(1, labels[:, None]).squeeze(1) * weight[labels]
    smooth = (costs * weight).sum(dim=1) / known.sum(dim=1)
    return ((1 - label_smoothing) * own + label_smoothing * smooth).sum() / weight[labels].sum()


def distillation(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Compute T^2 KL(softmax(teacher / T) || softmax(logits / T)), mean over the rows.

    From Hinton, Vinyals and Dean 2015, 'Distilling the Knowledge in a Neural Network'.

    The factor keeps the gradient's size: that of the divergence shrinks as 1 / T^2.

    Args:
        logits: of the student, (n, C).
        teacher: logits of the teacher, (n, C); no gradient goes there.
        temperature: T > 0; the higher, the more the classes count that the teacher finds unlikely.
    """
    own = functional.log_softmax(logits / temperature, dim=1)
    wanted = functional.log_softmax(teacher.detach() / temperature, dim=1)
    return temperature**2 * functional.kl_div(own, wanted, reduction="batchmean", log_target=True)


def faces_alignment(
    aligned: list[tuple[Tensor, Tensor]], y_visual: Tensor, y_acoustic: Tensor, classes: int, class_count: str
) -> Tensor:
    """Sum LMMD over the layers (eq. 9's sum of d_i).

    Args:
        aligned: (Z_v, Z_a) after each layer.
        y_visual: class indices of the faces, (n_v,).
        y_acoustic: of the voices, (n_a,), or the probability of every class, (n_a, C).
        classes: C.
        class_count: see `fdan_edge.models.ops.lmmd.lmmd`.
    """
    terms = [lmmd(z_v, z_a, y_visual, y_acoustic, classes, class_count=class_count) for z_v, z_a in aligned]
    return torch.stack(terms).sum()
