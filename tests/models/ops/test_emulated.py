"""The GPU's kernels on the CPU: launches, shapes of tiles, blocks that share columns, and many classes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fdan_edge.models.ops.lmmd import lmmd
from tests.helpers.lmmd_problems import SHAPES, Problem, Recipe, check, error, problem

SMALL = SHAPES["usual"]
#: Sizes that take different ways through the launches, with the error that float32 may have.
WAYS = {
    "large tiles": Recipe(2100, 2000, 24, 14),
    "large tiles, wide": Recipe(2048, 2048, 260, 16),
    "blocks share columns": Recipe(150, 140, 40, 1),
    "blocks share columns, wide": Recipe(90, 80, 600, 1),
    "many classes": Recipe(1500, 1300, 9, 900),
    "more classes than a block has threads": Recipe(40, 40, 9, 700),
    "a chunk of more rows than threads": Recipe(300, 290, 3, 40_000),
}


def emulated(p: Problem, backwards: bool = False) -> tuple[Tensor, Tensor]:
    made: tuple[Tensor, Tensor] = torch.ops.fdan_edge.lmmd_emulated(*p.arguments(), backwards)
    return made


@pytest.mark.parametrize("recipe", WAYS.values(), ids=WAYS.keys())
def test_every_way_is_right_to_two_millionths(recipe: Recipe) -> None:
    p = problem(recipe)
    exact = Problem(recipe, p.z_visual.double(), p.z_acoustic.double(), p.y_visual, p.y_acoustic)
    for made, right in zip(emulated(p), torch.ops.fdan_edge.lmmd(*exact.arguments()), strict=True):
        assert error(made, right) < 2e-6


@pytest.mark.parametrize("name", ["blocks share columns", "blocks share columns, wide", "many classes"])
def test_no_bit_depends_on_the_order_of_blocks(name: str) -> None:
    p = problem(WAYS[name])
    for forwards, backwards in zip(emulated(p), emulated(p, backwards=True), strict=True):
        assert torch.equal(forwards, backwards)


@pytest.mark.parametrize(
    ("recipe", "most"), [(SMALL, 3), (SHAPES["just small"], 3), (SHAPES["just not small"], 4)], ids=str
)
def test_launches_forward(recipe: Recipe, most: int) -> None:
    for soft in (False, True):
        check(emulated(problem(recipe.but(soft=soft))), recipe.but(soft=soft))
        assert 0 < torch.ops.fdan_edge.emulated_launches() <= most


class Launches(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations that would launch something on a GPU: all but views."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        made = function(*arguments, **(options or {}))
        if not function.is_view and "alias" not in function.tags:
            self.names.append(str(function))
        return made


def test_launches_backward() -> None:
    p = problem(SMALL)
    z = [side.requires_grad_() for side in (p.z_visual, p.z_acoustic)]
    value = lmmd(z[0], z[1], p.y_visual, p.y_acoustic, SMALL.classes)
    seed = torch.ones(())
    with Launches() as launches:
        torch.autograd.grad(value, z, seed)
    views = ("aten.split", "aten.detach", "aten.slice", "aten.narrow")
    assert len([name for name in launches.names if not name.startswith(views)]) == 1, launches.names


def test_a_wrong_label_names_the_classes_of_its_own_call() -> None:
    p = problem(SMALL)
    p.y_acoustic[:] = 7
    with pytest.raises(ValueError, match=r"^lmmd: label 7 is out of range: 7 classes are 0 to 6$"):
        emulated(p)
