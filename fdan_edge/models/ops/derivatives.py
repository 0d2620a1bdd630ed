"""The derivatives of the ops, of every order, in reverse and in forward mode.

The ops give value and first derivative in one pass. Second derivatives, and all beyond, go through the PyTorch
reference with its (N, N) matrices: right, slower, and only where they are asked for. In each of them the bandwidth
of the kernels is a constant.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad

from fdan_edge.models.ops.native import native_status
from fdan_edge.models.ops.reference import reference_value

#: An op of the schema of `lmmd_forward` in cuda/library.cpp, which knows no derivative.
Op = Callable[..., tuple[Tensor, Tensor]]


class Lmmd(torch.autograd.Function):
    """An op with its derivatives, as `Lmmd.apply(op, *arguments of the op)`.

    Outputs are those of the op: the value, and the derivative of all rows, which for autograd is a constant.
    """

    @staticmethod
    def forward(op: Op, *inputs: Any) -> tuple[Tensor, Tensor]:
        """Compute the value and, where the last input says so, the derivative of all rows (N, d)."""
        return op(*inputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        """Keep what derivatives need."""
        _keep(ctx, inputs, output[1])
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, scale: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
        """Scale the derivative of all rows."""
        return (None,) * 10 if scale is None else _scaled(ctx, _slopes(ctx, scale), scale)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> Any:
        """Call the op once for each problem of the batch."""
        made = [Lmmd.apply(*one) for one in _unbatched(info.batch_size, in_dims, inputs)]
        return tuple(torch.stack(parts) for parts in zip(*made, strict=True)), (0, 0)


class _Eager(torch.autograd.Function):
    """`Lmmd` without the second output, where no transform of torch.func is at work: a fifth less time at 32+32.

    PyTorch looks at the signature of a function with `setup_context` in every call.
    """

    @staticmethod
    def forward(ctx: Any, op: Op, *inputs: Any) -> Tensor:
        value, left = op(*inputs)
        _keep(ctx, (op, *inputs), left)
        return value

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        # Unless somebody may ask for a derivative of this one, it is a constant that the op has left.
        return _scaled(ctx, _slopes(ctx, scale) if torch.is_grad_enabled() else ctx.saved_tensors[4], scale)


class _Slopes(torch.autograd.Function):
    """The derivative of all rows (N, d) as a function that can be differentiated again.

    Its inputs are those of the op without the last, and before them the op, the derivative that it has left, of 0
    rows where it has left none, and what is only known in the backward pass (see `lmmd_slopes`).
    """

    @staticmethod
    def forward(op: Op, left: Tensor, late: Tensor, *inputs: Any) -> Tensor:
        made = left if len(left) else op(*inputs, True)[1]
        return cast("Tensor", torch.ops.fdan_edge.lmmd_slopes(made, late, *inputs[:2]))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.options, ctx.dtype, ctx.sums = inputs[7:], inputs[3].dtype, output.dtype
        ctx.rows = (len(inputs[3]), len(inputs[4]))
        ctx.save_for_backward(*inputs[3:7])

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        curved = _curvature(ctx, outer).to(ctx.dtype)
        visual, acoustic = curved.split(ctx.rows)  # type: ignore[no-untyped-call]
        return None, None, None, visual, acoustic, None, None, None, None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> Any:
        return torch.stack([_Slopes.apply(*one) for one in _unbatched(info.batch_size, in_dims, inputs)]), 0


def _keep(ctx: Any, inputs: tuple[Any, ...], left: Tensor) -> None:
    """Keep what derivatives need: `inputs` of `Lmmd`, and the derivative of all rows that the op has left."""
    ctx.op, ctx.options, ctx.dtype = inputs[0], inputs[5:9], inputs[1].dtype
    ctx.rows = (len(inputs[1]), len(inputs[2]))
    ctx.save_for_backward(*inputs[1:5], left)


def _slopes(ctx: Any, scale: Tensor) -> Tensor:
    """The derivative of all rows (N, d), itself differentiable."""
    *inputs, left = ctx.saved_tensors
    return cast("Tensor", _Slopes.apply(ctx.op, left, scale, *inputs, *ctx.options))


def _scaled(ctx: Any, slopes: Tensor, scale: Tensor) -> tuple[Tensor | None, ...]:
    """Gradients of the inputs: `slopes` times `scale` in the type of the sums, rounded last."""
    visual, acoustic = (slopes * scale).to(ctx.dtype).split(ctx.rows)  # type: ignore[no-untyped-call]
    return None, visual, acoustic, None, None, None, None, None, None, None


def _curvature(ctx: Any, direction: Tensor) -> Tensor:
    """The second derivative times a direction (N, d), through the reference; can be differentiated further."""
    visual, acoustic, *labels = ctx.saved_tensors

    def value(z: Tensor) -> Tensor:
        sides = z.split(ctx.rows)  # type: ignore[no-untyped-call]
        return reference_value(*sides, *labels, *ctx.options)

    with torch.autocast(visual.device.type, enabled=False):
        rows = torch.cat([visual, acoustic]).to(ctx.sums)
        product: Tensor = torch.func.vjp(torch.func.grad(value), rows)[1](direction)[0]
    return product


def _unbatched(size: int, dims: tuple[int | None, ...], inputs: tuple[Any, ...]) -> list[list[Any]]:
    """The inputs of each problem of a batch; `dims` says where the batch is, None where it is not."""
    pairs = list(zip(inputs, dims, strict=True))
    return [[x if dim is None else x.select(dim, i) for x, dim in pairs] for i in range(size)]


def is_forward_mode() -> bool:
    """Tell whether forward mode is on: there the reference is right at any depth, and a function of ours is not.

    PyTorch drops the second derivative of a `torch.autograd.Function` with `jvp`, without a word.
    """
    return forward_ad._current_level >= 0


def lmmd_op(name: str, *inputs: Any) -> Tensor:
    """Call the op `fdan_edge::name` on checked inputs; it computes derivatives only where they are wanted.

    Args:
        name: `lmmd`, or another op of its schema.
        inputs: of the op, without the last.

    Returns:
        The value.
    """
    gradient = torch.is_grad_enabled() and (inputs[0].requires_grad or inputs[1].requires_grad)
    if torch.compiler.is_compiling():
        return cast("Tensor", getattr(torch.ops.fdan_edge, name).default(*inputs, gradient)[0])
    op = getattr(torch.ops.fdan_edge, f"{name}_forward").default
    if torch._C._are_functorch_transforms_active():
        return cast("Tensor", Lmmd.apply(op, *inputs, True)[0])
    if gradient:
        return cast("Tensor", _Eager.apply(op, *inputs, True))
    return cast("Tensor", op(*inputs, False)[0])


def register(name: str) -> None:
    """Give the op `fdan_edge::name` its derivatives; `fdan_edge::name_forward` must be the same without any."""
    op = getattr(torch.ops.fdan_edge, f"{name}_forward").default

    def differentiable(*inputs: Any) -> tuple[Tensor, Tensor]:
        if is_forward_mode() or torch._C._are_functorch_transforms_active():
            return reference_value(*inputs[:-1]), op(*inputs)[1].detach()
        return cast("tuple[Tensor, Tensor]", Lmmd.apply(op, *inputs))

    _LIBRARY.impl(name, differentiable, "Autograd")  # type: ignore[no-untyped-call]
    for other in (name, f"{name}_forward"):
        torch.library.register_fake(f"fdan_edge::{other}", _fake)


def _fake(z_visual: Tensor, z_acoustic: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
    """Outputs of the right shape and type, for torch.compile and export."""
    gradient: bool = others[-1]
    dtype = torch.float64 if z_visual.dtype == torch.float64 else torch.float32
    rows = len(z_visual) + len(z_acoustic) if gradient else 0
    return z_visual.new_empty((), dtype=dtype), z_visual.new_empty((rows, z_visual.shape[1]), dtype=dtype)


def _copied(slopes: Tensor, *_: Tensor) -> Tensor:
    return slopes.clone()


_LIBRARY = torch.library.Library("fdan_edge", "FRAGMENT")  # type: ignore[no-untyped-call]
# A copy of the derivative that names what it depends on, and cannot be made in the forward pass: torch.compile
# then keeps the features for backward, and refuses to differentiate twice, where it would lose the second
# derivative without a word.
_LIBRARY.define("lmmd_slopes(Tensor slopes, Tensor late, Tensor z_visual, Tensor z_acoustic) -> Tensor")  # type: ignore[no-untyped-call]
_LIBRARY.impl("lmmd_slopes", _copied, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
torch.library.register_fake("fdan_edge::lmmd_slopes", _copied)
if native_status().cpu:
    register("lmmd")
