"""Convolutions that oneDNN is slow at in training on the CPU, done otherwise: of small maps, and strided ones."""

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
    """Whether a convolution computes in 16 bits."""
    formats = (torch.bfloat16, torch.float16)
    autocast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") in formats
    return autocast or x.dtype in formats


def _exact_gradients(x: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
    """`functional.conv2d`, its gradients computed in float32."""
    made: Tensor = _ExactGradients.apply(x, weight, bias, how)
    return made


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
        given = (slopes.float(), x.float(), weight.float(), ctx.bias, stride, padding, dilation, False, (0, 0))
        made = torch.ops.aten.convolution_backward(*given, groups, ctx.needs_input_grad[:3])
        types = (x.dtype, weight.dtype, weight.dtype)
        return (*(grad if grad is None else grad.to(t) for grad, t in zip(made, types, strict=True)), None)


def suit_cpu(network: nn.Module) -> nn.Module:
    """Make the convolutions of a network that are depthwise 3x3 or pointwise of these two classes, in place."""
    for module in network.modules():
        if type(module) is nn.Conv2d and _is_depthwise(module):
            module.__class__ = DepthwiseConv2d
        elif type(module) is nn.Conv2d and _is_pointwise(module):
            module.__class__ = PointwiseConv2d
    return network


def _in_training(module: nn.Module, x: Tensor) -> bool:
    return module.training and x.device.type == "cpu" and not torch.compiler.is_compiling()


def _is_small(x: Tensor) -> bool:
    return x.shape[-2] * x.shape[-1] <= _SMALL and x.is_contiguous(memory_format=torch.channels_last)


def _is_depthwise(conv: nn.Conv2d) -> bool:
    alone = conv.groups == conv.in_channels > 1
    return alone and conv.kernel_size == (3, 3) and conv.padding == (1, 1) and conv.padding_mode == "zeros"


def _is_pointwise(conv: nn.Conv2d) -> bool:
    return conv.kernel_size == conv.stride == (1, 1) and conv.padding == (0, 0) and conv.groups == 1
