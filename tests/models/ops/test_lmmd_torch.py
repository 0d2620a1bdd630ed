"""LMMD as a part of PyTorch: autograd, autocast, torch.library's checks, torch.compile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fdan_edge.models.ops.lmmd import lmmd
from tests.helpers.lmmd_problems import SHAPES, Problem, Recipe, by_autograd, check, error, expected, problem

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
labels = pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
SMALL = Recipe(9, 14, 13, 3)


def leaves(p: Problem) -> tuple[Tensor, Tensor]:
    return p.z_visual.clone().requires_grad_(), p.z_acoustic.clone().requires_grad_()


@labels
@dtypes
@pytest.mark.parametrize("shape", ["usual", "classes of one side", "several blocks"])
def test_backward_gives_gradients_in_the_type_of_the_features(shape: str, dtype: torch.dtype, soft: bool) -> None:
    recipe = SHAPES[shape].but(dtype=dtype, soft=soft)
    value, gradient = by_autograd(problem(recipe))
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert gradient.dtype == dtype
    check((value, gradient), recipe, 1e-2 if dtype in (torch.float16, torch.bfloat16) else 1e-5)


@pytest.mark.parametrize("side", [0, 1])
def test_a_gradient_for_one_side_only(side: int) -> None:
    p = problem(SMALL)
    z = [p.z_visual, p.z_acoustic]
    z[side].requires_grad_()
    value = lmmd(z[0], z[1], p.y_visual, p.y_acoustic, 3)
    (gradient,) = torch.autograd.grad(value, z[side])
    both = expected(SMALL)[1]
    assert error(gradient, both[9:] if side else both[:9]) < 1e-5
    assert z[1 - side].grad is None


class Calls(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """What the compiled op is asked for."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.gradients: list[bool] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.ops.fdan_edge.lmmd.default, torch.ops.fdan_edge.lmmd_forward.default):
            self.gradients.append(args[-1])
        return func(*args, **(kwargs or {}))


def test_derivatives_are_computed_only_where_they_are_wanted() -> None:
    p = problem(SMALL)
    z = leaves(p)
    with Calls() as calls:
        lmmd(*z, p.y_visual, p.y_acoustic, 3)
        with torch.no_grad():
            alone = lmmd(*z, p.y_visual, p.y_acoustic, 3)
        with torch.inference_mode():
            lmmd(*z, p.y_visual, p.y_acoustic, 3)
        lmmd(p.z_visual, p.z_acoustic, p.y_visual, p.y_acoustic, 3)
    assert calls.gradients == [True, False, False, False]
    assert not alone.requires_grad
    assert error(alone, expected(SMALL)[0]) < 1e-5


def test_gradients_are_scaled_by_what_comes_after() -> None:
    p = problem(SMALL)
    z = leaves(p)
    value = lmmd(*z, p.y_visual, p.y_acoustic, 3)
    (-3 * value + value.square()).backward()  # type: ignore[no-untyped-call]
    assert z[0].grad is not None
    assert z[1].grad is not None
    right = expected(SMALL)
    wanted = (-3 + 2 * right[0]) * right[1]
    assert error(torch.cat([z[0].grad, z[1].grad]), wanted) < 1e-5


def test_float16_gradients_are_scaled_before_they_are_rounded() -> None:
    """With the paper's alpha and features of this size they underflow; a loss scale saves them, all digits."""
    recipe = Recipe(16, 20, 32, 7, dtype=torch.float16)
    p = problem(recipe)
    z = [(side * 1e4).requires_grad_() for side in (p.z_visual, p.z_acoustic)]
    loss = 1e-3 * lmmd(z[0], z[1], p.y_visual, p.y_acoustic, 7)
    plain = torch.cat(torch.autograd.grad(loss, z, retain_graph=True))
    scaled = torch.cat(torch.autograd.grad(loss * 2**16, z))
    assert not plain.any()
    exact = [side.detach().double().requires_grad_() for side in z]
    right = torch.cat(torch.autograd.grad(1e-3 * lmmd(exact[0], exact[1], p.y_visual, p.y_acoustic, 7), exact))
    assert error(scaled.double() / 2**16, right) < 2e-3


def test_backward_twice_through_one_graph() -> None:
    p = problem(SMALL)
    z = leaves(p)
    value = lmmd(*z, p.y_visual, p.y_acoustic, 3)
    first = torch.autograd.grad(value, z, retain_graph=True)
    second = torch.autograd.grad(value, z)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@dtypes
def test_autocast_does_not_touch_the_sums(dtype: torch.dtype) -> None:
    p = problem(SMALL.but(dtype=dtype))
    z = leaves(p)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = lmmd(*z, p.y_visual, p.y_acoustic, 3)
        gradients = torch.autograd.grad(value, z)
    plain = by_autograd(p)
    assert value.dtype == plain[0].dtype != torch.bfloat16
    assert torch.equal(value, plain[0])
    assert torch.equal(torch.cat(gradients), plain[1])


def test_autocast_of_what_comes_before() -> None:
    """As in training: one side from a layer in bfloat16, the other in float32."""
    p = problem(SMALL)
    layer = torch.nn.Linear(13, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z_v, z_a = layer(p.z_visual), p.z_acoustic[:, :8].clone().requires_grad_()
        value = lmmd(z_v, z_a, p.y_visual, p.y_acoustic, 3)
    assert (z_v.dtype, value.dtype) == (torch.bfloat16, torch.float32)
    gradients = torch.autograd.grad(value, (z_v, z_a, layer.weight))
    assert [gradient.dtype for gradient in gradients] == [torch.bfloat16, torch.float32, torch.float32]


# torch's own test looks at .grad of tensors that it made from ours.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("gradient", [True, False])
@dtypes
@labels
def test_opcheck(soft: bool, dtype: torch.dtype, gradient: bool) -> None:
    p = problem(SMALL.but(soft=soft, dtype=dtype))
    if gradient:
        p.z_visual.requires_grad_()
        p.z_acoustic.requires_grad_()
    tried = torch.library.opcheck(torch.ops.fdan_edge.lmmd.default, p.arguments(gradient))
    assert len(tried) >= 4
    assert set(tried.values()) == {"SUCCESS"}


@pytest.fixture
def compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def step(z_v: Tensor, z_a: Tensor, y_v: Tensor, y_a: Tensor) -> Tensor:
    return 3 * lmmd(torch.tanh(z_v), torch.tanh(z_a), y_v, y_a, 3)


def agrees(compiled: Any, p: Problem) -> None:
    """The compiled step gives what the step gives: value, gradients, and the value alone."""
    z, y = leaves(p), (p.y_visual, p.y_acoustic)
    made, right = compiled(*z, *y), step(*z, *y)
    assert error(made.detach(), right.detach().double()) < 1e-6
    for a, b in zip(torch.autograd.grad(made, z), torch.autograd.grad(right, z), strict=True):
        assert a.dtype == b.dtype
        assert error(a, b.double()) < (1e-6 if a.dtype == torch.float32 else 1e-2)
    with torch.no_grad():
        assert error(compiled(*z, *y), right.detach().double()) < 1e-6


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("dynamic", [None, True])
def test_torch_compile_sees_one_graph(dynamic: bool | None) -> None:
    """Also for other numbers of rows, soft labels and half precision."""
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for recipe in (SMALL, SMALL.but(n_v=20, n_a=7), SMALL.but(soft=True), SMALL.but(dtype=torch.bfloat16)):
        agrees(compiled, problem(recipe))


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_torch_compile_to_machine_code() -> None:
    agrees(torch.compile(step, fullgraph=True), problem(SMALL))
