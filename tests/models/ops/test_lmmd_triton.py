"""The Triton kernel in Triton's interpreter, in a process of its own, since the variable counts at its import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
# It comes with PyTorch for CUDA, and so with `make install`; there it is no reason to pass over what it is for.
pytestmark = pytest.mark.skipif(
    find_spec("triton") is None and not os.environ.get("FDAN_EDGE_REQUIRE_NATIVE"),
    reason="Triton is not installed",
)
#: What the interpreter runs in seconds: about a millisecond an operation.
CHILD = """
import json, torch
from fdan_edge.models.ops.lmmd import lmmd, lmmd_reference
from fdan_edge.models.ops.lmmd_triton import lmmd_triton
from tests.helpers.lmmd_problems import SHAPES, Recipe, by_autograd, error, expected, problem

torch.set_num_threads(1)
told = {"errors": {}, "again": {}}
names = ["one each", "one voice", "width 1", "width 13", "more classes than rows", "classes of one side",
         "no shared class"]
recipes = {name: SHAPES[name] for name in names}
recipes["shared classes"] = SHAPES["classes of one side"].but(shared_only=True)
recipes["two column chunks"] = Recipe(9, 8, 300, 2)
recipes["more than a block"] = Recipe(17, 22, 20, 1)
recipes["three kernels"] = SHAPES["width 13"].but(kernels=3, ratio=1.5)
recipes["far from the origin"] = SHAPES["width 13"].but(shift=100.0)
recipes["float16"] = SHAPES["width 13"].but(dtype=torch.float16)
recipes["bfloat16"] = SHAPES["width 13"].but(dtype=torch.bfloat16)
for name, recipe in recipes.items():
    p, right = problem(recipe), expected(recipe)
    made = lmmd_triton(*p.arguments())
    told["errors"][name] = [error(a, b) for a, b in zip(made, right)]
    if name in ("width 13", "more than a block"):
        told["again"][name] = all(torch.equal(a, b) for a, b in zip(made, lmmd_triton(*p.arguments())))

p = problem(SHAPES["width 13"])
alone = lmmd_triton(*p.arguments(gradient=False))
told["value alone"] = [float(alone[0] - lmmd_triton(*p.arguments())[0]), len(alone[1])]
z, y = [p.z_visual.requires_grad_(), p.z_acoustic], [p.y_visual, p.y_acoustic]
value, slopes = by_autograd(p)
told["lmmd"] = [error(value, expected(p.recipe)[0]), error(slopes, expected(p.recipe)[1])]

def penalised(function):
    value = function(*z, *y, 7)
    (slope,) = torch.autograd.grad(value, z[0], create_graph=True)
    return torch.autograd.grad(value + slope.square().sum(), z[0])[0]

told["penalty"] = error(penalised(lmmd), penalised(lmmd_reference).double())
step = torch.compile(lambda z_v, z_a: lmmd(z_v, z_a, *y, 7), fullgraph=True, backend="aot_eager")
told["compiled"] = error(torch.autograd.grad(step(*z), z[0])[0], expected(p.recipe)[1][:9])

equal = torch.full((6, 5), 3e4)
told["equal rows"] = [float(lmmd_triton(equal, equal, y[0][:6], y[0][:6], 7, False, 5, 2.0, True)[i].abs().max())
                      for i in range(2)]
wrong = problem(SHAPES["width 13"])
wrong.z_acoustic[2, 3] = float("inf")
told["not finite"] = bool(lmmd_triton(*wrong.arguments())[0].isnan())
told["lines"] = []
for bad in (y[0] + 9, y[0][:-1]):
    try:
        lmmd(*z, bad, y[1], 7)
    except ValueError as error:
        told["lines"].append(str(error))
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    environment = {**os.environ, "TRITON_INTERPRET": "1", "FDAN_EDGE_LMMD": "triton", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", "-c", CHILD]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    made: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return made


def test_value_and_gradient(told: dict[str, Any]) -> None:
    assert len(told["errors"]) == 14
    for name, (value, gradient) in told["errors"].items():
        assert value < 2e-6, name
        # What is rounded in float16 was rounded before both.
        assert gradient < 2e-6, name


def test_the_same_bits_every_time(told: dict[str, Any]) -> None:
    assert told["again"] == {"width 13": True, "more than a block": True}


def test_the_value_alone(told: dict[str, Any]) -> None:
    assert told["value alone"] == [0, 0]


def test_behind_lmmd(told: dict[str, Any]) -> None:
    """With autograd, a gradient penalty, and torch.compile in one graph."""
    assert max(told["lmmd"]) < 2e-6
    assert told["penalty"] < 2e-5
    assert told["compiled"] < 2e-6


def test_equal_rows_are_exactly_zero_and_infinity_is_nan(told: dict[str, Any]) -> None:
    assert told["equal rows"] == [0, 0]
    assert told["not finite"]


def test_wrong_inputs_are_one_line(told: dict[str, Any]) -> None:
    label, rows = told["lines"]
    assert label.startswith("lmmd: label ")
    assert label.endswith("of the faces is out of range: 7 classes are 0 to 6")
    assert rows == "lmmd: labels of the faces must have 9 rows"
