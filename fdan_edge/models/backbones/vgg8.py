"""A small VGG for spectrograms: it is trained from the start, on the few hundred recordings of a corpus.

DIDAN's network is called simple, of convolutional and fully connected layers; the sizes are ours. It has six
convolutions, and with the bottleneck and the classifier after them eight layers that have weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fdan_edge.config import BuildRequest
from fdan_edge.models.backbones.weights import change_channels, load_state

#: Channels of each stage, and how many convolutions it has.
_STAGES = ((32, 1), (64, 1), (128, 2), (256, 2))


class Vgg8(nn.Module):
    """Stages of 3x3 convolutions, batch normalisation and ReLU, with max pooling between them.

    Simonyan and Zisserman 2015, "Very Deep Convolutional Networks for Large-Scale Image Recognition". The first
    convolution has stride 2: at full resolution a step takes four times as long.

    Args:
        channels: of the input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width, count in _STAGES:
            for _ in range(count):
                layers += _convolution(channels, width, stride=1 if layers else 2)
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers[:-1])  # none after the last stage
        self.width = 2 * channels

    def forward(self, image: Tensor) -> Tensor:
        """(n, channels, height, width), both at least 32, to (n, 512): means and maxima over all places."""
        maps = self.features(image)
        return torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)


def build(request: BuildRequest) -> tuple[nn.Module, int]:
    """Build a `Vgg8`, as `Backbone.build` says.

    The weights may be of voices or of faces: it is built with as many input channels as they have.
    """
    stem = (request.state or {}).get("features.0.weight")
    network = Vgg8(stem.shape[1] if isinstance(stem, Tensor) and stem.ndim == 4 else request.channels)
    load_state(network.load_state_dict, request)
    change_channels(network, request.channels)
    return network, network.width


def _convolution(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
