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
from torch._subclasses.fake_tensor import FakeTensorMode
from fdan_edge.models.ops.lmmd import lmmd
from fdan_edge.models.ops.lmmd_triton import lmmd_triton
from tests.helpers.lmmd_problems import SHAPES, Recipe, by_autograd, error, expected, problem

torch.set_num_threads(1)
told = {"errors": {}, "again": {}}
names = ["one each", "width 1", "width 13", "more classes than rows", "classes of one side", "no shared class"]
recipes = {name: SHAPES[name] for name in names}
recipes["shared classes"] = SHAPES["classes of one side"].but(shared_only=True)
recipes["two column chunks"] = Recipe(9, 7, 270, 2)
recipes["more than a block"] = Recipe(17, 22, 20, 1)
recipes["three kernels"] = SHAPES["width 13"].but(kernels=3, ratio=1.5)
recipes["bfloat16, far from the origin"] = SHAPES["width 13"].but(dtype=torch.bfloat16, shift=10.0)
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

with FakeTensorMode(allow_non_fake_inputs=True):
    fake = torch.ops.fdan_edge.lmmd_triton(*[torch.empty_like(t) for t in p.arguments()[:4]], *p.arguments()[4:])
told["fake"] = [[str(t.dtype), list(t.shape), t.requires_grad] for t in fake]

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
    assert len(told["errors"]) == 11
    for name, (value, gradient) in told["errors"].items():
        assert value < 2e-6, name
        # What is rounded in float16 was rounded before both.
        assert gradient < 2e-6, name


def test_the_same_bits_every_time(told: dict[str, Any]) -> None:
    assert told["again"] == {"width 13": True, "more than a block": True}


def test_the_value_alone(told: dict[str, Any]) -> None:
    assert told["value alone"] == [0, 0]


def test_behind_lmmd(told: dict[str, Any]) -> None:
    """With its derivatives, and with the shapes that torch.compile asks for."""
    assert max(told["lmmd"]) < 2e-6
    assert told["fake"] == [["torch.float32", [], False], ["torch.float32", [23, 13], False]]


def test_equal_rows_are_exactly_zero_and_infinity_is_nan(told: dict[str, Any]) -> None:
    assert told["equal rows"] == [0, 0]
    assert told["not finite"]


def test_wrong_inputs_are_one_line(told: dict[str, Any]) -> None:
    label, rows = told["lines"]
    assert label.startswith("lmmd: label ")
    assert label.endswith("of the faces is out of range: 7 classes are 0 to 6")
    assert rows == "lmmd: labels of the faces must have 9 rows"
