"""Normalisation with its activation: against float64, against PyTorch's own modules, and over two processes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.distributed as dist
import torchvision
from torch import Tensor, nn

from fdan_edge.models.backbones.build import build_backbone
from fdan_edge.models.layers import norm
from fdan_edge.models.layers.convolution import suit_cpu
from fdan_edge.models.layers.norm import ACTIVATIONS, BatchNormAct, fuse, share_statistics, unfuse
from tests.helpers.processes import run_ranks

SHAPES = [
    (2, 1, 3, 5),
    (3, 3, 4, 4),
    (2, 24, 9, 7),
    (3, 33, 5, 4),
    (2, 960, 2, 2),
    (1, 24, 1, 2),
    (7, 40, 1, 1),
    (9, 13),
]
LARGE = (4, 48, 33, 41)  # several chunks of cuda/norm_cpu.cpp
shapes = pytest.mark.parametrize("shape", [*SHAPES, LARGE], ids=str)
acts = pytest.mark.parametrize("act", ACTIVATIONS)


@pytest.fixture(params=["native", "reference"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The compiled ops and what stands in for them."""
    if request.param == "reference":
        monkeypatch.setattr(norm, "ops_for", lambda _: norm.REFERENCE)
    return cast("str", request.param)


@pytest.fixture(params=[0, 1, 2] if norm.NATIVE_TYPES else [])
def level(request: pytest.FixtureRequest) -> Iterator[None]:
    torch.ops.fdan_edge.cpu_level(request.param)
    yield
    torch.ops.fdan_edge.cpu_level(2)


def numbers(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    made = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 2 + 1
    return made.to(memory_format=torch.channels_last) if len(shape) == 4 else made


def layer(width: int, act: str = "relu6", **settings: Any) -> BatchNormAct:
    made = BatchNormAct(width, act, **settings)
    if made.affine:
        chance = torch.Generator().manual_seed(1)
        nn.init.uniform_(made.weight, -2, 3, generator=chance)
        nn.init.uniform_(made.bias, -1, 5, generator=chance)
    return made


def plain(made: BatchNormAct, x: Tensor) -> Tensor:
    """What PyTorch makes of it: (n, c) as (n, c, 1, 1)."""
    own = nn.BatchNorm2d(made.num_features, made.eps, made.momentum, made.affine).to(made.running_mean)  # its type
    own.load_state_dict(made.state_dict())
    wide = x if x.dim() == 4 else x[:, :, None, None]
    return ACTIVATIONS[made.act](own(wide)).view(x.shape)


def gradients(made: Callable[[Tensor], Tensor], x: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    """y, and the slopes of a weighted sum of it."""
    x = x.detach().requires_grad_()
    y = made(x)
    slopes = numbers(tuple(x.shape), seed=2).to(x.dtype) - 1
    return [y.detach(), *torch.autograd.grad((y * slopes).sum(), [x, *parameters])]


def exact(made: BatchNormAct, x: Tensor) -> list[Tensor]:
    """By PyTorch in float64."""
    own = nn.BatchNorm2d(made.num_features, made.eps).double()
    own.load_state_dict({name: value.double() for name, value in made.state_dict().items()})
    whole = x.double() if x.dim() == 4 else x.double()[:, :, None, None]
    act = ACTIVATIONS[made.act]
    return gradients(lambda wide: act(own(wide)), whole, [own.weight, own.bias])


def error(made: Tensor, wanted: Tensor) -> float:
    """Largest difference, over the largest value."""
    wanted = wanted.view(made.shape)
    return float((made.double() - wanted).abs().max() / wanted.abs().max().clamp_min(1e-30))


def test_the_ops_are_compiled() -> None:
    assert norm.NATIVE_TYPES, "else the tests below compare the reference with itself"


@acts
@shapes
@pytest.mark.usefixtures("way", "level")
def test_values_and_gradients(shape: tuple[int, ...], act: str) -> None:
    made, x = layer(shape[1], act), numbers(shape)
    for own, wanted in zip(
        gradients(lambda x: made.normalise(x, shared=False), x, [made.weight, made.bias]),
        exact(made, x),
        strict=True,
    ):
        assert error(own, wanted) < 2e-5


@pytest.mark.parametrize(("mean", "deviation"), [(100.0, 0.01), (-1e4, 1.0), (3.0, 1e-3)])
def test_large_means_lose_no_more_than_in_pytorch(mean: float, deviation: float) -> None:
    made = layer(24, "none")
    x = numbers((8, 24, 33, 29)) * deviation + mean
    wanted = exact(made, x)[0]
    assert error(made(x).detach(), wanted) <= 1.1 * error(plain(made, x).detach(), wanted) + 1e-7


@pytest.mark.usefixtures("level")
def test_moments_of_a_channel_with_one_enormous_value() -> None:
    x = numbers(LARGE)
    x[0, :, 0, 0] = 1e6
    mean, square = torch.ops.fdan_edge.norm_moments(x)
    wanted = norm.REFERENCE.norm_moments(x)
    deviation = (wanted[1] / (x.numel() / x.shape[1])).sqrt()
    assert ((mean - wanted[0]).abs() < 1e-6 * deviation).all()
    assert torch.allclose(square, wanted[1], rtol=1e-6)


@acts
@pytest.mark.parametrize("shape", [*SHAPES, LARGE], ids=str)
@pytest.mark.usefixtures("level")
def test_bfloat16_is_float32_rounded(shape: tuple[int, ...], act: str) -> None:
    """Bit for bit: numbers are bfloat16, what is computed with them is float32."""
    made, x, dy = layer(shape[1], act), numbers(shape).bfloat16(), numbers(shape, seed=3).bfloat16()
    code = list(ACTIVATIONS).index(act)

    def both_ways(x: Tensor, dy: Tensor) -> list[Tensor]:
        running = (torch.zeros(shape[1]), torch.ones(shape[1]))
        ops, parameters = torch.ops.fdan_edge, (made.weight.detach(), made.bias.detach())
        y, moments = ops.norm_forward(x, *parameters, *running, 0.1, made.eps, code)
        return [y, moments, *ops.norm_backward(dy, x, moments, *parameters, made.eps, code), *running]

    for own, wanted in zip(both_ways(x, dy), both_ways(x.float(), dy.float()), strict=True):
        rounded = wanted.bfloat16() if wanted.shape == x.shape else wanted
        assert own.dtype == rounded.dtype
        assert torch.equal(own, rounded)


@pytest.mark.usefixtures("level")
def test_bfloat16_rounds_as_pytorch_does() -> None:
    """Half ways between any two, their neighbours, and what is not finite."""
    halfway = torch.arange(2**16, dtype=torch.int32).bitwise_left_shift(16).bitwise_or(0x8000)
    bias = torch.cat([halfway - 1, halfway, halfway + 1]).view(torch.float32)
    moments = torch.stack([torch.zeros(len(bias)), torch.ones(len(bias))]).double()
    zeros = torch.zeros(2, len(bias), dtype=torch.bfloat16)
    y = torch.ops.fdan_edge.norm_apply(zeros, moments, 1, torch.ones(len(bias)), bias, 0.0, 0)
    finite = ~bias.isnan()
    assert y[:, ~finite].isnan().all()
    wanted = bias.bfloat16()[finite].view(torch.int16)  # bits: of -0 too, and of what overflows
    assert torch.equal(y[:, finite].contiguous().view(torch.int16), wanted.expand(2, -1))


@acts
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
@pytest.mark.usefixtures("way", "level")
def test_what_is_not_finite_stays_visible(act: str, wrong: float) -> None:
    x = numbers((2, 24, 5, 4))
    x[1, 3, 2, 2] = wrong
    made = layer(24, act)
    y, dx, *_ = gradients(lambda x: made.normalise(x, shared=False), x, [made.weight, made.bias])
    assert y[:, 3].isnan().all() or wrong == float("inf")
    assert y[1, 3, 2, 2].isnan()
    assert dx[:, 3].isnan().any()
    assert not y[:, :3].isnan().any()


@acts
@shapes
def test_one_call_is_both_halves(shape: tuple[int, ...], act: str) -> None:
    """Bit for bit, what processes compute with sums of their own is what one process computes."""
    made, x = layer(shape[1], act), numbers(shape)
    both = copy.deepcopy(made)
    running = (both.running_mean, both.running_var, 0.1)
    code = list(ACTIVATIONS).index(act)
    y, moments = torch.ops.fdan_edge.norm_forward(x, both.weight, both.bias, *running, both.eps, code)
    dy = numbers(shape, seed=3)
    found = torch.ops.fdan_edge.norm_backward(dy, x, moments, both.weight, both.bias, both.eps, code)
    rows = x.numel() // x.shape[1]
    tail = (rows, made.weight, made.bias, made.eps, code)
    sums = torch.ops.fdan_edge.norm_slope_sums(dy, x, moments, *tail)
    assert torch.equal(moments, torch.ops.fdan_edge.norm_moments(x))
    assert torch.equal(y, torch.ops.fdan_edge.norm_apply(x, moments, *tail))
    assert torch.equal(found[0], torch.ops.fdan_edge.norm_slopes(dy, x, moments, sums, *tail))
    assert torch.equal(found[1], (sums[1] / (moments[1] / rows + made.eps).sqrt()).float())
    assert torch.equal(found[2], sums[0].float())
    made._track(moments, rows, 0.1)
    for one, other in zip(made.buffers(), both.buffers(), strict=True):
        torch.testing.assert_close(one, other)


def test_no_slope_at_the_corners() -> None:
    """As PyTorch: with weight 0 everything is the bias, 0 or 6."""
    for bias, act, some in ((0.0, "relu", False), (6.0, "relu6", False), (6.0, "relu", True), (0.0, "none", True)):
        made, x = BatchNormAct(3, act), numbers((2, 3, 4, 4))
        nn.init.zeros_(made.weight)
        nn.init.constant_(made.bias, bias)
        slope = gradients(made, x, [made.weight, made.bias])[-1]
        assert bool(slope.any()) is some
        assert torch.equal(slope, slope if some else torch.zeros(3))


def test_bits_do_not_depend_on_the_call_or_the_threads() -> None:
    x, threads, made = numbers(LARGE), torch.get_num_threads(), layer(LARGE[1])
    try:
        runs = []
        for count in (1, 2, 3, 2):
            torch.set_num_threads(count)
            runs.append(gradients(made, x, [made.weight, made.bias]))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for run in runs[1:] for a, b in zip(run, runs[0], strict=True))


@pytest.mark.parametrize("settings", [{}, {"momentum": None}, {"momentum": 0.3}, {"affine": False}])
def test_running_statistics(settings: dict[str, Any]) -> None:
    made, own = layer(24, "relu", **settings), nn.BatchNorm2d(24, **settings)
    own.load_state_dict(made.state_dict())
    for seed in range(3):
        assert torch.allclose(
            made(numbers((3, 24, 4, 5), seed)), own(numbers((3, 24, 4, 5), seed)).relu(), atol=1e-5
        )
    assert made.state_dict().keys() == own.state_dict().keys()
    for name, value in made.state_dict().items():
        assert torch.allclose(value, own.state_dict()[name], rtol=1e-6, atol=1e-6), name
    assert int(cast("Tensor", made.num_batches_tracked)) == 3


def test_without_running_statistics() -> None:
    made = layer(24, track_running_stats=False)
    assert torch.allclose(made(numbers((3, 24, 4, 5))), made.eval()(numbers((3, 24, 4, 5))), atol=1e-5)


def test_one_value_for_a_channel() -> None:
    for made in (BatchNormAct(3), nn.BatchNorm2d(3)):
        with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
            made(numbers((1, 3, 1, 1)))
    with pytest.raises(ValueError, match=r"expected 2D or 4D input \(got 3D input\)"):
        BatchNormAct(3)(torch.zeros(2, 3, 4))


@pytest.mark.parametrize("kind", ["float64", "float16", "rows first", "compiling"])
def test_other_inputs_are_pytorchs_own(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made, x = layer(24), numbers((3, 24, 4, 5))
    if kind in ("float64", "float16"):
        x = x.to(getattr(torch, kind))
        made = made.double() if kind == "float64" else made
    if kind == "rows first":
        x = x.contiguous()
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: kind == "compiling")
    monkeypatch.setattr(BatchNormAct, "normalise", None)  # would be an error
    assert torch.equal(made(x), plain(made, x))


def test_parameters_in_bfloat16_are_pytorch_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    made, x = layer(24).bfloat16(), numbers((3, 24, 4, 5)).bfloat16()
    monkeypatch.setattr(BatchNormAct, "normalise", None)
    assert torch.equal(made(x), plain(made, x))
    made.frozen = True
    assert made(x).dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_under_autocast_the_type_stays(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """As PyTorch's own norms have it; and an older build, which takes float32 only, leaves the rest to them."""
    made, x = layer(24), numbers((3, 24, 4, 5)).to(dtype)
    own = copy.deepcopy(made)
    with torch.autocast("cpu"):
        found = made(x)
        monkeypatch.setattr(norm, "NATIVE_TYPES", ())
        wanted = own(x)
    assert found.dtype == wanted.dtype == dtype
    torch.testing.assert_close(found, wanted, rtol=1e-5 if dtype == torch.float32 else 0.01, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: (x.double(), x), "tensors must be float32 or bfloat16"),
        (lambda x: (x.bfloat16(), x), "slopes must have the type of x"),
        (lambda x: (x, x.contiguous()), "tensors must be contiguous in channels-last order"),
        (lambda x: (x, x[:1]), "slopes must have the shape of x"),
    ],
)
def test_what_the_ops_refuse(change: Callable[[Tensor], tuple[Tensor, Tensor]], message: str) -> None:
    x, dy = change(numbers((3, 24, 4, 5)))
    moments, width = torch.zeros(2, 24, dtype=torch.float64), torch.ones(24)
    with pytest.raises(ValueError, match=rf"^norm: {message}$"):
        torch.ops.fdan_edge.norm_slope_sums(dy, x, moments, 60, width, width, 1e-5, 0)
    x = numbers((3, 24, 4, 5))
    with pytest.raises(ValueError, match=r"^norm: the activation must be 0"):
        torch.ops.fdan_edge.norm_apply(x, moments, 60, width, width, 1e-5, 3)
    with pytest.raises(ValueError, match=r"^norm: weight must be float32"):
        torch.ops.fdan_edge.norm_apply(x, moments, 60, width[:5], width, 1e-5, 0)
    with pytest.raises(ValueError, match=r"^norm: running_var must be float32"):
        torch.ops.fdan_edge.norm_forward(x, width, width, width, moments, 0.1, 1e-5, 0)
    with pytest.raises(ValueError, match=r"^norm: there must be two rows"):
        torch.ops.fdan_edge.norm_forward(x[:1, :, :1, :1], width, width, width, width, 0.1, 1e-5, 0)


def test_the_ops_tell_their_shapes() -> None:
    """For what traces without numbers."""
    x = numbers((3, 24, 4, 5))
    moments = torch.ops.fdan_edge.norm_moments(x)
    tail = (60, torch.ones(24), torch.zeros(24), 1e-5, 2)
    ops, check = torch.ops.fdan_edge, ("test_schema", "test_faketensor")
    torch.library.opcheck(ops.norm_moments.default, (x,), test_utils=check)
    torch.library.opcheck(ops.norm_apply.default, (x, moments, *tail), test_utils=check)
    torch.library.opcheck(ops.norm_slope_sums.default, (x, x, moments, *tail), test_utils=check)
    torch.library.opcheck(ops.norm_slopes.default, (x, x, moments, moments, *tail), test_utils=check)
    running = (torch.zeros(24), torch.ones(24), 0.1)
    torch.library.opcheck(ops.norm_forward.default, (x, *tail[1:3], *running, *tail[3:]), test_utils=check)
    torch.library.opcheck(ops.norm_backward.default, (x, x, moments, *tail[1:]), test_utils=check)


NETWORKS = {
    "mobilenet_v2_tiny": lambda: torchvision.models.mobilenet_v2().features[:11],
    "resnet18": torchvision.models.resnet18,
    "vgg8": lambda: build_backbone("vgg8", None)[0],
}


@pytest.fixture(params=NETWORKS)
def pair(request: pytest.FixtureRequest) -> tuple[nn.Module, nn.Module]:
    """A network as it is, and a fused copy."""
    torch.manual_seed(0)
    network = unfuse(NETWORKS[request.param]()).to(memory_format=torch.channels_last)
    return network, suit_cpu(fuse(copy.deepcopy(network)))


def test_a_fused_network_is_the_same_network(pair: tuple[nn.Module, nn.Module]) -> None:
    own, fused = pair
    before = fused.state_dict()
    assert list(before) == list(own.state_dict())
    fused.load_state_dict(own.state_dict())
    own.load_state_dict(before)
    x = numbers((4, 3, 64, 64))
    a, b = own.train()(x), fused.train()(x)
    assert torch.allclose(a, b, rtol=1e-3, atol=1e-3)
    for name, value in own.state_dict().items():
        assert torch.allclose(value, fused.state_dict()[name], rtol=1e-4, atol=1e-5), name
    fused.load_state_dict(own.state_dict())
    assert torch.equal(own.eval()(x), fused.eval()(x))


def test_copies_of_a_fused_network_are_their_own(pair: tuple[nn.Module, nn.Module]) -> None:
    fused = pair[1].train()
    other = copy.deepcopy(fused)
    before = {name: value.clone() for name, value in other.state_dict().items()}
    fused(numbers((4, 3, 64, 64))).sum().backward()
    with torch.no_grad():
        for parameter in fused.parameters():
            parameter.add_(1)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
    assert any(isinstance(module, BatchNormAct) for module in other.modules())


def test_unfusing_gives_the_modules_back(pair: tuple[nn.Module, nn.Module]) -> None:
    def kinds(network: nn.Module) -> list[tuple[str, str]]:
        names = {"BatchNormAct": "BatchNorm2d", "DepthwiseConv2d": "Conv2d", "PointwiseConv2d": "Conv2d"}
        return [(name, names.get(type(m).__name__, type(m).__name__)) for name, m in network.named_modules()]

    own, fused = pair
    acts = [m.act for m in fused.modules() if isinstance(m, BatchNormAct)]
    assert acts
    assert kinds(unfuse(fused)) == kinds(own)


def test_the_backbones_are_fused() -> None:
    network, _ = build_backbone("mobilenet_v2", None)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {type(m) for m in norms} == {BatchNormAct}
    assert [m.act for m in norms if isinstance(m, BatchNormAct)].count("relu6") == 35
    assert not any(isinstance(m, nn.ReLU6) for m in network.modules())


ROWS = (5, 3)  # of the two processes


def _process(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    saved = {"native": _part(rank)}
    setattr(norm, "ops_for", lambda _: norm.REFERENCE)  # noqa: B010
    saved["reference"] = _part(rank)
    torch.save(saved, f"{folder}/{rank}")
    dist.destroy_process_group()


def _part(rank: int) -> list[Tensor | None]:
    """One process's share of the rows: y, slopes, running statistics."""
    made = layer(24, group_wide=True)
    x = numbers((sum(ROWS), 24, 9, 11))
    own = slice(rank * ROWS[0], rank * ROWS[0] + ROWS[rank])
    part = x[own].detach().requires_grad_()
    y = made(part)
    (y * (numbers(tuple(x.shape), seed=2)[own] - 1)).sum().backward()
    return [y.detach(), part.grad, made.weight.grad, made.bias.grad, made.running_mean, made.running_var]


def test_two_processes_equal_one(tmp_path: Path) -> None:
    run_ranks(_process, 2, str(tmp_path))
    one = layer(24, group_wide=True)  # no group here: it is as if alone
    wanted = gradients(one, numbers((sum(ROWS), 24, 9, 11)), [one.weight, one.bias])
    of_all = [torch.load(tmp_path / str(rank)) for rank in (0, 1)]
    for way in ("native", "reference"):
        a, b = (saved[way] for saved in of_all)
        made = [torch.cat([a[0], b[0]]), torch.cat([a[1], b[1]]), a[2] + b[2], a[3] + b[3]]
        for ours, whole in zip(made, wanted, strict=True):
            assert error(ours, whole) < 1e-6
        for ours in (a, b):
            assert torch.allclose(ours[4], cast("Tensor", one.running_mean), rtol=1e-6, atol=1e-7)
            assert torch.allclose(ours[5], cast("Tensor", one.running_var), rtol=1e-6)


def test_sharing_is_told_to_every_norm_but_frozen_ones() -> None:
    network = build_backbone("mobilenet_v2_tiny", None)[0]
    first = next(m for m in network.modules() if isinstance(m, BatchNormAct))
    first.frozen = True
    share_statistics(network)
    shared = [m for m in network.modules() if isinstance(m, BatchNormAct) and m.group_wide]
    assert first not in shared
    assert len(shared) == sum(isinstance(m, BatchNormAct) for m in network.modules()) - 1


def test_on_a_gpu_they_become_pytorch_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    network = build_backbone("mobilenet_v2_tiny", None)[0]
    plain, names = copy.deepcopy(unfuse(copy.deepcopy(network))), set(network.state_dict())
    kept = dict(network.named_parameters())
    monkeypatch.setattr(Tensor, "is_cuda", property(lambda _: True))
    share_statistics(network)
    monkeypatch.undo()
    assert not any(isinstance(m, BatchNormAct) for m in network.modules())
    synced = sum(isinstance(m, nn.SyncBatchNorm) for m in network.modules())
    assert synced == sum(isinstance(m, nn.BatchNorm2d) for m in plain.modules())
    assert sum(isinstance(m, nn.ReLU6) for m in network.modules()) == sum(
        isinstance(m, nn.ReLU6) for m in plain.modules()
    )
    assert set(network.state_dict()) == names
    assert all(kept[name] is parameter for name, parameter in network.named_parameters())
