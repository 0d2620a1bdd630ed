"""Every derivative of the ops, by every way that PyTorch has to one, is that of the reference in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad as untyped

from fdan_edge.models.ops.lmmd import lmmd, lmmd_reference
from tests.helpers.lmmd_problems import SHAPES, Problem, Recipe, error, expected, problem

Function = Callable[[Tensor, Tensor], Tensor]
forward_ad: Any = untyped
SMALL = Recipe(6, 7, 5, 3, dtype=torch.float64)
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
pytestmark = [
    # On the CPU the dispatcher loops over the batch of a raw op, and says that this is slow.
    pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning"),
    # PyTorch's own forward mode calls it.
    pytest.mark.filterwarnings("ignore:`torch.jit.script:FutureWarning"),
]


def named(name: str, p: Problem) -> Function:
    """The function of both sides' features that a test is about."""
    if name.startswith("raw"):
        rest = p.arguments(gradient=name == "raw")[2:]
        return lambda z, a: torch.ops.fdan_edge.lmmd(z, a, *rest)[0]
    count = "shared" if p.recipe.shared_only else "all"
    function = lmmd if name == "lmmd" else lmmd_reference
    return lambda z, a: function(z, a, p.y_visual, p.y_acoustic, p.recipe.classes, class_count=count)


def directions(p: Problem) -> tuple[Tensor, Tensor]:
    """Tangents of both sides, each as large as a feature."""
    chance = torch.Generator().manual_seed(7)
    sides = (p.z_visual, p.z_acoustic)
    drawn = [torch.randn(side.shape, dtype=torch.float64, generator=chance).to(side.dtype) for side in sides]
    return drawn[0], drawn[1]


def leaves(p: Problem) -> tuple[Tensor, Tensor]:
    return p.z_visual.clone().requires_grad_(), p.z_acoustic.clone().requires_grad_()


def penalised(f: Function, p: Problem) -> Tensor:
    """The gradient of a loss with a gradient penalty."""
    z = leaves(p)
    value = f(*z)
    slopes = torch.autograd.grad(value, z, create_graph=True)
    penalty = torch.stack([slope.float().square().sum().to(value.dtype) for slope in slopes]).sum()
    return torch.cat(torch.autograd.grad(value + penalty, z))


def second(f: Function, p: Problem) -> Tensor:
    """The second derivative along a direction, by double backward."""
    z, along = leaves(p), directions(p)
    slopes = torch.autograd.grad(f(*z), z, create_graph=True)
    return torch.cat(torch.autograd.grad(slopes, z, along))


def third(f: Function, p: Problem) -> Tensor:
    z, along = leaves(p), directions(p)
    first = torch.autograd.grad(f(*z), z, create_graph=True)
    curved = torch.autograd.grad(first, z, along, create_graph=True)
    return torch.cat(torch.autograd.grad(curved, z, along))


def along_by_dual_numbers(f: Function, p: Problem) -> Tensor:
    with forward_ad.dual_level():
        pairs = zip((p.z_visual, p.z_acoustic), directions(p), strict=True)
        tangent = forward_ad.unpack_dual(f(*(forward_ad.make_dual(z, t) for z, t in pairs))).tangent
    assert isinstance(tangent, Tensor), "the tangent is lost"
    return tangent


def forward_over_backward(f: Function, p: Problem) -> Tensor:
    with forward_ad.dual_level():
        z, a = leaves(p)
        dual = forward_ad.make_dual(z, directions(p)[0])
        (slope,) = torch.autograd.grad(f(dual, a), a, create_graph=True)
        tangent = forward_ad.unpack_dual(slope).tangent
    assert isinstance(tangent, Tensor), "the tangent is lost"
    return tangent


def both(p: Problem) -> tuple[Tensor, Tensor]:
    return p.z_visual, p.z_acoustic


def stacked(p: Problem) -> tuple[Tensor, Tensor]:
    return torch.stack([p.z_visual, 2 * p.z_visual, -p.z_visual]), p.z_acoustic


def squared(f: Function, p: Problem) -> Function:
    """A function of the first derivative, to be differentiated again."""
    slope, along = torch.func.grad(f), directions(p)[0]
    return lambda z, a: (slope(z, a) * along).sum().square()


#: Name, and what it makes of a function of both sides: one tensor.
WAYS: dict[str, Callable[[Function, Problem], Any]] = {
    "penalty": penalised,
    "double backward": second,
    "third derivative": third,
    "dual numbers": along_by_dual_numbers,
    "forward over backward": forward_over_backward,
    "grad": lambda f, p: torch.cat(torch.func.grad(f, (0, 1))(*both(p))),
    "vjp": lambda f, p: torch.cat(torch.func.vjp(f, *both(p))[1](torch.tensor(3, dtype=torch.float64))),
    "jvp": lambda f, p: torch.func.jvp(f, both(p), directions(p))[1],
    "vmap": lambda f, p: torch.func.vmap(f, (0, None))(*stacked(p)),
    "vmap of grad": lambda f, p: torch.func.vmap(torch.func.grad(f), (0, None))(*stacked(p)),
    "grad of vmap": lambda f, p: torch.func.grad(lambda z, a: torch.func.vmap(f, (0, None))(z, a).sum())(
        *stacked(p)
    ),
    "vmap of jvp": lambda f, p: torch.func.vmap(
        lambda z, t: torch.func.jvp(lambda q: f(q, p.z_acoustic), (z,), (t,))[1], (0, None)
    )(stacked(p)[0], directions(p)[0]),
    "hessian": lambda f, p: torch.func.hessian(f)(*both(p)),
    "jacrev twice": lambda f, p: torch.func.jacrev(torch.func.jacrev(f))(*both(p)),
    "jacfwd twice": lambda f, p: torch.func.jacfwd(torch.func.jacfwd(f))(*both(p)),
    "grad of grad": lambda f, p: torch.func.grad(squared(f, p))(*both(p)),
    "grad of grad of grad": lambda f, p: torch.func.grad(
        lambda z: torch.func.grad(squared(f, p))(z, p.z_acoustic).square().sum()
    )(p.z_visual),
    "jvp of grad": lambda f, p: torch.func.jvp(torch.func.grad(f), both(p), directions(p))[1],
    "grad of jvp": lambda f, p: torch.func.grad(
        lambda z: torch.func.jvp(lambda q: f(q, p.z_acoustic), (z,), (directions(p)[0],))[1]
    )(p.z_visual),
}


@pytest.mark.parametrize("name", ["lmmd", "raw", "raw, no gradient"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_every_way_to_a_derivative(way: Callable[[Function, Problem], Any], name: str) -> None:
    p = problem(SMALL)
    right = way(named("reference", p), p).detach()
    assert float(right.norm()) > 0.01
    assert error(way(named(name, p), p).detach(), right) < 1e-10


def test_forward_and_reverse_mode_of_the_reference_agree() -> None:
    """The bandwidth is a constant in both, which no_grad is not enough for."""
    p = problem(SMALL)
    slopes, along = expected(SMALL)[1], torch.cat(directions(p))
    for name in ("reference", "lmmd"):
        tangent = torch.func.jvp(named(name, p), both(p), directions(p))[1]
        assert error(tangent, (slopes * along).sum()) < 1e-10, name


def in_finite_steps(recipe: Recipe, step: float = 1e-5) -> Tensor:
    """The second derivative along a direction, from first derivatives at a constant bandwidth."""
    p = problem(recipe)
    z = torch.cat(both(p))
    n, along = len(z), torch.cat(directions(p))
    spread = (z - z.mean(0)).square().sum()
    bandwidths = [2 * spread / (n - 1) / 4 * 2**i for i in range(5)]
    y = torch.nn.functional.one_hot(torch.cat([p.y_visual, p.y_acoustic]), recipe.classes).double()
    v, a = y[: recipe.n_v], y[recipe.n_v :]
    both_have = ((v.sum(0) > 0) & (a.sum(0) > 0)).double()
    u = torch.cat([v / v.sum(0).clamp_min(1), -a / a.sum(0).clamp_min(1)]) * both_have

    def slopes(rows: Tensor) -> Tensor:
        rows = rows.clone().requires_grad_()
        squares = (rows[:, None] - rows[None]).square().sum(2)
        kernel = torch.stack([torch.exp(-squares / b) for b in bandwidths]).sum(0)
        (made,) = torch.autograd.grad((u @ u.T * kernel).sum() / recipe.classes, rows)
        return made

    return (slopes(z + step * along) - slopes(z - step * along)) / (2 * step)


@pytest.mark.parametrize("recipe", [SMALL, SMALL.but(faces_only=1, voices_only=1), SMALL.but(n_a=1)], ids=str)
def test_the_second_derivative_is_that_of_the_formula(recipe: Recipe) -> None:
    """The reference is not its own judge."""
    p = problem(recipe)
    right = in_finite_steps(recipe)
    assert error(second(named("lmmd", p), p), right) < 1e-7


def test_equal_rows_have_a_second_derivative() -> None:
    """Rounding makes some distances between them less than 0, where a clamp would have none."""
    p = problem(Recipe(20, 20, 9, 1))
    for z in both(p):
        z[1:10] = z[:1]
    exact = Problem(p.recipe, p.z_visual.double(), p.z_acoustic.double(), p.y_visual, p.y_acoustic)
    along = [side.double() for side in directions(p)]

    def curved(of: Problem) -> Tensor:
        z = leaves(of)
        slopes = torch.autograd.grad(named("lmmd", of)(*z), z, create_graph=True)
        return torch.cat(torch.autograd.grad(slopes, z, [side.to(z[0].dtype) for side in along]))

    assert error(curved(p), curved(exact)) < 1e-4


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", ["one each", "one voice", "width 13", "classes of one side", "no shared class"])
def test_penalties_and_tangents_of_every_type(shape: str, dtype: torch.dtype, soft: bool) -> None:
    recipe = SHAPES[shape].but(dtype=dtype, soft=soft, shared_only=soft)
    p = problem(recipe)
    exact = problem(recipe.but(dtype=torch.float64))
    exact.z_visual[:], exact.z_acoustic[:] = p.z_visual, p.z_acoustic
    y = [side.double() if soft else side for side in (p.y_visual, p.y_acoustic)]
    exact = Problem(exact.recipe, exact.z_visual, exact.z_acoustic, *y)
    limit = {torch.float32: 2e-6, torch.float64: 1e-11, torch.bfloat16: 3e-2}.get(dtype, 4e-3)
    f, right = named("lmmd", p), named("reference", exact)
    assert error(penalised(f, p), penalised(right, exact)) < limit
    along = [side.double() for side in directions(p)]
    tangent = torch.func.jvp(right, both(exact), tuple(along))[1]
    assert error(torch.func.jvp(f, both(p), directions(p))[1], tangent) < max(limit, 1e-5)


def test_any_memory_layout() -> None:
    p = problem(SMALL)
    other = Problem(
        p.recipe,
        p.z_visual.t().contiguous().t(),
        p.z_acoustic.repeat(1, 2)[:, :5],
        torch.stack([p.y_visual] * 2, 1)[:, 0],
        p.y_acoustic,
    )
    for name in ("penalty", "jvp", "vmap of grad"):
        assert error(WAYS[name](named("lmmd", other), other), WAYS[name](named("reference", p), p)) < 1e-10


@pytest.mark.parametrize("enabled", [True, False])
def test_autocast_does_not_touch_the_second_derivative(enabled: bool) -> None:
    p = problem(SMALL.but(dtype=torch.float32))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
        made = second(named("lmmd", p), p)
    assert error(made, second(named("lmmd", p), p)) < 1e-7


def test_the_derivative_that_the_raw_op_gives_is_a_constant() -> None:
    p = problem(SMALL)
    value, slopes = torch.ops.fdan_edge.lmmd(*leaves(p), *p.arguments()[2:])
    assert value.requires_grad
    assert not slopes.requires_grad


def test_features_changed_after_the_call_are_an_error() -> None:
    """A later derivative would be of others."""
    p = problem(SMALL)
    z = [leaf * 1 for leaf in leaves(p)]
    value = named("lmmd", p)(*z)
    z[0].zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward()  # type: ignore[no-untyped-call]


def test_a_label_out_of_range_in_a_batch() -> None:
    """Within a batch of labels the op looks at each problem; the reference cannot, and gives NaN."""
    p = problem(SMALL)
    y = torch.stack([p.y_visual, p.y_visual + 9])
    with pytest.raises(ValueError, match=r"^lmmd: label \d+ of the faces is out of range[^\n]*$"):
        torch.func.vmap(lambda labels: lmmd(*both(p), labels, p.y_acoustic, 3))(y)
    made = torch.func.vmap(lambda labels: lmmd_reference(*both(p), labels, p.y_acoustic, 3))(y)
    assert made.isnan().tolist() == [False, True]


@pytest.fixture
def compiler() -> Any:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("compiler")
def test_a_penalty_of_a_compiled_function_is_an_error() -> None:
    """PyTorch's own; where backward did not need the features, it would be 0, and no error."""
    p = problem(SMALL)
    compiled = torch.compile(named("lmmd", p), fullgraph=True, backend="aot_eager")
    with pytest.raises(RuntimeError, match="does not currently support double backward"):
        penalised(compiled, p)


@pytest.mark.usefixtures("compiler")
def test_transforms_are_compiled_in_one_graph() -> None:
    name, p = "vmap of grad", problem(SMALL)
    f = named("lmmd", p)
    function = lambda z, a: WAYS[name](f, Problem(p.recipe, z, a, p.y_visual, p.y_acoustic))  # noqa: E731
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    assert error(compiled(*both(p)), WAYS[name](named("reference", p), p)) < 1e-10
