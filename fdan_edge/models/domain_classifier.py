"""DANN's domain classifier: tells the features of two corpora apart, behind a reversed gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class DomainClassifier(nn.Module):
    """A classifier of corpora, against features that learn to be the same: DANN (Ganin et al. 2016).

    Minimising its loss trains the classifier; the reversal of the gradient makes the features maximise it. Its
    parameters belong into the optimiser beside the network's.
    """

    def __init__(self, features: int, hidden: int = 256) -> None:
        """Build a network with one hidden layer.

        Args:
            features: d.
            hidden: width of the hidden layer.
        """
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, z_source: Tensor, z_target: Tensor, reversal: float = 1.0) -> Tensor:
        """Compute the mean cross-entropy of the source's rows plus that of the target's: 2 log 2 at chance.

        Args:
            z_source: features of the source, (n_s, d).
            z_target: features of the target, (n_t, d).
            reversal: what the features' gradient is multiplied with, negated; see `training.domain_alignment`.
        """
        loss = z_source.new_zeros((), dtype=torch.float32)
        for z, domain in ((z_source, 0.0), (z_target, 1.0)):
            # float32: a bfloat16 logit is too coarse for the loss.
            logits = self.layers(reverse_gradient(z, reversal).float()).float()
            domains = torch.full_like(logits, domain)
            loss = loss + functional.binary_cross_entropy_with_logits(logits, domains)
        return loss


def reverse_gradient(z: Tensor, strength: float) -> Tensor:
    """Return z itself, whose gradient is multiplied with -strength (Ganin et al. 2016, eqs. 16-17)."""
    reversed_: Tensor = _Reversal.apply(z, strength)
    return reversed_


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return z.view_as(z)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None
