"""The loss of FDAN."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fdan_edge.models.fdan import Output
from fdan_edge.ops import lmmd


@dataclass(frozen=True)
class Terms:
    """The terms of eq. 9: their sum is what is minimised."""

    acoustic: Tensor  # cross-entropy of the voices
    visual: Tensor  # cross-entropy of the faces
    alignment: Tensor  # sum of LMMD over the layers, before alpha
    total: Tensor


def fdan_loss(
    output: Output,
    y_visual: Tensor,
    y_acoustic: Tensor,
    alpha: float,
    *,
    class_count: str = "all",
    label_smoothing: float = 0.0,
    weight: Tensor | None = None,
) -> Terms:
    """CE(voices) + CE(faces) + alpha * sum_i d_i (eq. 9).

    Args:
        output: of `Fdan.forward`.
        y_visual: class indices of the faces, (n_v,).
        y_acoustic: class indices of the voices, (n_a,).
        alpha: weight of LMMD; with 0 it is not computed.
        class_count: see `fdan_edge.ops.lmmd`.
        label_smoothing: of both cross-entropies.
        weight: of each class in the voices' cross-entropy, (C,).
    """
    acoustic = functional.cross_entropy(
        output.logits_acoustic, y_acoustic, weight=weight, label_smoothing=label_smoothing
    )
    visual = functional.cross_entropy(output.logits_visual, y_visual, label_smoothing=label_smoothing)
    alignment = torch.zeros((), device=acoustic.device)
    if alpha:
        classes = output.logits_acoustic.shape[1]
        for z_visual, z_acoustic in output.aligned:
            alignment = alignment + lmmd(
                z_visual, z_acoustic, y_visual, y_acoustic, classes, class_count=class_count
            )
    return Terms(acoustic, visual, alignment, acoustic + visual + alpha * alignment)
