"""LMMD written in the ways that people write it, forward and backward; and what it must be, in float64.

Every contender has the signature of `models.ops.lmmd.lmmd` without its options: features z_visual (n_v, d) and
z_acoustic (n_a, d), class indices y_visual (n_v,) and y_acoustic (n_a,), the number of classes C; a scalar
comes back, divided by all C classes as the paper writes it, with gradients to both z.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdan_edge.models.ops.backend import register_triton
from fdan_edge.models.ops.derivatives import lmmd_op
from fdan_edge.models.ops.lmmd import lmmd

Contender = Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]
Step = Callable[[], tuple[Tensor, tuple[Tensor, ...]]]  # the value, and gradients like both z

NAMES = ("published", "vectorised", "by_hand", "compiled", "keops", "fdan_edge")

#: The Triton kernel with float32 products, and with three TF32 ones in the place of each.
TRITON = ("triton", "triton_tf32x3")

#: Largest extra memory in units of what the contender makes most of (see `bytes_needed`); measured, rounded up.
_MATRICES = {"published": 4.1, "vectorised": 8, "by_hand": 3, "compiled": 3}
_ROWS = 2048  # of a block of the float64 answer


@dataclass(frozen=True)
class Problem:
    """What one LMMD is made of; the z are leaves that want a gradient."""

    z_visual: Tensor
    z_acoustic: Tensor
    y_visual: Tensor
    y_acoustic: Tensor
    classes: int

    @property
    def labels(self) -> tuple[Tensor, Tensor]:
        return self.y_visual, self.y_acoustic

    @property
    def rows(self) -> int:
        return len(self.z_visual) + len(self.z_acoustic)

    @property
    def useful_flops(self) -> float:
        """Of the two matrix products that LMMD and its gradient need, class by class: sum_c 4 n_c^2 d."""
        counts = torch.bincount(torch.cat(self.labels), minlength=self.classes).double()
        return float(4 * self.z_visual.shape[1] * counts.square().sum())


class UnavailableError(Exception):
    """A contender cannot take part here; the message says why."""


def published(
    z_visual: Tensor, z_acoustic: Tensor, y_visual: Tensor, y_acoustic: Tensor, num_classes: int
) -> Tensor:
    """As DSAN's and FDAN's authors publish it: N x N x d differences, 5 exponentials, weights made in numpy.

    Written anew, with the same steps. Differs in one thing: divided by C, not by the number of shared classes.
    """
    n = len(z_visual)
    if n != len(z_acoustic):
        raise UnavailableError("assumes as many faces as voices")
    weights = _published_weights(y_visual.cpu().numpy(), y_acoustic.cpu().numpy(), num_classes)
    w_ss, w_tt, w_st = (torch.from_numpy(w).to(z_visual) for w in weights)
    kernel = _published_kernel(torch.cat([z_visual, z_acoustic]))
    if torch.isnan(cast(Tensor, sum(kernel))).sum():  # row after row, as published; waits for a GPU
        return torch.zeros_like(kernel[0, 0])
    return (w_ss * kernel[:n, :n] + w_tt * kernel[n:, n:] - 2 * w_st * kernel[:n, n:]).sum()


def _published_kernel(z: Tensor) -> Tensor:
    """Sum of 5 Gaussians, shape (N, N), through differences of shape (N, N, d)."""
    n, d = z.shape
    differences = z[None].expand(n, n, d) - z[:, None].expand(n, n, d)
    distances = (differences**2).sum(2)
    bandwidth = distances.detach().sum() / (n * n - n) / 2**2
    return cast(Tensor, sum(torch.exp(-distances / (bandwidth * 2**i)) for i in range(5)))


def _published_weights(y_s: NDArray[Any], y_t: NDArray[Any], num_classes: int) -> list[NDArray[np.float64]]:
    """Weights of pairs (source, source), (target, target) and (source, target), each of shape (n, n)."""
    n, present = len(y_s), set(y_s.tolist()) & set(y_t.tolist())
    source, target = np.eye(num_classes)[y_s], np.eye(num_classes)[y_t]
    w_ss, w_tt, w_st = (np.zeros((n, n)) for _ in range(3))
    for c in range(num_classes):
        if c in present:
            s = source[:, c : c + 1] / source[:, c].sum()
            t = target[:, c : c + 1] / target[:, c].sum()
            w_ss += s @ s.T
            w_tt += t @ t.T
            w_st += s @ t.T
    return [w_ss / num_classes, w_tt / num_classes, w_st / num_classes]


def vectorised(
    z_visual: Tensor, z_acoustic: Tensor, y_visual: Tensor, y_acoustic: Tensor, num_classes: int
) -> Tensor:
    """What plain PyTorch with autograd does best: a Gram matrix, the bandwidth from the norms, one exponential.

    Fastest of about 40 ways of writing it at 64 and at 4096 to 8192 rows. K and the weights are symmetric, so
    one side only is differentiated and the gradient doubled: one matrix product less in the backward pass.
    """
    z = _centred(z_visual, z_acoustic)
    norms = torch.linalg.vecdot(z, z)
    with torch.no_grad():
        u = _signed_class_weights(y_visual, y_acoustic, num_classes, z.dtype)
        scale = _scale(norms)
        right = z.T * (2 * scale)
    exponents = torch.addmm((norms * -scale)[:, None], z, right).sub_(norms.detach() * scale)
    e = exponents.exp_()
    e2 = e * e
    e4 = e2 * e2
    e8 = e4 * e4
    kernel = torch.addcmul(e8, e8, e8).add_(e4).add_(e2).add_(e)
    loss = (u * (kernel @ u)).sum() / num_classes
    return loss * 2 - loss.detach()


def by_hand(
    z_visual: Tensor, z_acoustic: Tensor, y_visual: Tensor, y_acoustic: Tensor, num_classes: int
) -> Tensor:
    """`vectorised` with the gradient derived by hand: value and gradient in one pass, in place, no autograd."""
    loss = _ByHand.apply(z_visual, z_acoustic, y_visual, y_acoustic, num_classes)
    return cast(Tensor, loss)


class _ByHand(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z_visual: Tensor, z_acoustic: Tensor, y_v: Tensor, y_a: Tensor, classes: int) -> Tensor:
        z = _centred(z_visual, z_acoustic)
        u = _signed_class_weights(y_v, y_a, classes, z.dtype)
        norms = torch.linalg.vecdot(z, z)
        scale = _scale(norms)
        norms = norms * scale
        e = torch.addmm(norms, z, z.T * scale, beta=-1, alpha=2).sub_(norms[:, None]).exp_()
        kernel, slope = e.clone(), e.clone()  # k, and -dk / d(distance times scale)
        for power in (2, 4, 8, 16):
            e.mul_(e)
            kernel.add_(e)
            slope.add_(e, alpha=power)
        loss = (u * (kernel @ u)).sum() / classes
        slope.mul_(torch.mm(u, u.T, out=e))
        gradient = torch.addmm(z * slope.sum(1, keepdim=True), slope, z, beta=-1).mul_(scale * (4 / classes))
        ctx.save_for_backward(gradient)
        ctx.inputs = (len(z_visual), z_visual.dtype)
        return loss

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        n, dtype = ctx.inputs
        gradient = (ctx.saved_tensors[0] * outer[0]).to(dtype)
        return gradient[:n], gradient[n:], None, None, None


def compiled(function: Contender = vectorised, *, backend: str = "inductor", mode: str | None = None) -> Contender:
    """torch.compile of `function` for the one shape that it is first called with."""
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # no pool of idle workers beside the timing
    torch.compiler.reset()
    options: dict[str, Any] = {"backend": backend, "dynamic": False, "fullgraph": True}
    if mode and mode != "default":
        options["mode"] = mode
    return cast(Contender, torch.compile(function, **options))


def keops(z_visual: Tensor, z_acoustic: Tensor, y_visual: Tensor, y_acoustic: Tensor, num_classes: int) -> Tensor:
    """KeOps: the N x N matrix is never stored, its reduction is compiled by KeOps for this d and C.

    One side differentiated as in `vectorised`; 5 exponentials, which KeOps does faster than repeated squares.
    """
    lazy = importlib.import_module("pykeops.torch").LazyTensor
    z = _centred(z_visual, z_acoustic)
    with torch.no_grad():
        u = _signed_class_weights(y_visual, y_acoustic, num_classes, z.dtype)
        scale = _scale(torch.linalg.vecdot(z, z)).sqrt()
    z = z * scale
    distances = lazy(z[:, None]).sqdist(lazy(z.detach()[None]))
    kernel = sum(((-(2**i) * distances).exp() for i in range(1, 5)), (-distances).exp())
    weights = lazy(u[:, None]) | lazy(u[None])
    loss = (weights * kernel).sum(dim=1).sum() / num_classes
    return cast(Tensor, loss * 2 - loss.detach())


def triton(name: str) -> Contender:
    """The Triton kernel, whatever FDAN_EDGE_LMMD says.

    Raises:
        UnavailableError: Triton is not installed, or there is neither a GPU nor its interpreter.
    """
    if find_spec("triton") is None:
        raise UnavailableError("triton is not installed")
    if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
        raise UnavailableError("Triton compiles for GPUs only")
    register_triton()
    precision = "highest" if name == "triton" else "high"

    def function(z_v: Tensor, z_a: Tensor, y_v: Tensor, y_a: Tensor, num_classes: int) -> Tensor:
        if z_v.dtype == torch.float64:
            raise UnavailableError("sums are float32")
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(precision)
        try:
            return lmmd_op("lmmd_triton", z_v, z_a, y_v, y_a, num_classes, False, 5, 2.0)
        finally:
            torch.set_float32_matmul_precision(before)

    return function


def contender(name: str, compile_mode: str | None = None) -> Contender:
    """The contender of that name.

    Raises:
        UnavailableError: it needs what is not installed.
    """
    if name == "keops":
        if find_spec("pykeops") is None:
            raise UnavailableError("pykeops is not installed")
        importlib.import_module("pykeops").set_verbose(False)
    if name == "compiled":
        return compiled(mode=compile_mode)
    if name in TRITON:
        return triton(name)
    plain: dict[str, Contender] = {
        "published": published,
        "vectorised": vectorised,
        "by_hand": by_hand,
        "keops": keops,
        "fdan_edge": lmmd,
    }
    return plain[name]


def bytes_needed(name: str, n: int, d: int, dtype: torch.dtype) -> float:
    """About how much memory a contender needs on top of its inputs, for n rows in all."""
    size = max(dtype.itemsize, dtype.itemsize if name == "published" else 4)
    cells = n * n * d if name == "published" else n * n
    return _MATRICES.get(name, 0) * cells * size + 8 * n * d * size


def exact(problem: Problem) -> tuple[float, Tensor]:
    """LMMD and its gradient in float64 from the formulas, class by class: what the contenders are held against.

        dL/dz_m = 4 / C' sum_n u_m u_n k'(|z_m - z_n|^2) (z_m - z_n)

    Returns:
        The value, and the gradient of shape (n_v + n_a, d).
    """
    classes = problem.classes
    z = torch.cat([problem.z_visual, problem.z_acoustic]).detach().double()
    z = z - z.mean(dim=0)
    u = _signed_class_weights(*problem.labels, classes, torch.float64)
    scale = _scale(z.square().sum(dim=1))
    value, gradient = 0.0, torch.zeros_like(z)
    for c in range(classes):
        rows = u[:, c].nonzero()[:, 0]
        for start in range(0, len(rows), _ROWS):
            block = rows[start : start + _ROWS]
            distances = _distances(z[block], z[rows]) * scale
            powers = [2**i for i in range(5)]
            weights = u[block, c][:, None] * u[rows, c] / classes
            value += float((weights * sum(torch.exp(-p * distances) for p in powers)).sum())
            slope = -4 * scale * weights * sum(p * torch.exp(-p * distances) for p in powers)
            gradient[block] += slope.sum(dim=1, keepdim=True) * z[block] - slope @ z[rows]
    return value, gradient


def random_problem(size: tuple[int, int], d: int, classes: int, dtype: torch.dtype, device: str) -> Problem:
    """Normal features, the faces a little to the side of the voices; classes at random; always the same."""
    chance = torch.Generator().manual_seed(0)
    z = [torch.randn(n, d, generator=chance) + shift for n, shift in zip(size, (0.1, 0.0), strict=True)]
    y = [torch.randint(classes, (n,), generator=chance).to(device) for n in size]
    leaves = [t.to(device, dtype).requires_grad_() for t in z]
    return Problem(leaves[0], leaves[1], y[0], y[1], classes)


def lmmd_step(function: Contender, problem: Problem) -> Step:
    """Forward and backward; the gradients are new tensors in every call, as in training after `zero_grad`."""
    leaves = (problem.z_visual, problem.z_acoustic)
    outer: list[Tensor] = []

    def step() -> tuple[Tensor, tuple[Tensor, ...]]:
        loss = function(*leaves, *problem.labels, problem.classes)
        if not outer:
            outer.append(torch.ones_like(loss))
        return loss.detach(), torch.autograd.grad(loss, leaves, outer)

    return step


def matmul_step(problem: Problem) -> Step:
    """One square product of about as many FLOPs as LMMD needs, forward only."""
    side = max(1, round((problem.useful_flops / 2) ** (1 / 3)))
    a, b = torch.randn(2, side, side, device=problem.z_visual.device).to(problem.z_visual.dtype)
    return lambda: (a @ b, ())


def _distances(a: Tensor, b: Tensor) -> Tensor:
    return (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T).clamp_min(0)


def _centred(z_visual: Tensor, z_acoustic: Tensor) -> Tensor:
    """Both sides without their common mean, shape (n_v + n_a, d), float32 at least."""
    z = torch.cat([z_visual, z_acoustic])
    z = z if z.dtype == torch.float64 else z.float()
    return z - z.detach().mean(dim=0)


def _scale(norms: Tensor) -> Tensor:
    """1 / (16 b), b the smallest bandwidth, from the squared norms (N,) of centred rows."""
    n = len(norms)
    # mean distance = 2 N sum|z|^2 / (N^2 - N) for centred rows; b is a quarter of it.
    return (n - 1) / 8 / norms.detach().sum()


def _signed_class_weights(y_visual: Tensor, y_acoustic: Tensor, num_classes: int, dtype: torch.dtype) -> Tensor:
    """u of shape (n_v + n_a, C): 1 / count for faces, -1 / count for voices, 0 for a class not on both sides."""
    table = torch.eye(num_classes, dtype=dtype, device=y_visual.device)
    u = table.index_select(0, torch.cat([y_visual, y_acoustic]))
    visual, acoustic = u[: len(y_visual)], u[len(y_visual) :]
    n_visual, n_acoustic = visual.sum(0), acoustic.sum(0)
    shared = (n_visual * n_acoustic).sign_()
    visual.mul_(shared / n_visual.clamp_min_(1))
    acoustic.mul_(shared.neg_().div_(n_acoustic.clamp_min_(1)))
    return u
