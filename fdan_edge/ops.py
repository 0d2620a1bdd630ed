"""LMMD, the local maximum mean discrepancy: the readable PyTorch reference.

The compiled op (sources in cuda/, module `fdan_edge._C`) will be called from here; until then this
reference is what training uses on every device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fdan_edge.errors import ConfigError, choose

CLASS_COUNTS = ("all", "shared")


def lmmd(
    z_visual: Tensor,
    z_acoustic: Tensor,
    y_visual: Tensor,
    y_acoustic: Tensor,
    num_classes: int,
    *,
    class_count: str = "all",
    kernels: int = 5,
    ratio: float = 2.0,
) -> Tensor:
    """Local maximum mean discrepancy between two sets of features, by class (FDAN eqs. 5-8).

        d = 1/C' sum_c sum_{m,n} u[m,c] u[n,c] k(z_m, z_n)

    with u the class weights of eq. 7, positive for faces and negative for voices, and k the sum of
    `kernels` Gaussians of the paper's source [34] (DSAN, Zhu et al. 2020): bandwidths b ratio^i, b the
    mean squared distance between different rows over ratio^(kernels // 2), not differentiated through.

    Args:
        z_visual: features of faces, shape (n_v, d).
        z_acoustic: features of voices, shape (n_a, d).
        y_visual: class indices of the faces, shape (n_v,).
        y_acoustic: class indices of the voices, shape (n_a,).
        num_classes: C.
        class_count: what the sum is divided by: `all` C classes as the paper writes, or the number of
            classes present on both sides (`shared`) as DSAN's code does.

    Returns:
        A scalar in float32 (float64 for float64 features); 0 when the sides share no class.
    """
    if class_count not in CLASS_COUNTS:
        raise ConfigError(choose("class_count", class_count, CLASS_COUNTS))
    if not len(z_visual) or not len(z_acoustic):
        raise ValueError(f"lmmd needs rows on both sides, got {len(z_visual)} faces and {len(z_acoustic)} voices")
    with torch.autocast(z_visual.device.type, enabled=False):
        z = torch.cat([_at_least_float32(z_visual), _at_least_float32(z_acoustic)])
        weights, shared = _signed_class_weights(y_visual, y_acoustic, num_classes, z.dtype)
        # k depends on differences only; without the mean, |x|^2 + |y|^2 - 2xy cancels less.
        z = z - z.detach().mean(dim=0)
        kernel = _gaussian_kernels(z, kernels, ratio)
        divisor = shared.clamp_min(1) if class_count == "shared" else num_classes
        return ((weights @ weights.T) * kernel).sum() / divisor


def _at_least_float32(z: Tensor) -> Tensor:
    return z if z.dtype == torch.float64 else z.float()


def _signed_class_weights(
    y_visual: Tensor, y_acoustic: Tensor, num_classes: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """u of shape (n_v + n_a, C) and the number of classes that both sides have (eq. 7)."""
    visual = torch.nn.functional.one_hot(y_visual.long(), num_classes).to(dtype)
    acoustic = torch.nn.functional.one_hot(y_acoustic.long(), num_classes).to(dtype)
    n_visual, n_acoustic = visual.sum(dim=0), acoustic.sum(dim=0)
    shared = (n_visual > 0) & (n_acoustic > 0)
    # A class absent from either side gets 0: there is nothing to align it with.
    visual = visual / n_visual.clamp_min(1) * shared
    acoustic = acoustic / n_acoustic.clamp_min(1) * shared
    return torch.cat([visual, -acoustic]), shared.sum()


def _gaussian_kernels(z: Tensor, kernels: int, ratio: float) -> Tensor:
    """Sum of Gaussian kernels between all rows, shape (N, N)."""
    n = len(z)
    norms = z.square().sum(dim=1)
    distances = (norms[:, None] + norms[None, :] - 2 * z @ z.T).clamp_min(0)
    with torch.no_grad():
        # The mean off-diagonal squared distance needs no distances: (2 N sum|z|^2 - 2|sum z|^2) / (N^2 - N).
        mean = (2 * n * norms.sum() - 2 * z.sum(dim=0).square().sum()) / (n * n - n)
        # All rows equal: any positive bandwidth gives the right answer, 0; 0 / 0 would not.
        bandwidth = (mean / ratio ** (kernels // 2)).clamp_min(torch.finfo(z.dtype).tiny * 1e6)
    return torch.stack([torch.exp(-distances / (bandwidth * ratio**i)) for i in range(kernels)]).sum(dim=0)
