"""LMMD, the local maximum mean discrepancy: one function, compiled where it can be.

`lmmd` calls the compiled op (sources in cuda/) on the devices that it was compiled for, and elsewhere
`lmmd_reference`, the same in readable PyTorch. FDAN_EDGE_LMMD in the environment asks for another way.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fdan_edge.models.ops.backend import op_for
from fdan_edge.models.ops.derivatives import is_forward_mode, lmmd_op
from fdan_edge.models.ops.native import native_status
from fdan_edge.models.ops.reference import CLASS_COUNTS, check_shapes, checked, lmmd_reference

__all__ = ["CLASS_COUNTS", "lmmd", "lmmd_reference", "native_status"]


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
    gradient in one pass, and is deterministic. Second derivatives and forward mode go through the reference and
    its (N, N) matrices; b is a constant in them as well.

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
        ConfigError: unknown `class_count`, or an unknown value of FDAN_EDGE_LMMD.
        MissingDependencyError: FDAN_EDGE_LMMD asks for Triton, which is not installed.
        ValueError: shapes or types that do not fit, an empty side, or a label out of range. On a GPU, where
            looking at labels would hold up the host, a label out of range makes the value NaN.
    """
    inputs = (z_visual, z_acoustic, y_visual, y_acoustic, num_classes)
    plain = y_visual.dim() == y_acoustic.dim() == 1 and z_visual.dtype != torch.float64 != z_acoustic.dtype
    name = op_for(z_visual.device, plain)
    if not name or is_forward_mode():
        return lmmd_reference(*inputs, class_count=class_count, kernels=kernels, ratio=ratio)
    if name != "lmmd":  # which checks them itself
        check_shapes(*inputs)
    sides = checked(*inputs, class_count, kernels, ratio)
    return lmmd_op(name, *sides, num_classes, class_count == "shared", kernels, ratio)
