"""The first stages of a pretrained network, left as they are: no gradients, no statistics, one pass less."""

from __future__ import annotations

from itertools import pairwise

import torchvision
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from fdan_edge.models.norm import BatchNormAct


class FrozenConv2d(nn.Conv2d):
    """A frozen convolution whose weights do the work of the frozen norm after it too, in training.

    Parameters, buffers and their names are those of before. Where the input wants a gradient, and in eval mode, it
    is `nn.Conv2d`.
    """

    norm: tuple[BatchNormAct]  # not a submodule of this one

    def forward(self, x: Tensor) -> Tensor:
        (norm,) = self.norm
        if not norm.stands_aside(x):
            return super().forward(x)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        moments = (norm.running_mean, norm.running_var)
        weight, bias = fuse_conv_bn_weights(self.weight, self.bias, *moments, norm.eps, norm.weight, norm.bias)
        made: Tensor = self._conv_forward(x, weight, bias)
        return made


def freeze(network: nn.Module, stages: int) -> None:
    """Keep the first stages of a MobileNetV2 or ResNet as they are, their norms' statistics too.

    There the pictures are largest: what is frozen needs no backward pass. Of other networks nothing is frozen.

    Args:
        stages: of a MobileNetV2 how many of its 19 blocks; of a ResNet how many of its 5 groups.
    """
    for part in _stages(network)[:stages]:
        part.requires_grad_(False)
        for parent in part.modules():
            for first, second in pairwise(parent.children()):
                if isinstance(first, nn.Conv2d) and isinstance(second, BatchNormAct):
                    _freeze_pair(first, second)


def _stages(network: nn.Module) -> list[nn.Module]:
    if isinstance(network, torchvision.models.MobileNetV2):
        return list(network.features)
    if isinstance(network, torchvision.models.ResNet):
        return [nn.Sequential(network.conv1, network.bn1), *(getattr(network, f"layer{i}") for i in range(1, 5))]
    return []


def _freeze_pair(conv: nn.Conv2d, norm: BatchNormAct) -> None:
    conv.__class__ = FrozenConv2d
    assert isinstance(conv, FrozenConv2d)
    conv.norm = (norm,)
    norm.frozen = True
