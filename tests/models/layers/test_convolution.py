"""Convolutions that oneDNN is slow at: the same numbers, by another way, in training on the CPU only."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from fdan_edge.models.layers.convolution import DepthwiseConv2d, PointwiseConv2d, suit_cpu

KINDS: dict[type[nn.Conv2d], dict[str, Any]] = {
    DepthwiseConv2d: {"out_channels": 24, "kernel_size": 3, "padding": 1, "groups": 24},
    PointwiseConv2d: {"out_channels": 40, "kernel_size": 1},
}
kinds = pytest.mark.parametrize("kind", KINDS)


def pair(kind: type[nn.Conv2d], **settings: Any) -> tuple[nn.Conv2d, nn.Conv2d]:
    """PyTorch's convolution, and ours with the same weights."""
    torch.manual_seed(0)
    own = nn.Conv2d(24, **(KINDS[kind] | settings))
    made = next(suit_cpu(nn.Sequential(copy.deepcopy(own))).children())
    assert isinstance(made, nn.Conv2d)
    return own.to(memory_format=torch.channels_last), made.to(memory_format=torch.channels_last)


def maps(*places: int) -> Tensor:
    made = torch.randn(3, 24, *places, generator=torch.Generator().manual_seed(1))
    return made.contiguous(memory_format=torch.channels_last)


def convolved(conv: nn.Conv2d, x: Tensor) -> list[Tensor]:
    x = x.detach().clone().requires_grad_()
    y = conv(x)
    parameters = [p for p in conv.parameters() if p is not None]
    return [y, *torch.autograd.grad(y.square().sum(), [x, *parameters])]


@kinds
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("places", [(2, 2), (1, 1), (2, 5), (4, 6), (9, 12)], ids=str)
def test_the_numbers_are_the_same(kind: type[nn.Conv2d], places: tuple[int, int], stride: int, bias: bool) -> None:
    own, made = pair(kind, stride=stride, bias=bias)
    x = maps(*places)
    assert type(made) is (nn.Conv2d if kind is PointwiseConv2d and stride == 2 else kind)
    wanted, found = convolved(own, x), convolved(made, x)
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@kinds
def test_gradients_lie_in_memory_as_the_weights_do(kind: type[nn.Conv2d]) -> None:
    """Else DistributedDataParallel warns, and copies."""
    _, made = pair(kind, bias=False)
    (grad,) = torch.autograd.grad(made(maps(2, 2)).sum(), [made.weight])
    assert grad.stride() == made.weight.stride()


@kinds
@pytest.mark.parametrize("why", ["eval", "compiling", "large", "another order in memory"])
def test_elsewhere_they_are_pytorch_s_own(
    kind: type[nn.Conv2d], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, made = pair(kind)
    x = maps(2, 2)
    if why == "eval":
        made.eval()
    if why == "compiling":
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    if why == "large":
        x = maps(16, 16)
    if why == "another order in memory":
        x = x.contiguous()
    wanted = own(x)
    if kind is not DepthwiseConv2d or why != "another order in memory":  # which those take in any order
        monkeypatch.setattr(nn.functional, "pad", None)
        monkeypatch.setattr(nn.functional, "linear", None)
    torch.testing.assert_close(made(x), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kind", "stride"), [(PointwiseConv2d, 1), (DepthwiseConv2d, 1), (DepthwiseConv2d, 2)])
@pytest.mark.parametrize("places", [(1, 2), (4, 6)], ids=str)
def test_half_precision_is_autocast_as_convolutions_are(
    kind: type[nn.Conv2d], stride: int, places: tuple[int, int]
) -> None:
    own, made = pair(kind, stride=stride)
    with torch.autocast("cpu", torch.bfloat16):
        found, wanted = convolved(made, maps(*places)), convolved(own, maps(*places))
    assert found[0].dtype == torch.bfloat16
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, rtol=0.03, atol=0.01 * other.detach().abs().max().item())


def test_gradients_of_strides_in_half_precision_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of bfloat16's numbers, computed in float32, and asked for only where they are needed."""
    _, made = pair(DepthwiseConv2d, stride=2)
    made.bfloat16()
    x = maps(9, 12).bfloat16()
    y, dx, *others = convolved(made, x)
    asked, backward = [], torch.ops.aten.convolution_backward

    def counted(*given: Any) -> Any:
        asked.append(given[-1])
        return backward(*given)

    with monkeypatch.context() as patch:
        patch.setattr(torch.ops.aten, "convolution_backward", counted)
        made(x).sum().backward()
    assert asked == [(False, True, True)]
    slopes = 2 * y.detach().float()  # of the sum of squares
    exact = copy.deepcopy(made).float()
    wide = x.float().requires_grad_()
    wanted = torch.autograd.grad(exact(wide), [wide, *exact.parameters()], slopes)
    for one, other in zip([dx, *others], wanted, strict=True):
        assert one.dtype == torch.bfloat16
        torch.testing.assert_close(one, other.bfloat16(), rtol=0.01, atol=0.01)


def test_which_convolutions_they_are() -> None:
    network = suit_cpu(torchvision.models.mobilenet_v2())
    found = [type(m) for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert found.count(nn.Conv2d) == 1  # the stem
    assert found.count(DepthwiseConv2d) == 17
    assert found.count(PointwiseConv2d) == 34
