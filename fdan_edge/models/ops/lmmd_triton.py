"""LMMD and its derivative as a Triton kernel: a second opinion on cuda/, in a twentieth of its lines.

Imports Triton, so `fdan_edge.models.ops.backend` imports this module only in the first call. Rows are sorted by
class; each block of rows meets the rows of its classes, tile by tile. No matrix of (N, N) numbers is in memory,
and every sum has a fixed order. Float32 sums and labels that are indices only.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton  # type: ignore[import-untyped, unused-ignore]
import triton.language as tl  # type: ignore[import-untyped, unused-ignore]
from torch import Tensor

from fdan_edge.models.ops.reference import check_range

LOG2_E, LN_2 = 1.4426950408889634, 0.6931471805599453
MOST_SCALE = 1e36  # as in cuda/lmmd.h


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _kernel(  # type: ignore[no-untyped-def]
    z_of,  # scaled rows, sorted by class (rows, width)
    norm_of,
    weight_of,  # u of eq. 7
    begin_of,  # of each row's class
    end_of,
    order,  # where a sorted row comes from
    factor,
    gradient_of,
    part_of,  # of the value, one for each block of rows
    rows,
    width,
    ratio,
    KERNELS: tl.constexpr,  # noqa: N803
    GRADIENT: tl.constexpr,  # noqa: N803
    PRECISION: tl.constexpr,  # noqa: N803
    M: tl.constexpr,  # noqa: N803
    N: tl.constexpr,  # noqa: N803
    K: tl.constexpr,  # noqa: N803
    D: tl.constexpr,  # noqa: N803
):
    """Sum the kernels of M rows with all rows of their classes, and D columns of the derivative."""
    m = tl.program_id(0) * M + tl.arange(0, M)
    column = tl.program_id(1) * D + tl.arange(0, D)
    there = m < rows
    at_m = m.to(tl.int64)[:, None] * width
    norm_m = tl.load(norm_of + m, there, 0.0)
    weight_m = tl.load(weight_of + m, there, 0.0)
    begin, end = tl.load(begin_of + m, there, rows), tl.load(end_of + m, there, 0)
    value = tl.zeros((M,), tl.float32)
    total = tl.zeros((M,), tl.float32)
    pulled = tl.zeros((M, D), tl.float32)
    for start in range(tl.min(begin), tl.max(end), N):
        n = start + tl.arange(0, N)
        at_n = n.to(tl.int64)[:, None] * width
        product = tl.zeros((M, N), tl.float32)
        for first in range(0, width, K):
            k = first + tl.arange(0, K)
            left = tl.load(z_of + at_m + k[None, :], there[:, None] & (k < width)[None, :], 0.0)
            right = tl.load(z_of + at_n + k[None, :], (n < rows)[:, None] & (k < width)[None, :], 0.0)
            product = tl.dot(left, tl.trans(right), product, input_precision=PRECISION)
        norm_n = tl.load(norm_of + n, n < rows, 0.0)
        same = m[:, None] == n[None, :]
        # Rounding would leave what a narrow kernel sees of a row's distance to itself.
        distance = tl.where(same, 0.0, tl.maximum(norm_m[:, None] + norm_n[None, :] - 2 * product, 0.0))
        inside = (n[None, :] >= begin[:, None]) & (n[None, :] < end[:, None])
        weight = tl.where(inside, weight_m[:, None] * tl.load(weight_of + n, n < rows, 0.0)[None, :], 0.0)
        kernel = tl.zeros((M, N), tl.float32)
        slope = tl.zeros((M, N), tl.float32)
        power = 1.0
        for _ in tl.static_range(KERNELS):
            one = tl.exp2(-distance * power)
            kernel += one
            slope += one * power
            power = power * ratio
        value += tl.sum(weight * kernel, 1)
        if GRADIENT:
            pull = tl.where(same, 0.0, weight * slope)
            total += tl.sum(pull, 1)
            other = tl.load(z_of + at_n + column[None, :], (n < rows)[:, None] & (column < width)[None, :], 0.0)
            pulled = tl.dot(pull, other, pulled, input_precision=PRECISION)
    if tl.program_id(1) == 0:
        tl.store(part_of + tl.program_id(0), tl.sum(value, 0))
    if GRADIENT:
        own = there[:, None] & (column < width)[None, :]
        z = tl.load(z_of + at_m + column[None, :], own, 0.0)
        source = tl.load(order + m, there, 0)
        made = tl.load(factor) * (z * total[:, None] - pulled)
        tl.store(gradient_of + source[:, None] * width + column[None, :], made, own)


@dataclass(frozen=True)
class _Sorted:
    """Rows by class, faces before voices."""

    order: Tensor  # where each comes from (N,)
    begin: Tensor  # first row of its class (N,)
    end: Tensor  # behind the last one (N,)
    weight: Tensor  # u of eq. 7 (N,)
    shared: Tensor  # number of classes that both sides have, a scalar


def lmmd_triton(
    z_visual: Tensor,
    z_acoustic: Tensor,
    y_visual: Tensor,
    y_acoustic: Tensor,
    num_classes: int,
    shared_only: bool,
    kernels: int,
    ratio: float,
    gradient: bool,
) -> tuple[Tensor, Tensor]:
    """Compute what `torch.ops.fdan_edge.lmmd_forward` does, of labels that are indices; never waits for the GPU.

    The inner products are float32's (`ieee`). With `torch.set_float32_matmul_precision("high")` they come from
    three products in TF32, about as exact and on tensor cores.
    """
    check_range(y_visual, num_classes, "faces")
    check_range(y_acoustic, num_classes, "voices")
    labels = torch.cat([y_visual, y_acoustic])
    valid = ((labels >= 0) & (labels < num_classes)).all()
    rows = _by_class(labels.clamp(0, num_classes - 1), len(y_visual))
    z, scale = _scaled(torch.cat([z_visual, z_acoustic]).float()[rows.order], kernels, ratio)
    scale = torch.where(valid, scale, torch.nan)
    divisor = rows.shared.clamp_min(1) if shared_only else num_classes
    factor = (-4 * LN_2 * scale / divisor).float()
    parts, slopes = _launch(z, rows, factor, kernels, ratio, gradient)
    # All rows equal, or none that is finite: 0 or NaN, as the scale.
    value = torch.where(scale > 0, parts.sum(dtype=torch.float64) / divisor, scale)
    return value.float(), slopes


def _by_class(labels: Tensor, faces: int) -> _Sorted:
    """Sort rows by class, faces first; `labels` (N,) are in range."""
    voice = torch.arange(len(labels), device=labels.device) >= faces
    key, order = torch.sort(2 * labels + voice, stable=True)
    first = key - key % 2
    begin, middle, end = (torch.searchsorted(key, first + step) for step in range(3))
    n_visual, n_acoustic = middle - begin, end - middle
    both = (n_visual > 0) & (n_acoustic > 0)
    weight = torch.where(key % 2 == 0, 1 / n_visual, -1 / n_acoustic)
    leads = begin == torch.arange(len(key), device=key.device)
    return _Sorted(order, begin, end, torch.where(both, weight, 0).float(), (both & leads).sum())


def _scaled(z: Tensor, kernels: int, ratio: float) -> tuple[Tensor, Tensor]:
    """Centred rows times the scale that makes the widest kernel 2^-|z_m - z_n|^2, and that scale (cuda/lmmd.h)."""
    z = z - z[0]
    z = z - z.mean(dim=0)
    spread = z.square().sum(dtype=torch.float64)
    gain = LOG2_E * ratio ** (kernels // 2 - (kernels - 1))
    scale = torch.sqrt(gain * (len(z) - 1) / 2 / spread) + spread * 0
    scale = torch.where((spread <= 0) | (scale > MOST_SCALE), 0, scale)
    return z * scale.float(), scale


def _launch(
    z: Tensor, rows: _Sorted, factor: Tensor, kernels: int, ratio: float, gradient: bool
) -> tuple[Tensor, Tensor]:
    """Run the kernel: parts of the value, and the derivative in the order of the inputs (N, d), else 0 rows."""
    count, width = z.shape
    # In full precision the operands of a product are in registers too: with more rows in a block they spill.
    # Cards before Ampere have no TF32, and Triton would multiply in float32 with the blocks for the other.
    old = z.is_cuda and torch.cuda.get_device_capability(z.device) < (8, 0)
    precision = "ieee" if old or torch.get_float32_matmul_precision() == "highest" else "tf32x3"
    block, step = (16, 32) if count < 4096 else (32, 16) if precision == "ieee" else (64, 16)
    columns = max(16, min(256, triton.next_power_of_2(width)))
    grid = (triton.cdiv(count, block), triton.cdiv(width, columns) if gradient else 1)
    slopes = z.new_empty((count if gradient else 0, width))
    parts = z.new_empty(grid[0])
    tensors = (z, z.square().sum(dim=1), rows.weight, rows.begin, rows.end, rows.order, factor, slopes, parts)
    with torch.cuda.device_of(z):  # type: ignore[no-untyped-call]
        _kernel[grid](
            *tensors, count, width, ratio,
            KERNELS=kernels, GRADIENT=gradient, PRECISION=precision,
            M=block, N=32, K=step, D=columns, num_warps=4 if block == 16 else 8,
        )  # fmt: skip
    return parts, slopes
