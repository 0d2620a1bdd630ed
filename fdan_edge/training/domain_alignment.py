"""Terms that draw the features of two corpora together: IDA, MMD, CORAL and DANN's domain classifier.

Each takes features of a labelled source, (n_s, d), and of an unlabelled target, (n_t, d), as float16, bfloat16,
float32 or float64, and gives a scalar to be minimised, in float32 (float64 for float64 features).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from fdan_edge.models.ops.lmmd import lmmd
from fdan_edge.training.sparse_coding import at_least_float32, sparse_codes


def ida(z_source: Tensor, z_target: Tensor, tau: float = 0.1, iterations: int = 100) -> Tensor:
    """Compute implicit distribution alignment: how badly few source samples make up each target sample.

        1/n_t (|Z_t - W Z_s|_F^2 + tau |W|_1),  W the minimiser

    The term of DIDAN (Zhao et al. 2023, 'Deep Implicit Distribution Alignment Networks for Cross-Corpus Speech
    Emotion Recognition', arXiv 2302.08921), whose abstract names sample reconstruction in the place of MMD. The
    rest is our reading: this form; rows scaled to unit length, since otherwise smaller features would lower the
    term and align nothing; W found by `sparse_codes` with the features held fixed. The gradient is that of the
    least value all the same, as far as W has converged: there a change of W changes nothing (Danskin's theorem).

    Args:
        z_source: features of the source, (n_s, d).
        z_target: features of the target, (n_t, d).
        tau: weight of |W|_1. From 2 on, W is 0, the value 1 and the gradient 0.
        iterations: of `sparse_codes`.

    Returns:
        A scalar from 0 to 1, but for what W lacks in convergence.

    Raises:
        ValueError: as `sparse_codes`.
    """
    with torch.autocast(z_source.device.type, enabled=False):
        source, target = (functional.normalize(z, dim=1) for z in at_least_float32(z_source, z_target))
        codes = sparse_codes(target, source, tau, iterations)
        error = (target - codes @ source).square().sum()
        return (error + tau * codes.abs().sum()) / len(target)


def mmd(z_source: Tensor, z_target: Tensor) -> Tensor:
    """Compute the squared maximum mean discrepancy (Gretton et al. 2012) under the kernels of `models.ops.lmmd`.

    The mean kernel within each side less twice that across, in which a row's kernel with itself counts too.

    Raises:
        ValueError: as `lmmd`.
    """
    source, target = (torch.zeros(len(z), dtype=torch.long, device=z.device) for z in (z_source, z_target))
    return lmmd(z_source, z_target, source, target, 1)


def coral(z_source: Tensor, z_target: Tensor) -> Tensor:
    """Compute |C_s - C_t|_F^2 / (4 d^2), C the sample covariances: Deep CORAL (Sun & Saenko 2016, eqs. 1-3).

    Raises:
        ValueError: a side of less than two rows, which has no covariance, or shapes that do not fit.
    """
    if z_source.dim() != 2 or z_target.dim() != 2 or z_source.shape[1] != z_target.shape[1]:
        raise ValueError(f"coral: shapes {tuple(z_source.shape)} and {tuple(z_target.shape)} do not fit")
    if min(len(z_source), len(z_target)) < 2:
        raise ValueError(f"coral needs 2 rows on each side, got {len(z_source)} and {len(z_target)}")
    with torch.autocast(z_source.device.type, enabled=False):
        source, target = (_covariance(z) for z in at_least_float32(z_source, z_target))
        return (source - target).square().mean() / 4


def reversal_strength(progress: float) -> float:
    """Compute 2 / (1 + exp(-10 p)) - 1, from 0 to 1 over a training (Ganin et al. 2016, section 5.2.2).

    Args:
        progress: p, the share of the training that is done, 0 to 1.

    Raises:
        ValueError: progress out of range.
    """
    if not 0 <= progress <= 1:
        raise ValueError(f"progress = {progress} is out of range; valid: 0 to 1")
    return 2 / (1 + math.exp(-10 * progress)) - 1


def _covariance(z: Tensor) -> Tensor:
    centred = z - z.mean(dim=0)
    return centred.T @ centred / (len(z) - 1)
