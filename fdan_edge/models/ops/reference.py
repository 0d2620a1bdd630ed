"""LMMD in plain PyTorch: what the compiled ops are held against, and where their second derivatives come from."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fdan_edge.errors import ConfigError, unknown_choice

CLASS_COUNTS = ("all", "shared")


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
    """Compute `lmmd` in plain PyTorch, from the (N, N) matrix of all distances; same arguments, values and errors.

    It can be differentiated any number of times, in reverse and in forward mode. As everywhere in PyTorch, a
    backward pass that runs under autocast rounds its matrix products.
    """
    check_shapes(z_visual, z_acoustic, y_visual, y_acoustic, num_classes)
    sides = checked(z_visual, z_acoustic, y_visual, y_acoustic, num_classes, class_count, kernels, ratio)
    return reference_value(*sides, num_classes, class_count == "shared", kernels, ratio)


def reference_value(
    z_visual: Tensor,
    z_acoustic: Tensor,
    y_visual: Tensor,
    y_acoustic: Tensor,
    num_classes: int,
    shared_only: bool,
    kernels: int,
    ratio: float,
) -> Tensor:
    """Compute `lmmd_reference` for inputs as `checked` gives them."""
    with torch.autocast(z_visual.device.type, enabled=False):
        z = torch.cat([_at_least_float32(z_visual), _at_least_float32(z_acoustic)])
        weights, shared = _signed_class_weights(y_visual, y_acoustic, num_classes, z.dtype)
        # k depends on differences only; without the mean, |x|^2 + |y|^2 - 2xy cancels less. First one row is
        # subtracted: that leaves exact zeros where all rows are equal.
        z = z - z[0].detach()
        z = z - z.detach().mean(dim=0)
        kernel = _gaussian_kernels(z, kernels, ratio)
        divisor = shared.clamp_min(1) if shared_only else num_classes
        return ((weights @ weights.T) * kernel).sum() / divisor


def checked(
    z_visual: Tensor,
    z_acoustic: Tensor,
    y_visual: Tensor,
    y_acoustic: Tensor,
    num_classes: int,
    class_count: str,
    kernels: int,
    ratio: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return features of one type, and labels that are int64 or, where either side is soft, soft on both."""
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
    for labels, side in ((y_visual, "faces"), (y_acoustic, "voices")):
        check_range(labels, num_classes, side)
    dtype = torch.float64 if z_visual.dtype == torch.float64 else torch.float32
    y_visual = _class_weights(y_visual, num_classes, dtype)
    y_acoustic = _class_weights(y_acoustic, num_classes, dtype)
    return z_visual, z_acoustic, y_visual, y_acoustic


def check_shapes(
    z_visual: Tensor, z_acoustic: Tensor, y_visual: Tensor, y_acoustic: Tensor, num_classes: int
) -> None:
    """Raise ValueError for what the compiled op refuses, in its words (cuda/inputs.h)."""
    _check_features(z_visual, z_acoustic, num_classes)
    _check_labels(y_visual, len(z_visual), num_classes, "faces")
    _check_labels(y_acoustic, len(z_acoustic), num_classes, "voices")


def _check_features(z_visual: Tensor, z_acoustic: Tensor, num_classes: int) -> None:
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
    check_range(labels, num_classes, side)


def _class_weights(labels: Tensor, num_classes: int, dtype: torch.dtype) -> Tensor:
    """Labels of shape (n,) or (n, C) as weights of shape (n, C); all NaN where a label is out of range."""
    if labels.dim() != 1:
        return labels.detach().to(dtype)
    valid = (labels >= 0) & (labels < num_classes)
    weights = (labels[:, None] == torch.arange(num_classes, device=labels.device)).to(dtype)
    return torch.where(valid.all(), weights, torch.nan)


def check_range(labels: Tensor, num_classes: int, side: str) -> None:
    """Raise for a label out of range, where looking costs nothing.

    On a GPU it would hold up the host, and under vmap or torch.compile there is no one answer: there a label out
    of range makes the value NaN.
    """
    if labels.dim() != 1 or labels.device.type != "cpu" or torch.compiler.is_compiling() or _is_batched(labels):
        return
    wrong = labels[(labels < 0) | (labels >= num_classes)]
    if len(wrong):
        raise ValueError(
            f"lmmd: label {int(wrong[0])} of the {side} is out of range: "
            f"{num_classes} classes are 0 to {num_classes - 1}"
        )


def _is_batched(tensor: Tensor) -> bool:
    """Tell whether vmap is at any level of torch.func's wrappers."""
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        if torch._C._functorch.is_batchedtensor(tensor):
            return True
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return False


def _at_least_float32(z: Tensor) -> Tensor:
    return z if z.dtype == torch.float64 else z.float()


def _signed_class_weights(
    y_visual: Tensor, y_acoustic: Tensor, num_classes: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """u of shape (n_v + n_a, C) and the number of classes that both sides have (eq. 7)."""
    visual = _class_weights(y_visual, num_classes, dtype)
    acoustic = _class_weights(y_acoustic, num_classes, dtype)
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
    # A row's distance to itself is 0; rounding would leave what a narrow kernel sees. Between equal rows rounding
    # may leave less than 0: added back as a constant, since a clamp would take their second derivative away.
    distances = (norms[:, None] + norms[None, :] - 2 * z @ z.T).fill_diagonal_(0)
    distances = distances - distances.detach().clamp_max(0)
    # Detached rather than under no_grad, which forward mode does not heed. The mean off-diagonal squared distance
    # needs no distances: (2 N sum|z|^2 - 2|sum z|^2) / (N^2 - N).
    constant = z.detach()
    mean = (2 * n * constant.square().sum() - 2 * constant.sum(dim=0).square().sum()) / (n * n - n)
    # All rows equal: any positive bandwidth gives the right answer, 0; 0 / 0 would not.
    bandwidth = (mean / ratio ** (kernels // 2)).clamp_min(torch.finfo(z.dtype).tiny * 1e6)
    return torch.stack([torch.exp(-distances / (bandwidth * ratio**i)) for i in range(kernels)]).sum(dim=0)
