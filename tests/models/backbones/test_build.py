"""What every backbone must do, fdan-edge's own and a user's, from its entry to the network."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fdan_edge.config import (
    BACKBONES,
    FACE_BACKBONES,
    Backbone,
    BuildRequest,
    Config,
    get_backbone,
    register_backbone,
)
from fdan_edge.errors import ConfigError
from fdan_edge.models.backbones.build import (
    build_backbone,
    build_face_backbone,
    build_voice_backbone,
    frozen_encoder,
    is_encoded,
)
from fdan_edge.models.backbones.staged import StagedBackbone, digest
from fdan_edge.models.backbones.weights import change_channels, load_state, load_weights
from fdan_edge.models.fdan import Fdan

QUICK = [name for name in BACKBONES if name not in ("vgg16", "vgg19")]  # 140 million weights each


class Small(StagedBackbone):
    """Two convolutions, of which the first is a stage."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.second = nn.Conv2d(8, 16, 3, stride=2, padding=1)

    def freeze(self, count: int) -> None:
        self.first.requires_grad_(not count)

    def encode(self, x: Tensor) -> Tensor:
        return torch.relu(self.first(x))

    def cache_key(self) -> dict[str, int | str]:
        return {"weights": digest(self.first.state_dict().items())}

    def forward(self, x: Tensor) -> Tensor:
        maps = x if x.shape[1] == 8 else self.encode(x)
        return torch.relu(self.second(maps)).mean(dim=(2, 3))


def build(request: BuildRequest) -> tuple[nn.Module, int]:
    network = Small()
    load_state(network.load_state_dict, request)
    change_channels(network, request.channels)
    return network, 16


register_backbone(Backbone(name="mine_small", build=build, stages=1, pretrained=lambda _: Small().state_dict()))


@pytest.mark.parametrize("name", [*QUICK, "mine_small"])
def test_log_mels_to_features(name: str) -> None:
    config = Config.load(None, [f"backbone={name}", "weights=none", "window_seconds=1", "window_hop_seconds=1"])
    network, width = build_voice_backbone(config, None)
    log_mels = 4 * torch.rand(2, 1, config.n_mels, config.frames) - 2
    assert network.eval()(log_mels).shape == (2, width)


@pytest.mark.parametrize("name", [*(name for name in FACE_BACKBONES if name in QUICK), "mine_small"])
def test_faces_to_features(name: str) -> None:
    config = Config.load(None, [f"backbone={name}", "weights=none"])
    network, width = build_face_backbone(config, None)
    assert network.eval()(torch.rand(2, 3, 48, 48)).shape == (2, width)


@pytest.mark.parametrize("name", [name for name in [*QUICK, "mine_small"] if get_backbone(name).stages])
def test_stages_are_frozen_and_give_what_stands_for_the_voice(name: str) -> None:
    words = [f"backbone={name}", "weights=pretrained", "window_seconds=1", "window_hop_seconds=1", "masks=0"]
    config = Config.load(None, [*words, f"frozen_stages={get_backbone(name).stages}"])
    torch.manual_seed(0)
    network, _ = build_voice_backbone(config, None)
    assert isinstance(network, StagedBackbone)
    assert is_encoded(config)
    log_mels = 4 * torch.rand(2, 1, config.n_mels, config.frames) - 2
    with torch.inference_mode():
        network.eval()
        torch.testing.assert_close(network(network.encode(log_mels)), network(log_mels))
    assert not network.encode(log_mels).requires_grad
    key, other = network.cache_key(), copy.deepcopy(network)
    assert other.cache_key() == key
    next(iter(other.parameters())).data.add_(1)
    assert other.cache_key() != key


def test_a_network_that_has_no_stages_after_all() -> None:
    def whole(_: BuildRequest) -> tuple[nn.Module, int]:
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), 4

    register_backbone(Backbone(name="mine_wrong", build=whole, stages=2))
    config = Config.load(None, ["backbone=mine_wrong", "frozen_stages=1", "weights=w.pth"])
    with pytest.raises(ConfigError, match="mine_wrong says that it has 2 stages, but is no StagedBackbone"):
        build_voice_backbone(config, None)


def test_weights_of_an_own_backbone(tmp_path: Path) -> None:
    torch.save(Small().state_dict(), tmp_path / "w.pth")
    for source in ("pretrained", str(tmp_path / "w.pth")):
        state = load_weights("mine_small", source)
        assert state is not None
        network, _ = build_backbone("mine_small", state)
        assert torch.equal(network.second.weight, state["second.weight"])  # type: ignore[union-attr, arg-type]
    with pytest.raises(ConfigError, match="the weights do not fit mine_small"):
        build_backbone("mine_small", {})


def test_fdan_of_an_own_backbone() -> None:
    config = Config.load(
        None, ["backbone=mine_small", "frozen_stages=1", "n_mels=32", "hop=512", "feature_size=8"]
    )
    model = Fdan(config, 3, faces=True)
    output = model(-80 * torch.rand(2, 1, 32, config.frames), torch.rand(4, 3, 32, 32))
    assert output.logits_acoustic.shape == (2, 3)
    encoder = frozen_encoder(model.acoustic.backbone, config)
    assert encoder is model.acoustic.backbone
