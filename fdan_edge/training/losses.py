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
) -> Tensor:
    """Compute cross-entropy, or DIDAN's regression into the labels: mean over the rows.

    Args:
        logits: (n, C); of a regression REGRESSION_SCALE times its outputs.
        labels: class indices, (n,).
        kind: `cross_entropy`, or `regression`: the squared distance of the outputs to the one-hot label.
        label_smoothing: of cross-entropy.
        weight: of each class, (C,); the mean is weighted as in `torch.nn.functional.cross_entropy`.
    """
    if kind == "cross_entropy":
        return functional.cross_entropy(logits, labels, weight=weight, label_smoothing=label_smoothing)
    wanted = functional.one_hot(labels, logits.shape[1]).to(logits.dtype)
    distance = (logits / REGRESSION_SCALE - wanted).square().sum(dim=1)
    if weight is None:
        return distance.mean()
    return (distance * weight[labels]).sum() / weight[labels].sum()


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
