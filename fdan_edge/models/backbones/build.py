"""Backbones by name, from the entries of `fdan_edge.config.backbones`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fdan_edge.config import Backbone, BuildRequest, Config, get_backbone
from fdan_edge.config.backbones import imported
from fdan_edge.errors import ConfigError
from fdan_edge.models.backbones.staged import StagedBackbone
from fdan_edge.models.layers.convolution import suit_cpu
from fdan_edge.models.layers.norm import fuse


def build_backbone(
    name: str, state: dict[str, Tensor] | None, channels: int = 3, config: Config | None = None
) -> tuple[nn.Module, int]:
    """Build a network that ends at its features.

    Args:
        name: the backbone.
        state: its weights, or None for random ones; see `load_weights`.
        channels: of the input: 3 for faces, 1 for log-mels.
        config: the settings; None: those that the backbone brings.

    Returns:
        The network, (n, channels, height, width) -> (n, features), and the number of features.

    Raises:
        ConfigError: no backbone has the name, or the weights do not fit.
    """
    entry = get_backbone(name)
    config = config or Config.load(None, [f"backbone={name}"])
    network, width = imported(entry.build)(BuildRequest(entry, config, channels, state))
    return suit_cpu(fuse(network)), width


def build_voice_backbone(config: Config, state: dict[str, Tensor] | None) -> tuple[nn.Module, int]:
    """Build the network of log-mels, (n, 1, mels, frames) -> (n, features), its first stages frozen.

    What is frozen depends on the settings alone: a resumed training, which needs no `state`, must freeze the same.
    """
    network, width = build_backbone(config.backbone, state, 1, config)
    _freeze(network, get_backbone(config.backbone), config.frozen_stages, config)
    return network, width


def build_face_backbone(config: Config, state: dict[str, Tensor] | None) -> tuple[nn.Module, int]:
    """Build the network of faces, (n, 3, size, size) -> (n, features), its first stages frozen."""
    name = config.face_backbone or config.backbone
    network, width = build_backbone(name, state, 3, config)
    _freeze(network, get_backbone(name), config.frozen_face_stages, config)
    return network, width


def _freeze(network: nn.Module, entry: Backbone, count: int, config: Config) -> None:
    if not count or config.weights == "none":  # random weights frozen would learn nothing
        return
    if not isinstance(network, StagedBackbone):
        raise ConfigError(f"{entry.name} says that it has {entry.stages} stages, but is no StagedBackbone")
    network.freeze(count)


def is_encoded(config: Config) -> bool:
    """Whether training takes what frozen stages give of a voice from the cache: it is the same in every epoch.

    Of maps always: they are shifted and masked as log-mels are. Of whisper_tiny if every layer before its
    normalisation is frozen, without dropout, and no SpecAugment is wanted; such a training does without the random
    time shifts of others.
    """
    entry = get_backbone(config.backbone)
    return config.weights != "none" and entry.stages > 0 and entry.encodes(config)


def frozen_encoder(backbone: nn.Module, config: Config) -> StagedBackbone | None:
    """Return the voices' network in eval mode, to encode them once; None where that is not wanted.

    It is not where `is_encoded` says no, and where maps are more than twice as large as the log-mels: they would
    take longer to read than to compute. The network is that of the run itself: what a file holds now may be other
    weights than the run began with.
    """
    if not is_encoded(config):
        return None
    assert isinstance(backbone, StagedBackbone)
    decibel = torch.zeros(1, 1, config.n_mels, config.frames)
    backbone.eval()
    with torch.no_grad():
        return backbone if backbone.encode(decibel).numel() <= 2 * decibel.numel() else None


def scaled(decibel: Tensor) -> Tensor:
    """Scale a front end's log-mels as backbones read them: -80..0 dB to -2..2, the range of ImageNet's images."""
    return (decibel + 40) / 20


def take_dropout(network: nn.Module) -> nn.Module:
    """Take away the dropout that a network's `classifier` ends with, and return it; without one, an identity.

    It is drawn for the rows of all processes together.
    """
    head = getattr(network, "classifier", None)
    if not isinstance(head, nn.Sequential) or not len(head) or not isinstance(head[-1], nn.Dropout):
        return nn.Identity()
    network.classifier = head[:-1]
    return head[-1]
