"""The compiled ops against float64 autograd of the reference; the GPU's kernels run here as well."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch

from fdan_edge.models.ops.native import covers, native_status
from tests.helpers.lmmd_problems import SHAPES, Problem, Recipe, Result, check, error, problem, sum_type

Op = Callable[[Problem], Result]
LEVELS = ("16-byte vectors", "AVX2", "AVX-512")
#: What this processor has; without the compiled ops nothing, and the first test fails.
LEVELS_HERE = LEVELS[: torch.ops.fdan_edge.cpu_level(2) + 1] if native_status().cpu else ()
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
labels = pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())


def test_the_ops_are_compiled() -> None:
    """Else all tests here would be passed over, and the others cover only the reference."""
    status = native_status()
    assert status.cpu, status.detail
    assert status.detail.startswith(f"CPU ({LEVELS_HERE[-1]}), ")
    assert status.cuda == bool(status.architectures)


def on_cpu(p: Problem) -> Result:
    made: Result = torch.ops.fdan_edge.lmmd(*p.arguments())
    return made


def emulated(p: Problem, backwards: bool = False) -> Result:
    """The GPU's kernels, one thread after another."""
    made: Result = torch.ops.fdan_edge.lmmd_emulated(*p.arguments(), backwards)
    return made


@pytest.fixture(params=[*LEVELS_HERE, "emulated", "emulated backwards"] if LEVELS_HERE else [])
def op(request: pytest.FixtureRequest) -> Iterator[Op]:
    """Every implementation that can run here, as a function of a problem."""
    name: str = request.param
    if name not in LEVELS:
        yield partial(emulated, backwards=name.endswith("backwards"))
        return
    assert torch.ops.fdan_edge.cpu_level(LEVELS.index(name)) == LEVELS.index(name)
    yield on_cpu
    torch.ops.fdan_edge.cpu_level(2)


@labels
@dtypes
@shapes
def test_value_and_gradient(op: Op, shape: Recipe, dtype: torch.dtype, soft: bool) -> None:
    for shared_only in (False, True):
        recipe = shape.but(dtype=dtype, soft=soft, shared_only=shared_only)
        made = op(problem(recipe))
        assert [tensor.dtype for tensor in made] == [sum_type(dtype)] * 2
        check(made, recipe)


@labels
@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("kernels", [1, 2, 3, 5, 7])
def test_other_kernels(op: Op, kernels: int, ratio: float, soft: bool) -> None:
    for dtype in (torch.float32, torch.float64):
        recipe = SHAPES["width 13"].but(kernels=kernels, ratio=ratio, soft=soft, dtype=dtype)
        check(op(problem(recipe)), recipe)


@pytest.mark.parametrize(("kernels", "ratio"), [(16, 2.0), (24, 2.0), (64, 2.0), (20, 3.0), (5, 1e3)])
def test_kernels_of_very_different_widths(op: Op, kernels: int, ratio: float) -> None:
    """The narrow ones must see a row at distance 0 from itself, and are no powers of a rounded number."""
    recipe = SHAPES["width 13"].but(kernels=kernels, ratio=ratio)
    check(op(problem(recipe)), recipe)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_200_random_small_problems(op: Op, dtype: torch.dtype) -> None:
    chance = random.Random(0)
    for seed in range(200):
        n_v, n_a, d = (chance.randint(1, 40) for _ in range(3))
        recipe = Recipe(n_v, n_a, d, chance.randint(1, 9), dtype=dtype, seed=seed)
        check(op(problem(recipe)), recipe)


@pytest.mark.parametrize("shift", [100.0, 1e4])
def test_far_from_the_origin(op: Op, shift: float) -> None:
    recipe = SHAPES["width 64, more than a tile"].but(shift=shift)
    check(op(problem(recipe)), recipe)


@labels
@pytest.mark.parametrize("value", [0.0, 1.0, -3.7e4, 1e-20, 1e30])
def test_equal_rows_are_exactly_zero(op: Op, value: float, soft: bool) -> None:
    for dtype in DTYPES:
        p = problem(Recipe(70, 31, 13, 3, soft=soft, dtype=dtype))
        for z in (p.z_visual, p.z_acoustic):
            z.fill_(min(value, 6e4) if dtype == torch.float16 else value)
        made = op(p)
        assert float(made[0]) == 0
        assert made[1].shape == (101, 13)
        assert not made[1].any()


@pytest.mark.parametrize("scale", [1e-44, 1e-41, 1e-30, 1e18, 5e37])
def test_finite_features_of_any_size_do_not_give_nan(op: Op, scale: float) -> None:
    p = problem(SHAPES["width 13"])
    p.z_visual.mul_(scale)
    p.z_acoustic.mul_(scale)
    made = op(p)
    assert made[0].isfinite()
    assert not made[1].isnan().any()


def test_an_equal_column_has_no_gradient(op: Op) -> None:
    p = problem(SHAPES["width 13"])
    for z in (p.z_visual, p.z_acoustic):
        z[:, 5] = 1e6
    value, gradient = op(p)
    assert float(value) > 0
    assert not gradient[:, 5].any()


@labels
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("shape", ["usual", "classes of one side", "no shared class", "just not small"])
def test_features_that_are_not_finite_give_nan(op: Op, shape: str, wrong: float, soft: bool) -> None:
    for dtype in DTYPES:
        for row in (0, -1):
            p = problem(SHAPES[shape].but(soft=soft, dtype=dtype))
            (p.z_acoustic if row else p.z_visual)[row, 3] = wrong
            made = op(p)
            assert made[0].isnan(), (dtype, row)
            assert shape == "no shared class" or made[1].isnan().any()


def test_soft_labels_that_are_nan_give_nan(op: Op) -> None:
    p = problem(SHAPES["width 13"].but(soft=True))
    p.y_acoustic[3, 2] = float("nan")
    assert op(p)[0].isnan()


@pytest.mark.parametrize("label", [-1, 7, 2**40, -(2**63) + 1])
@pytest.mark.parametrize("side", ["faces", "voices"])
def test_a_label_out_of_range(op: Op, side: str, label: int) -> None:
    p = problem(SHAPES["width 13"])
    (p.y_visual if side == "faces" else p.y_acoustic)[4] = label
    with pytest.raises(ValueError, match=f"^lmmd: label {label} .*is out of range[^\n]*$"):
        op(p)


@shapes
@labels
def test_the_gpus_kernels_have_no_race(shape: Recipe, soft: bool) -> None:
    """Numbers that a thread reads while another one writes them would depend on the order of the threads."""
    p = problem(shape.but(soft=soft))
    for forwards, backwards in zip(emulated(p), emulated(p, backwards=True), strict=True):
        assert torch.equal(forwards, backwards)


@shapes
def test_the_value_alone(shape: Recipe) -> None:
    p = problem(shape)
    for function in (torch.ops.fdan_edge.lmmd, torch.ops.fdan_edge.lmmd_emulated):
        value, gradient = function(*p.arguments(gradient=False))
        assert torch.equal(value, function(*p.arguments())[0])
        assert gradient.shape == (0, shape.d)


@labels
def test_gradient_of_classes_far_apart(op: Op, soft: bool) -> None:
    """As late in training: pairs of a class are much nearer than others, and digits could cancel."""
    recipe = Recipe(40, 50, 64, 5, soft=soft)
    p = problem(recipe)
    centres = torch.randn(5, 64, generator=torch.Generator().manual_seed(1)) * 20
    for z, y in ((p.z_visual, p.y_visual), (p.z_acoustic, p.y_acoustic)):
        z += centres[y.argmax(1) if soft else y]
    exact = problem(recipe.but(dtype=torch.float64))
    exact.z_visual[:], exact.z_acoustic[:] = p.z_visual, p.z_acoustic
    assert error(op(p)[1], op(exact)[1]) < 1e-5


@labels
def test_bits_do_not_depend_on_the_threads(soft: bool) -> None:
    """Above PARALLEL_FLOPS of cuda/lmmd_cpu.cpp, below which there is one thread."""
    p = problem(Recipe(600, 640, 64, 3, soft=soft))
    threads = torch.get_num_threads()
    made = []
    try:
        for count in (1, 2, 3, 2):
            torch.set_num_threads(count)
            made.append(on_cpu(p))
    finally:
        torch.set_num_threads(threads)
    for other in made[1:]:
        assert torch.equal(other[0], made[0][0])
        assert torch.equal(other[1], made[0][1])
    check(made[0], p.recipe)


MEMORY = """
import torch
from fdan_edge.models.ops.lmmd import lmmd

def peak():  # kB
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

def extra(run):  # MB
    open("/proc/self/clear_refs", "w").write("5")  # forget the peak so far
    before = peak()
    run()
    return (peak() - before) / 1024

def call(n):
    z = [torch.randn(n, 64, requires_grad=True) for _ in range(2)]
    y = [torch.randint(7, (n,)) for _ in range(2)]
    lmmd(*z, *y, 7).backward()

torch.manual_seed(0)
call(100)
print(extra(lambda: call(3000)), extra(lambda: torch.zeros(6000, 6000).sum()))
"""


def test_memory_grows_with_the_rows_not_with_their_pairs() -> None:
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    ours, matrix = map(float, done.stdout.split())
    assert matrix > 130, "the measure does not work"
    assert ours < 20, f"{ours} MB for 6000 rows of 64 numbers, 1.5 MB"


@pytest.mark.parametrize(
    ("capability", "architectures", "works"),
    [
        ((9, 0), (90,), True),
        ((8, 6), (75, 90), True),  # by PTX of sm_75
        ((12, 0), (75, 80), True),
        ((10, 0), (87,), True),
        ((7, 5), (75, 120), True),
        ((7, 0), (75, 120), False),
        ((8, 0), (86,), False),
        ((9, 0), (100,), False),
        ((9, 0), (), False),
    ],
)
def test_which_gpus_the_code_runs_on(
    capability: tuple[int, int], architectures: tuple[int, ...], works: bool
) -> None:
    assert covers(capability, architectures) is works
