"""The first stages of a pretrained network, left as they are: no gradients, no statistics, computed only once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch
import torchvision
from torch import Tensor, nn

from fdan_edge.models.layers.norm import BatchNormAct


class Frozen(nn.Module):
    """What a network of images that has frozen stages can do more: take in what these give, in place of an image.

    It is for one input channel: everything with more is from `encode`. Mixed into torchvision's classes.
    """

    frozen_stages: int

    def encode(self, images: Tensor) -> Tensor:
        """What the frozen stages give: (n, 1, height, width) -> (n, channels, height, width), both less."""
        x = images.contiguous(memory_format=torch.channels_last)
        for stage in stages(self)[: self.frozen_stages]:
            x = stage(x)
        return x

    def digest(self) -> str:
        """A hash of the weights that `encode` reads."""
        parts = enumerate(stages(self)[: self.frozen_stages])
        return digest((f"{i}.{name}", t) for i, part in parts for name, t in part.state_dict().items())

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1, height, width), or what `encode` gave of it, to (n, features)."""
        if x.shape[1] == 1:
            return super().forward(x)  # type: ignore[no-any-return]
        x = x.contiguous(memory_format=torch.channels_last)
        for stage in stages(self)[self.frozen_stages :]:
            x = stage(x)
        head = self.fc if isinstance(self, torchvision.models.ResNet) else self.classifier
        return head(x.mean(dim=(2, 3)))  # type: ignore[no-any-return, operator]


class _MobileNetV2(Frozen, torchvision.models.MobileNetV2):  # type: ignore[misc]
    pass


class _ResNet(Frozen, torchvision.models.ResNet):  # type: ignore[misc]
    pass


def freeze(network: nn.Module, count: int) -> None:
    """Keep the first stages of a MobileNetV2 or ResNet as they are, their norms' statistics too.

    There the pictures are largest: what is frozen needs no backward pass. A network of one channel is then a
    `Frozen` one.

    Args:
        count: of a MobileNetV2 how many of its 19 blocks; of a ResNet how many of its 5 groups.
    """
    if not count:
        return
    frozen = stages(network)[:count]
    for part in frozen:
        part.requires_grad_(False)
        for module in part.modules():
            if isinstance(module, BatchNormAct):
                module.frozen = True
    if next(frozen[0].parameters()).shape[1] == 1:
        network.__class__ = _ResNet if isinstance(network, torchvision.models.ResNet) else _MobileNetV2
        assert isinstance(network, Frozen)
        network.frozen_stages = len(frozen)


def stages(network: nn.Module) -> list[nn.Module]:
    """All of a MobileNetV2 or ResNet that comes before its pooling, in order."""
    if isinstance(network, torchvision.models.ResNet):
        stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
        return [stem, *(getattr(network, f"layer{i}") for i in range(1, 5))]
    assert isinstance(network, torchvision.models.MobileNetV2)
    return list(network.features)


def digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """A hash of named tensors."""
    found = hashlib.sha256()
    for name, value in tensors:
        found.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        found.update(value.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
