"""Convolutions that oneDNN is slow at in training on the CPU, computed another way: small maps, strides of 2."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

_SMALL = 100  # places; with 14x14 both are alike, with 28x28 oneDNN is quicker


class DepthwiseConv2d(nn.Conv2d):
    """A 3x3 convolution of each channel by itself, in training without two of oneDNN's slow gradients.

    That of the weights, with padding 1 on 2x2 places, takes 18 ms instead of 0.2 (960 channels, a batch of 32, two
    cores): inputs of two places or fewer are padded by hand, so that the convolution has no padding of its own.
    Those of a stride of 2 in bfloat16 take 66 ms instead of 11 (96 channels, 64x94 places): they are computed in
    float32. Everything else is `nn.Conv2d`.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not _in_training(self, x):
            return super().forward(x)
        padding = self.padding
        if min(x.shape[-2:]) <= 2:
            x, padding = functional.pad(x, (1, 1, 1, 1)), (0, 0)
        convolve = _exact_gradients if self.stride != (1, 1) and _is_half(x) else functional.conv2d
        return convolve(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class PointwiseConv2d(nn.Conv2d):
    """A 1x1 convolution that is a matrix product of the places of small maps, in training.

    In channels-last order nothing moves in memory. Alone, forward and backward of MobileNetV2's are 1.0 to 1.7
    times as fast as oneDNN's at 8x12 places and 1.6 to 2 times at 2x2; a training step takes 5 % less.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not _in_training(self, x) or not _is_small(x):
            return super().forward(x)
        # Permuted, the weights' gradient lies in memory as they do, which DistributedDataParallel asks for.
        weight = self.weight.permute(0, 2, 3, 1).flatten(1)
        places = functional.linear(x.permute(0, 2, 3, 1), weight, self.bias)
        return places.permute(0, 3, 1, 2)


def _is_half(x: Tensor) -> bool:
    """Tell whether a convolution computes in 16 bits."""
    formats = (torch.bfloat16, torch.float16)
    autocast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") in formats
    return autocast or x.dtype in formats


def _exact_gradients(x: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
    """Convolve as `functional.conv2d`, with gradients computed in float32."""
    y: Tensor = _ExactGradients.apply(x, weight, bias, how)
    return y


class _ExactGradients(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, how: tuple[Any, ...]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.how, ctx.bias = how, None if bias is None else list(bias.shape)
        return functional.conv2d(x, weight, bias, *how)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.how
        wide = (slopes.float(), x.float(), weight.float(), ctx.bias, stride, padding, dilation, False, (0, 0))
        gradients = torch.ops.aten.convolution_backward(*wide, groups, ctx.needs_input_grad[:3])
        types = (x.dtype, weight.dtype, weight.dtype)
        return (*(grad if grad is None else grad.to(t) for grad, t in zip(gradients, types, strict=True)), None)


def suit_cpu(network: nn.Module) -> nn.Module:
    """Replace the depthwise 3x3 and the pointwise convolutions of a network by these two classes, in place.

    Parameters and their names are the same.
    """
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is not nn.Conv2d:
                continue
            if _is_depthwise(child):
                setattr(parent, name, _replaced(child, DepthwiseConv2d))
            elif _is_pointwise(child):
                setattr(parent, name, _replaced(child, PointwiseConv2d))
    return network


def _replaced(conv: nn.Conv2d, kind: type[nn.Conv2d]) -> nn.Conv2d:
    """Build another kind of convolution that has this one's parameters, and draw no random numbers for it."""
    replacement = kind(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        dilation=conv.dilation,  # type: ignore[arg-type]
        groups=conv.groups,
        bias=conv.bias is not None,
        device="meta",
    )
    replacement.weight, replacement.bias = conv.weight, conv.bias
    return replacement.train(conv.training)


def _in_training(module: nn.Module, x: Tensor) -> bool:
    return module.training and x.device.type == "cpu" and not torch.compiler.is_compiling()


def _is_small(x: Tensor) -> bool:
    return x.shape[-2] * x.shape[-1] <= _SMALL and x.is_contiguous(memory_format=torch.channels_last)


def _is_depthwise(conv: nn.Conv2d) -> bool:
    alone = conv.groups == conv.in_channels > 1
    return alone and conv.kernel_size == (3, 3) and conv.padding == (1, 1) and conv.padding_mode == "zeros"


def _is_pointwise(conv: nn.Conv2d) -> bool:
    return conv.kernel_size == conv.stride == (1, 1) and conv.padding == (0, 0) and conv.groups == 1
