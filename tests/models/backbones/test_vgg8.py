"""The small VGG: its size, what it sees, its weights by path, and its exported graph."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from fdan_edge.config import Config
from fdan_edge.errors import ConfigError
from fdan_edge.models.backbones.build import build_backbone
from fdan_edge.models.backbones.vgg8 import Vgg8
from fdan_edge.models.backbones.weights import load_weights
from fdan_edge.models.fdan import Fdan


def images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def test_its_size() -> None:
    network = Vgg8(1)
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == 6  # and two after it
    assert 1.0e6 < sum(p.numel() for p in network.parameters()) < 1.5e6


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 94), (33, 200)])
def test_any_size_that_is_large_enough(height: int, width: int) -> None:
    network = Vgg8(1)
    made = network(images(2, 1, height, width))
    made.square().sum().backward()
    assert made.shape == (2, network.width)
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())


def test_a_short_sound_is_found_anywhere() -> None:
    """Means know how much of it there is, maxima that it is there at all."""
    torch.manual_seed(0)
    network = Vgg8(1).eval()
    early, late, never = torch.zeros(3, 1, 1, 64, 256).unbind()
    early[..., 20:40, 64:80] = late[..., 20:40, 160:176] = 3  # apart by a multiple of the strides
    with torch.inference_mode():
        made = [network(picture) for picture in (early, late, never)]
    torch.testing.assert_close(made[0], made[1], rtol=0, atol=1e-5)
    assert float((made[0] - made[2])[:, network.width // 2 :].abs().max()) > 0.1


@pytest.mark.parametrize("trained_on", [1, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_weights_by_path(trained_on: int, channels: int, tmp_path: Path) -> None:
    """A grey picture is the same whichever channels the weights were trained on."""
    torch.manual_seed(1)
    trained = Vgg8(trained_on).eval()
    torch.save(trained.state_dict(), tmp_path / "w.pth")
    network, _ = build_backbone("vgg8", load_weights("vgg8", str(tmp_path / "w.pth")), channels)
    grey = images(2, 1, 48, 48)
    with torch.inference_mode():
        made, expected = (
            network.eval()(grey.expand(-1, channels, -1, -1)),
            trained(grey.expand(-1, trained_on, -1, -1)),
        )
    torch.testing.assert_close(made, expected, rtol=1e-3, atol=1e-4)


def test_what_are_no_weights_of_it(tmp_path: Path) -> None:
    words = r"vgg8 has no pretrained weights; valid: weights=none, weights=PATH"
    with pytest.raises(ConfigError, match=words) as caught:
        load_weights("vgg8", "pretrained")
    assert "\n" not in str(caught.value)
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "resnet18.pth")
    beside = ["backbone=resnet18", "face_backbone=vgg8", f"weights={tmp_path / 'resnet18.pth'}"]
    with pytest.raises(ConfigError, match=words):
        Fdan(Config.load(None, beside), 3, faces=True)
    for wrong in ({"features.0.weight": torch.zeros(())}, {"features.0.weight": torch.zeros(2, 1, 3, 3)}, {}):
        with pytest.raises(ConfigError, match="the weights do not fit vgg8"):
            build_backbone("vgg8", wrong)


def test_it_needs_no_weights_to_be_asked_for() -> None:
    model = Fdan(Config.load(None, ["backbone=vgg8", "feature_size=16"]), 3, faces=True).eval()
    output = model(images(2, 1, 64, 94) * -80, images(4, 3, 48, 48))
    assert output.logits_acoustic.shape == (2, 3)
    assert output.logits_visual.shape == (4, 3)
