"""Depthwise convolutions of inputs that are as small as what MobileNetV2 makes of a face of 48x48."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class DepthwiseConv2d(nn.Conv2d):
    """A 3x3 convolution of each channel by itself that pads inputs of two places or fewer by hand, in training.

    oneDNN's gradient of the weights, with padding 1 on 2x2 places, takes 18 ms instead of 0.2 (960 channels, a
    batch of 32, two cores). Padded before, the convolution has none of its own. Everything else is `nn.Conv2d`.
    """

    def forward(self, x: Tensor) -> Tensor:
        small = x.device.type == "cpu" and min(x.shape[-2:]) <= 2
        if not self.training or torch.compiler.is_compiling() or not small:
            return super().forward(x)
        padded = functional.pad(x, (1, 1, 1, 1))
        return functional.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def pad_small_inputs(network: nn.Module) -> nn.Module:
    """Make every depthwise 3x3 convolution of a network with padding 1 a `DepthwiseConv2d`, in place."""
    for module in network.modules():
        if type(module) is nn.Conv2d and _is_depthwise(module):
            module.__class__ = DepthwiseConv2d
    return network


def _is_depthwise(conv: nn.Conv2d) -> bool:
    alone = conv.groups == conv.in_channels > 1
    return alone and conv.kernel_size == (3, 3) and conv.padding == (1, 1) and conv.padding_mode == "zeros"
