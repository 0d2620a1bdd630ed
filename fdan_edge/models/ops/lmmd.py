"""LMMD, the local maximum mean discrepancy: one function, compiled where it can be.

`lmmd` calls the compiled op (sources in cuda/) on the devices that it was compiled for, and elsewhere
`lmmd_reference`, the same in readable PyTorch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fdan_edge.errors import ConfigError, unknown_choice
from fdan_edge.models.ops.native import lmmd_native, native_status, serves

__all__ = ["CLASS_COUNTS", "lmmd", "lmmd_reference", "native_status"]

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
    A class that one side lacks has weight 0. The compiled op needs O((n_v + n_a) d) memory, computes value and
    gradient in one pass, is deterministic, and can be differentiated once.

    Args:
        z_visual: features of faces, shape (n_v, d): float16, bfloat16, float32 or float64.
        z_acoustic: features of voices, shape (n_a, d).
        y_visual: classes of the faces: indices of shape (n_v,), or soft labels, the weight of every
            class, of shape (n_v, C). Soft labels are not differentiated through.
        y_acoustic: classes of the voices, (n_a,) or (n_a, C).
        num_classes: C.
        class_count: what the sum is divided by: `all` C classes as the paper writes, or the number of
            classes present on both sides (`shared`) as DSAN's code does.
        kernels: number of Gaussians, 1 to 64.
        ratio: between their bandwidths, above 0. 2 is the fast one.

    Returns:
        A scalar in float32 (float64 for float64 features); 0 when the sides share no class or all
        features are equal. NaN for features that are not finite.

    Raises:
        ConfigError: unknown `class_count`.
        ValueError: shapes or types that do not fit, an empty side, or a label out of range. On a GPU, where
            looking at labels would hold up the host, a label out of range makes the value NaN.
    """
    inputs = (z_visual, z_acoustic, y_visual, y_acoustic, num_classes)
    if not serves(z_visual.device):
        return lmmd_reference(*inputs, class_count=class_count, kernels=kernels, ratio=ratio)
    sides = _checked(*inputs, class_count, kernels, ratio)
    return lmmd_native(*sides, num_classes, class_count == "shared", kernels, ratio)


def lmmd_reference(
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
    """`lmmd` in plain PyTorch, from the (N, N) matrix of all distances; same arguments, values and errors."""
    _check_features(z_visual, z_acoustic, num_classes)
    _check_labels(y_visual, len(z_visual), num_classes, "faces")
    _check_labels(y_acoustic, len(z_acoustic), num_classes, "voices")
    z_visual, z_acoustic, y_visual, y_acoustic = _checked(
        z_visual, z_acoustic, y_visual, y_acoustic, num_classes, class_count, kernels, ratio
    )
    with torch.autocast(z_visual.device.type, enabled=False):
        z = torch.cat([_at_least_float32(z_visual), _at_least_float32(z_acoustic)])
        weights, shared = _signed_class_weights(y_visual, y_acoustic, num_classes, z.dtype)
        # k depends on differences only; without the mean, |x|^2 + |y|^2 - 2xy cancels less. First one row is
        # subtracted: that leaves exact zeros where all rows are equal.
        z = z - z[0].detach()
        z = z - z.detach().mean(dim=0)
        kernel = _gaussian_kernels(z, kernels, ratio)
        divisor = shared.clamp_min(1) if class_count == "shared" else num_classes
        return ((weights @ weights.T) * kernel).sum() / divisor


def _checked(
    z_visual: Tensor,
    z_acoustic: Tensor,
    y_visual: Tensor,
    y_acoustic: Tensor,
    num_classes: int,
    class_count: str,
    kernels: int,
    ratio: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features of one type, and labels that are int64 or, where either side is soft, soft on both."""
    if class_count not in CLASS_COUNTS:
        raise ConfigError(unknown_choice("class_count", class_count, CLASS_COUNTS))
    if not len(z_visual) or not len(z_acoustic):
        raise ValueError(f"lmmd needs rows on both sides, got {len(z_visual)} faces and {len(z_acoustic)} voices")
    if not 1 <= kernels <= 64 or not 0 < ratio < math.inf:
        raise ValueError(f"lmmd needs 1 to 64 kernels and a ratio above 0, got {kernels} and {ratio}")
    if abs((kernels - 1) * math.log10(ratio)) > 30:
        raise ValueError(f"lmmd needs ratio^(kernels - 1) within 1e-30 and 1e30, got {ratio}^{kernels - 1}")
    if z_visual.dtype != z_acoustic.dtype:
        dtype = torch.promote_types(z_visual.dtype, z_acoustic.dtype)
        z_visual, z_acoustic = z_visual.to(dtype), z_acoustic.to(dtype)
    for labels in (y_visual, y_acoustic):
        if labels.dim() == 1 and labels.is_floating_point():
            raise ValueError("lmmd: labels of one dimension must be whole numbers")
    if y_visual.dim() == 1 and y_acoustic.dim() == 1:
        return z_visual, z_acoustic, y_visual.long(), y_acoustic.long()
    dtype = torch.float64 if z_visual.dtype == torch.float64 else torch.float32
    y_visual = _class_weights(y_visual, num_classes, dtype, "faces")
    y_acoustic = _class_weights(y_acoustic, num_classes, dtype, "voices")
    return z_visual, z_acoustic, y_visual, y_acoustic


def _check_features(z_visual: Tensor, z_acoustic: Tensor, num_classes: int) -> None:
    """What the compiled op checks, in its words (cuda/inputs.h)."""
    if z_visual.dim() != 2 or z_acoustic.dim() != 2:
        raise ValueError("lmmd: features must have shape (rows, d)")
    if z_visual.shape[1] != z_acoustic.shape[1] or not z_visual.shape[1]:
        raise ValueError(f"lmmd: faces have {z_visual.shape[1]} features, voices {z_acoustic.shape[1]}")
    if not z_visual.is_floating_point() or not z_acoustic.is_floating_point():
        raise ValueError("lmmd: features must be float16, bfloat16, float32 or float64")
    if num_classes < 1:
        raise ValueError("lmmd: num_classes must be 1 or more")


def _check_labels(labels: Tensor, rows: int, num_classes: int, side: str) -> None:
    if labels.dim() not in (1, 2):
        raise ValueError(f"lmmd: labels of the {side} must have one dimension, or one column for each class")
    if len(labels) != rows:
        raise ValueError(f"lmmd: labels of the {side} must have {rows} rows")
    if labels.dim() == 2 and labels.shape[1] != num_classes:
        raise ValueError(f"lmmd: labels of the {side} must have one column for each class")


def _class_weights(labels: Tensor, num_classes: int, dtype: torch.dtype, side: str) -> Tensor:
    """Labels of shape (n,) or (n, C) as weights of shape (n, C)."""
    if labels.dim() != 1:
        return labels.detach().to(dtype)
    valid = (labels >= 0) & (labels < num_classes)
    if labels.device.type == "cpu" and not torch.compiler.is_compiling():
        _check_range(labels, valid, num_classes, side)
    weights = (labels[:, None] == torch.arange(num_classes, device=labels.device)).to(dtype)
    return torch.where(valid.all(), weights, torch.nan)


def _check_range(labels: Tensor, valid: Tensor, num_classes: int, side: str) -> None:
    """On the CPU only: on a GPU, looking would hold up the host."""
    if not valid.all():
        wrong = int(labels[~valid][0])
        raise ValueError(
            f"lmmd: label {wrong} of the {side} is out of range: {num_classes} classes are 0 to {num_classes - 1}"
        )


def _at_least_float32(z: Tensor) -> Tensor:
    return z if z.dtype == torch.float64 else z.float()


def _signed_class_weights(
    y_visual: Tensor, y_acoustic: Tensor, num_classes: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """u of shape (n_v + n_a, C) and the number of classes that both sides have (eq. 7)."""
    visual = _class_weights(y_visual, num_classes, dtype, "faces")
    acoustic = _class_weights(y_acoustic, num_classes, dtype, "voices")
    n_visual, n_acoustic = visual.sum(dim=0), acoustic.sum(dim=0)
    shared = (n_visual > 0) & (n_acoustic > 0)
    # A class absent from either side gets 0: there is nothing to align it with.
    visual = torch.where(shared | n_visual.isnan(), visual / n_visual, 0)
    acoustic = torch.where(shared | n_acoustic.isnan(), acoustic / n_acoustic, 0)
    return torch.cat([visual, -acoustic]), shared.sum()


def _gaussian_kernels(z: Tensor, kernels: int, ratio: float) -> Tensor:
    """Sum of Gaussian kernels between all rows, shape (N, N)."""
    n = len(z)
    norms = z.square().sum(dim=1)
    # A row's distance to itself is 0; rounding would leave what a narrow kernel sees.
    distances = (norms[:, None] + norms[None, :] - 2 * z @ z.T).clamp_min(0).fill_diagonal_(0)
    with torch.no_grad():
        # The mean off-diagonal squared distance needs no distances: (2 N sum|z|^2 - 2|sum z|^2) / (N^2 - N).
        mean = (2 * n * norms.sum() - 2 * z.sum(dim=0).square().sum()) / (n * n - n)
        # All rows equal: any positive bandwidth gives the right answer, 0; 0 / 0 would not.
        bandwidth = (mean / ratio ** (kernels // 2)).clamp_min(torch.finfo(z.dtype).tiny * 1e6)
    return torch.stack([torch.exp(-distances / (bandwidth * ratio**i)) for i in range(kernels)]).sum(dim=0)
