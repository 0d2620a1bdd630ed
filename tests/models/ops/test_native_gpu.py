"""The compiled op on a CUDA GPU. `make gpu` runs this on bare machines: it needs only pytest and torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fdan_edge.models.ops.lmmd import lmmd
from fdan_edge.models.ops.native import BUILD_CUDA, covers, native_status
from tests.helpers.lmmd_problems import SHAPES, Problem, Recipe, Result, check, error, problem

GPU = torch.cuda.is_available()
SERVED = GPU and covers(torch.cuda.get_device_capability(), native_status().architectures)
pytestmark = pytest.mark.gpu
served = pytest.mark.skipif(not SERVED, reason="the op is not compiled for this GPU" if GPU else "no CUDA GPU")
dtypes = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
labels = pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
DEVICE = "cuda"
#: Too large for the reference; compared with the CPU's op in float64.
LARGE = {
    "thousands": Recipe(4096, 4096, 256, 7),
    "odd thousands": Recipe(2003, 1501, 301, 5),
    "one class": Recipe(1000, 1100, 40, 1),
    "many classes": Recipe(3000, 2500, 33, 900),
    "soft": Recipe(1501, 1000, 129, 7, soft=True),
    "large double": Recipe(1030, 900, 130, 3, dtype=torch.float64),
    "large bfloat16": Recipe(2000, 2100, 256, 7, dtype=torch.bfloat16),
}


@pytest.mark.skipif(not GPU, reason="no CUDA GPU")
def test_the_op_is_compiled_for_this_gpu() -> None:
    """The others are passed over where it is not."""
    assert SERVED, f"compiled for {native_status().detail}: {BUILD_CUDA}"


def on_gpu(p: Problem) -> Result:
    made: Result = torch.ops.fdan_edge.lmmd(*p.to(DEVICE).arguments())
    return made


def leaves(p: Problem) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Inputs of `lmmd` on the GPU, with gradients wanted of both sides."""
    p = p.to(DEVICE)
    return p.z_visual.requires_grad_(), p.z_acoustic.requires_grad_(), p.y_visual, p.y_acoustic


def trained(inputs: tuple[Tensor, Tensor, Tensor, Tensor], classes: int, seed: Tensor | None = None) -> Result:
    """Value and gradient by `lmmd` and autograd."""
    value = lmmd(*inputs, classes)
    return value.detach(), torch.cat(torch.autograd.grad(value, inputs[:2], seed))


@served
@labels
@dtypes
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_value_and_gradient(shape: Recipe, dtype: torch.dtype, soft: bool) -> None:
    for shared_only in (False, True):
        recipe = shape.but(dtype=dtype, soft=soft, shared_only=shared_only)
        check(on_gpu(problem(recipe)), recipe)


@served
@pytest.mark.parametrize("recipe", LARGE.values(), ids=LARGE.keys())
def test_large_calls(recipe: Recipe) -> None:
    p = problem(recipe)
    y = [side.double() if recipe.soft else side for side in (p.y_visual, p.y_acoustic)]
    exact = Problem(recipe, p.z_visual.double(), p.z_acoustic.double(), *y)
    right = torch.ops.fdan_edge.lmmd(*exact.arguments())
    for made, wanted in zip(on_gpu(p), right, strict=True):
        assert error(made, wanted) < 1e-5


@served
@labels
@pytest.mark.parametrize(("kernels", "ratio"), [(1, 2.0), (2, 3.0), (3, 1.5), (7, 2.0), (5, 0.5)])
def test_other_kernels(kernels: int, ratio: float, soft: bool) -> None:
    for dtype in (torch.float32, torch.float64):
        recipe = SHAPES["width 13"].but(kernels=kernels, ratio=ratio, soft=soft, dtype=dtype)
        check(on_gpu(problem(recipe)), recipe)


@served
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_training(dtype: torch.dtype) -> None:
    recipe = SHAPES["usual"].but(dtype=dtype)
    with torch.autocast(DEVICE, dtype=torch.float16):
        value = lmmd(*leaves(problem(recipe)), recipe.classes)
    made = trained(leaves(problem(recipe)), recipe.classes)
    assert torch.equal(value.detach(), made[0])
    assert (made[0].dtype, made[1].dtype) == (torch.float32, dtype)
    check(made, recipe, 1e-2 if dtype == torch.bfloat16 else 1e-5)


@served
def test_any_memory_layout() -> None:
    p = problem(SHAPES["width 13"]).to(DEVICE)
    z_v, z_a = p.z_visual.t().contiguous().t(), p.z_acoustic.repeat(1, 2)[:, :13]
    y_v = torch.stack([p.y_visual, p.y_visual], 1)[:, 0]
    assert not z_v.is_contiguous()
    assert not z_a.is_contiguous()
    assert not y_v.is_contiguous()
    check(torch.ops.fdan_edge.lmmd(z_v, z_a, y_v, *p.arguments()[3:]), p.recipe)


@served
@labels
@pytest.mark.parametrize("shape", ["usual", "several blocks"])
def test_equal_rows_are_exactly_zero(shape: str, soft: bool) -> None:
    p = problem(SHAPES[shape].but(soft=soft))
    p.z_visual.fill_(3e4)
    p.z_acoustic.fill_(3e4)
    value, gradient = on_gpu(p)
    assert float(value) == 0
    assert not gradient.any()


@served
@labels
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
@pytest.mark.parametrize("shape", ["usual", "no shared class", "several blocks"])
def test_features_that_are_not_finite_give_nan(shape: str, wrong: float, soft: bool) -> None:
    p = problem(SHAPES[shape].but(soft=soft))
    p.z_acoustic[-1, 2] = wrong
    assert on_gpu(p)[0].isnan()


@served
@pytest.mark.parametrize("label", [-1, 7, 2**40])
@pytest.mark.parametrize("shape", ["usual", "several blocks"])
def test_a_label_out_of_range_is_nan_now_and_an_error_later(shape: str, label: int) -> None:
    recipe = SHAPES[shape].but(classes=7)
    good, bad = problem(recipe), problem(recipe)
    bad.y_acoustic[3] = label
    value, gradient = on_gpu(bad)
    assert value.isnan()
    assert gradient.isnan().all()
    torch.cuda.synchronize()
    with pytest.raises(ValueError, match=f"^lmmd: label {label} of an earlier call was out of range[^\n]*$"):
        on_gpu(good)
    check(on_gpu(good), recipe)


@served
def test_inputs_on_two_devices_are_an_error() -> None:
    p = problem(SHAPES["width 13"])
    with pytest.raises(ValueError, match=r"^lmmd: features and labels must be on one device$"):
        lmmd(p.z_visual.to(DEVICE), p.z_acoustic.to(DEVICE), p.y_visual, p.y_acoustic, 7)


@served
@pytest.mark.parametrize("recipe", [SHAPES["several blocks"], LARGE["odd thousands"], LARGE["soft"]], ids=str)
def test_the_same_bits_every_time(recipe: Recipe) -> None:
    p = problem(recipe)
    first = on_gpu(p)
    for _ in range(5):
        for made, right in zip(on_gpu(p), first, strict=True):
            assert torch.equal(made, right)


def busy(cycles: int = 200_000_000) -> None:
    """Keeps the current stream busy for about a tenth of a second."""
    torch.cuda._sleep(cycles)  # type: ignore[no-untyped-call]


@served
@pytest.mark.parametrize("shape", ["usual", "several blocks"])
def test_the_current_stream_is_used(shape: str) -> None:
    """On any other one the features would be read before they are there."""
    p = problem(SHAPES[shape]).to(DEVICE)
    z_visual, z_acoustic = torch.zeros_like(p.z_visual), torch.zeros_like(p.z_acoustic)
    late = Problem(p.recipe, z_visual, z_acoustic, p.y_visual, p.y_acoustic)
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        busy()
        z_visual.copy_(p.z_visual)
        z_acoustic.copy_(p.z_acoustic)
        made = torch.ops.fdan_edge.lmmd(*late.arguments())
    stream.synchronize()
    check(made, p.recipe)


@served
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU")
def test_another_gpu_than_the_current_one() -> None:
    recipe = SHAPES["usual"]
    made = torch.ops.fdan_edge.lmmd(*problem(recipe).to("cuda:1").arguments())
    assert {tensor.device.index for tensor in made} == {1}
    assert torch.cuda.current_device() == 0
    check(made, recipe)


@contextmanager
def no_synchronisation() -> Iterator[None]:
    """What PyTorch notices; see also whether the stream is still busy afterwards."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@served
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype:UserWarning")
@labels
@pytest.mark.parametrize("shape", ["usual", "several blocks"])
def test_the_host_waits_for_nothing(shape: str, soft: bool) -> None:
    recipe = SHAPES[shape].but(soft=soft)
    inputs, seed = leaves(problem(recipe)), torch.ones((), device=DEVICE)
    trained(inputs, recipe.classes, seed)  # loads the kernels, and leaves memory for the next call
    torch.cuda.synchronize()
    with no_synchronisation():
        busy(2_000_000_000)
        made = trained(inputs, recipe.classes, seed)
        idle = torch.cuda.current_stream().query()
    assert not idle, "all was computed when the calls returned"
    check(made, recipe)


@served
@labels
@pytest.mark.parametrize("shape", ["usual", "several blocks"])
def test_a_graph_replays_with_other_inputs(shape: str, soft: bool) -> None:
    recipe = SHAPES[shape].but(soft=soft)
    inputs, seed = leaves(problem(recipe)), torch.ones((), device=DEVICE)
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            trained(inputs, recipe.classes, seed)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        made = trained(inputs, recipe.classes, seed)
    for number in (3, 4, 3):
        other = problem(recipe.but(seed=number))
        with torch.no_grad():
            for static, new in zip(inputs, other.arguments()[:4], strict=True):
                static.copy_(new)
        graph.replay()
        torch.cuda.synchronize()
        check(made, other.recipe)


FIRST_CALL = """
import torch
import fdan_edge.models.ops.lmmd
z, y = torch.eye(8, device="cuda"), torch.arange(8, device="cuda") % 3
moved = z + 1
torch.cuda.synchronize()
graph = torch.cuda.CUDAGraph()
with torch.cuda.graph(graph):
    value, gradient = torch.ops.fdan_edge.lmmd(z, moved, y, y, 3, False, 5, 2.0, True)
graph.replay()
torch.cuda.synchronize()
assert float(value) > 0, value
"""


@served
def test_a_graph_can_hold_the_first_call() -> None:
    """Which allocates what later calls keep."""
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", FIRST_CALL], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


@served
@pytest.mark.filterwarnings("ignore::UserWarning")  # of the profiler
def test_a_small_step_takes_at_most_three_launches_and_one_back() -> None:
    recipe = SHAPES["usual"]
    inputs, seed = leaves(problem(recipe)), torch.ones((), device=DEVICE)

    def step() -> None:
        torch.autograd.grad(lmmd(*inputs, recipe.classes), inputs[:2], seed)
        torch.cuda.synchronize()

    launches = launched(step)
    if not launches:
        pytest.skip("the profiler sees no kernels on this machine")
    assert len(launches) <= 4, launches


def launched(step: Callable[[], None]) -> list[str]:
    """Names of the kernels, copies and fills that a step runs on the GPU."""
    step()
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        step()
    events: Any = profiler.events()
    return [event.name for event in events or [] if event.device_type.name == "CUDA"]


@served
def test_memory_grows_with_the_rows_not_with_their_pairs() -> None:
    inputs = leaves(problem(Recipe(8192, 8192, 256, 7)))
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    trained(inputs, 7)
    extra = (torch.cuda.max_memory_allocated() - before) / 2**20
    assert extra < 80, f"{extra:.0f} MB for features of 16 MB; a matrix of all pairs has 1024 MB"


# torch's own test looks at .grad of tensors that it made from ours.
@served
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@labels
@pytest.mark.parametrize("gradient", [True, False])
def test_opcheck(gradient: bool, soft: bool) -> None:
    p = problem(SHAPES["width 13"].but(soft=soft)).to(DEVICE)
    if gradient:
        p.z_visual.requires_grad_()
        p.z_acoustic.requires_grad_()
    tried = torch.library.opcheck(torch.ops.fdan_edge.lmmd.default, p.arguments(gradient))
    assert set(tried.values()) == {"SUCCESS"}


@served
def test_torch_compile_sees_one_graph() -> None:
    recipe = SHAPES["usual"]
    inputs = leaves(problem(recipe))
    torch.compiler.reset()
    compiled = torch.compile(lmmd, fullgraph=True, backend="aot_eager")
    value = compiled(*inputs, recipe.classes)
    check((value.detach(), torch.cat(torch.autograd.grad(value, inputs[:2]))), recipe)
    torch.compiler.reset()
