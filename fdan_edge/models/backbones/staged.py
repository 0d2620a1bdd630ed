"""Backbones whose first stages can be left as they were pretrained: no gradients, and computed only once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from fdan_edge.models.layers.norm import BatchNormAct


class StagedBackbone(nn.Module):
    """Base of the backbones that have stages to freeze.

    While they are frozen they give the same of a voice in every epoch. Then training takes what `encode` gave from
    the cache, in place of the log-mel, and `forward` takes it as well.
    """

    def freeze(self, count: int) -> None:
        """Leave the first `count` stages as they are, from the input on; more than there are means all."""
        raise NotImplementedError

    def encode(self, x: Tensor) -> Tensor:
        """Return what the frozen stages give of the input of `forward`.

        Args:
            x: log-mels in -2..2, (n, 1, mels, frames).

        Returns:
            Maps (n, channels, height, width), not of one channel, or features (n, features).
        """
        raise NotImplementedError

    def cache_key(self) -> dict[str, int | str]:
        """Return all that `encode` depends on besides its input: the weights' digest, and how many stages."""
        raise NotImplementedError


class StagedImageNetwork(StagedBackbone):
    """A network of images whose frozen stages give maps. Mixed into torchvision's classes.

    Attributes:
        channels: of its images, which tell them from maps.
        frozen_stages: how many of its stages are frozen.
    """

    channels = 3
    frozen_stages = 0

    def stages(self) -> list[nn.Module]:
        """Return all that comes before the pooling, in order."""
        raise NotImplementedError

    def head(self, pooled: Tensor) -> Tensor:
        """Return the features of what the pooling gives, (n, channels)."""
        raise NotImplementedError

    def freeze(self, count: int) -> None:
        """Leave the first stages as they are, their norms' statistics too.

        There the images are largest: what is frozen needs no backward pass.
        """
        stages = self.stages()[:count]
        for stage in stages:
            stage.requires_grad_(False)
            for module in stage.modules():
                if isinstance(module, BatchNormAct):
                    module.frozen = True
        self.frozen_stages = len(stages)

    def encode(self, x: Tensor) -> Tensor:
        """Return what the frozen stages give: (n, 1, height, width) -> (n, channels, height, width), both less."""
        x = x.contiguous(memory_format=torch.channels_last)
        for stage in self.stages()[: self.frozen_stages]:
            x = stage(x)
        return x

    def cache_key(self) -> dict[str, int | str]:
        parts = enumerate(self.stages()[: self.frozen_stages])
        tensors = ((f"{i}.{name}", t) for i, part in parts for name, t in part.state_dict().items())
        return {"frozen_stages": self.frozen_stages, "weights": digest(tensors)}

    def forward(self, x: Tensor) -> Tensor:
        """Images (n, channels, height, width), or what `encode` gave of them, to (n, features)."""
        if not self.frozen_stages or x.shape[1] == self.channels:
            return super().forward(x)  # type: ignore[no-any-return]
        x = x.contiguous(memory_format=torch.channels_last)
        for stage in self.stages()[self.frozen_stages :]:
            x = stage(x)
        return self.head(x.mean(dim=(2, 3)))


def digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Return the SHA-256 of named tensors: of their names, shapes, types and bytes."""
    sha256 = hashlib.sha256()
    for name, value in tensors:
        sha256.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        sha256.update(value.cpu().contiguous().numpy().tobytes())
    return sha256.hexdigest()
