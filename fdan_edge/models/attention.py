"""Cross-attention between a batch of faces and a batch of voices (FDAN, section 2.2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class ModalityAttention(nn.Module):
    """One modality's half of a layer: its W^Q, W^K, W^V (eq. 2), layer norms and FFN (eq. 4).

    Args:
        size: d, the width of the features.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.query = nn.Linear(size, size, bias=False)
        self.key = nn.Linear(size, size, bias=False)
        self.value = nn.Linear(size, size, bias=False)
        self.norm_attention = nn.LayerNorm(size)
        self.norm_ffn = nn.LayerNorm(size)
        self.ffn = nn.Sequential(nn.Linear(size, 2 * size), nn.GELU(), nn.Linear(2 * size, size))

    def attend(self, z: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Compute what the other modality propagates to `z` (eq. 3): (n, d) from (m, d) keys and values."""
        scores = self.query(z) @ keys.T / math.sqrt(z.shape[1])
        return torch.softmax(scores, dim=1) @ values

    def update(self, z: Tensor, delta: Tensor | None) -> Tensor:
        """Add what was propagated (None: nothing), then apply the FFN (eq. 4): (n, d) -> (n, d)."""
        z = self.norm_attention(z if delta is None else z + delta)
        return self.norm_ffn(z + self.ffn(z))  # type: ignore[no-any-return]


class CrossAttention(nn.Module):
    """One layer: every face attends to all voices of the batch, and every voice to all faces.

    Args:
        size: d, the width of the features.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.visual = ModalityAttention(size)
        self.acoustic = ModalityAttention(size)

    def forward(self, z_visual: Tensor, z_acoustic: Tensor, keep: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute the new (Z_v, Z_a), of shapes (n_v, d) and (n_a, d), by eqs. 2 to 4.

        Args:
            z_visual: Z_v, shape (n_v, d).
            z_acoustic: Z_a, shape (n_a, d).
            keep: shape (n_a, 1), 0 where a voice is trained without the faces' term; None: all with.
        """
        to_acoustic = self.acoustic.attend(z_acoustic, self.visual.key(z_visual), self.visual.value(z_visual))
        to_visual = self.visual.attend(z_visual, self.acoustic.key(z_acoustic), self.acoustic.value(z_acoustic))
        if keep is not None:
            to_acoustic = to_acoustic * keep
        return self.visual.update(z_visual, to_visual), self.acoustic.update(z_acoustic, to_acoustic)
