"""Seeded inputs of LMMD, and what float64 autograd of the reference makes of them: for tests on CPU and GPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from fdan_edge.models.ops.lmmd import lmmd, lmmd_reference

#: How far value and gradients may be from float64, relative and in norm. Sums of float16 are float32.
TOLERANCE = {
    torch.float16: 1e-5,
    torch.bfloat16: 1e-5,
    torch.float32: 1e-5,
    torch.float64: 1e-11,
}
Result = tuple[Tensor, Tensor]  # value (), gradient of [faces; voices] (n_v + n_a, d)


@dataclass(frozen=True)
class Recipe:
    """What a problem is made of; the same recipe always makes the same numbers."""

    n_v: int
    n_a: int
    d: int
    classes: int
    soft: bool = False
    dtype: torch.dtype = torch.float32
    shared_only: bool = False
    kernels: int = 5
    ratio: float = 2.0
    faces_only: int = 0  # so many of the first classes have no voices,
    voices_only: int = 0  # and so many of the last no faces
    shift: float = 0.0  # of all features
    seed: int = 0

    def but(self, **changes: Any) -> Recipe:
        return dataclasses.replace(self, **changes)


#: Sizes that take different ways through the kernels.
SHAPES = {
    "usual": Recipe(32, 32, 256, 7),
    "one each": Recipe(1, 1, 5, 1),
    "one voice": Recipe(9, 1, 16, 2),
    "width 1": Recipe(11, 6, 1, 2),
    "width 13": Recipe(9, 14, 13, 7),
    "width 64, more than a tile": Recipe(70, 60, 64, 1),
    "width 300, two column chunks": Recipe(40, 90, 300, 3),
    "width 514, three column chunks": Recipe(20, 21, 514, 2),
    "more classes than rows": Recipe(30, 20, 16, 60),
    "classes of one side": Recipe(24, 31, 20, 6, faces_only=2, voices_only=1),
    "no shared class": Recipe(12, 9, 20, 5, faces_only=3, voices_only=2),
    "just small": Recipe(130, 126, 12, 2),
    "just not small": Recipe(130, 127, 37, 2),
    "several blocks": Recipe(300, 231, 6, 3),
}


@dataclass(frozen=True)
class Problem:
    """Inputs of one call."""

    recipe: Recipe
    z_visual: Tensor
    z_acoustic: Tensor
    y_visual: Tensor
    y_acoustic: Tensor

    def to(self, device: str) -> Problem:
        inputs = (self.z_visual, self.z_acoustic, self.y_visual, self.y_acoustic)
        return Problem(self.recipe, *(tensor.to(device) for tensor in inputs))

    def arguments(self, gradient: bool = True) -> tuple[Any, ...]:
        """As `torch.ops.fdan_edge.lmmd` takes them."""
        r = self.recipe
        inputs = (self.z_visual, self.z_acoustic, self.y_visual, self.y_acoustic)
        return (*inputs, r.classes, r.shared_only, r.kernels, r.ratio, gradient)


def problem(recipe: Recipe) -> Problem:
    """Faces and voices half a standard deviation apart, so that the value is not all cancellation."""
    r = recipe
    chance = torch.Generator().manual_seed(r.seed)
    z_visual, z_acoustic = (
        (torch.randn(n, r.d, dtype=torch.float64, generator=chance) + apart + r.shift).to(r.dtype)
        for n, apart in ((r.n_v, 0.5), (r.n_a, 0.0))
    )
    sides = []
    for n, first, end in ((r.n_v, 0, r.classes - r.voices_only), (r.n_a, r.faces_only, r.classes)):
        if r.soft:
            weights = torch.rand(n, r.classes, dtype=torch.float64, generator=chance)
            weights[:, :first] = weights[:, end:] = 0
            sides.append(weights.to(sum_type(r.dtype)))
        else:
            sides.append(torch.randint(first, end, (n,), generator=chance))
    return Problem(recipe, z_visual, z_acoustic, *sides)


def sum_type(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


@cache
def expected(recipe: Recipe) -> Result:
    """The reference's value and gradient in float64, of the features as they were rounded."""
    p = problem(recipe)
    z = [side.double().requires_grad_() for side in (p.z_visual, p.z_acoustic)]
    y = [side.double() if recipe.soft else side for side in (p.y_visual, p.y_acoustic)]
    return differentiated(lmmd_reference, z, y, recipe)


def by_autograd(p: Problem) -> Result:
    """Value and gradient of `lmmd` as training gets them."""
    z = [side.detach().clone().requires_grad_() for side in (p.z_visual, p.z_acoustic)]
    return differentiated(lmmd, z, [p.y_visual, p.y_acoustic], p.recipe)


def differentiated(function: Callable[..., Tensor], z: list[Tensor], y: list[Tensor], recipe: Recipe) -> Result:
    """Value and gradient of `lmmd` or of its reference."""
    count = "shared" if recipe.shared_only else "all"
    value = function(*z, *y, recipe.classes, class_count=count, kernels=recipe.kernels, ratio=recipe.ratio)
    gradients = torch.autograd.grad(value, z)
    return value.detach(), torch.cat(gradients)


def error(made: Tensor, right: Tensor) -> float:
    """|made - right| / |right|; what should be 0 must be exactly 0."""
    difference, size = (float(x.double().norm()) for x in (made.cpu().double() - right, right))
    if size == 0:
        return 0.0 if difference == 0 else float("inf")
    return difference / size


def check(made: Result, recipe: Recipe, tolerance: float | None = None) -> None:
    """Fail where value or gradient are not those of float64."""
    limit = TOLERANCE[recipe.dtype] if tolerance is None else tolerance
    right = expected(recipe)
    assert made[0].shape == ()
    assert made[1].shape == right[1].shape
    assert error(made[0], right[0]) < limit, f"value {float(made[0])}, not {float(right[0])}"
    assert error(made[1], right[1]) < limit, "gradient"
