"""Frozen stages stay what they were, and what they give once is what they would give every time."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fdan_edge.config import Config
from fdan_edge.errors import ConfigError
from fdan_edge.models.backbones.build import (
    build_backbone,
    build_face_backbone,
    build_voice_backbone,
    is_encoded,
    scaled,
    take_dropout,
)
from fdan_edge.models.backbones.staged import StagedImageNetwork
from fdan_edge.models.fdan import AcousticBranch
from fdan_edge.models.layers.norm import BatchNormAct, share_statistics

#: Backbone -> frozen stages, and how many norms those have. A count may be larger than there are stages.
CASES = {"mobilenet_v2": (3, 6), "mobilenet_v2_tiny": (19, 30), "resnet18": (2, 5), "resnet50": (3, 24)}
cases = pytest.mark.parametrize("name", CASES)


def build(name: str, channels: int) -> StagedImageNetwork:
    """A network whose running statistics are not those of a new one, without dropout."""
    torch.manual_seed(0)
    network, _ = build_backbone(name, None, channels)
    for norm in norms(network):
        nn.init.normal_(norm.running_mean, std=0.1)  # type: ignore[arg-type]
        nn.init.uniform_(norm.running_var, 0.5, 2)  # type: ignore[arg-type]
    take_dropout(network)
    assert isinstance(network, StagedImageNetwork)
    return network.to(memory_format=torch.channels_last)


def norms(network: nn.Module) -> list[BatchNormAct]:
    return [m for m in network.modules() if isinstance(m, BatchNormAct)]


def pictures(channels: int) -> Tensor:
    made = torch.randn(2, channels, 40, 56, generator=torch.Generator().manual_seed(0))
    return made.contiguous(memory_format=torch.channels_last)


@cases
@pytest.mark.parametrize("channels", [1, 3])
def test_they_stay_what_they_were(name: str, channels: int) -> None:
    own, x, (count, frozen) = build(name, channels), pictures(channels), CASES[name]
    wanted, names = copy.deepcopy(own).eval()(x), list(own.state_dict())
    own.freeze(count)
    assert list(own.state_dict()) == names
    assert sum(norm.frozen for norm in norms(own)) == frozen
    own.train()
    for norm in norms(own):  # what the others give depends on the batch
        norm.train(norm.frozen)
    before = {key: value.clone() for key, value in own.state_dict().items()}
    torch.testing.assert_close(own(x), wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(own(x.clone().requires_grad_()), wanted, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, before[key]) for key, value in own.state_dict().items())


@cases
def test_what_they_give_stands_for_the_voice(name: str) -> None:
    own, x = build(name, 1).eval(), pictures(1)
    own.freeze(CASES[name][0])
    wanted, maps = own(x), own.encode(x)
    assert maps.shape[1] > 1
    assert maps.shape[2] < x.shape[2]
    torch.testing.assert_close(own(maps), wanted)
    torch.testing.assert_close(copy.deepcopy(own)(maps), wanted)


def test_only_the_rest_is_trained() -> None:
    network = build("mobilenet_v2_tiny", 1).train()
    network.freeze(7)
    share_statistics(network)  # of many processes: those of frozen norms are nobody's
    network(pictures(1)).sum().backward()
    trained = {name for name, p in network.named_parameters() if p.grad is not None}
    assert {name.split(".")[1] for name in trained} == {str(number) for number in range(7, 11)}
    assert [norm.group_wide for norm in norms(network)] == [not norm.frozen for norm in norms(network)]
    still = [norm for norm in norms(network) if norm.frozen]
    assert len(still) == 18
    assert not any(norm.num_batches_tracked for norm in still)
    assert all(norm.num_batches_tracked == 1 for norm in norms(network) if not norm.frozen)


def test_the_hash_is_of_the_frozen_weights_alone() -> None:
    networks = [build("mobilenet_v2_tiny", 1) for _ in range(3)]
    for network in networks:
        network.freeze(3)
    nn.init.ones_(networks[1].features[3].conv[0][0].weight)  # type: ignore[index, union-attr]
    nn.init.ones_(networks[2].features[2].conv[0][1].running_mean)  # type: ignore[index, union-attr]
    first, same, other = (network.cache_key() for network in networks)
    assert first == same != other


def test_voices_and_faces_are_frozen_each_by_its_setting() -> None:
    words = ("backbone=mobilenet_v2_tiny", "face_backbone=resnet18", "frozen_stages=3", "frozen_face_stages=1")
    for weights, voices, faces in (("pretrained", 6, 1), ("none", 0, 0)):
        config = Config.load(None, [*words, f"weights={weights}"])
        heard, seen = build_voice_backbone(config, None)[0], build_face_backbone(config, None)[0]
        assert sum(norm.frozen for norm in norms(heard)) == voices
        assert sum(norm.frozen for norm in norms(seen)) == faces
        assert is_encoded(config) is (weights == "pretrained")
    assert not is_encoded(Config.load(None, ["backbone=mobilenet_v2"]))


def test_a_branch_takes_log_mels_and_maps() -> None:
    settings = ("backbone=mobilenet_v2_tiny", "frozen_stages=4", "feature_size=8", "fc_layers=2")
    branch = AcousticBranch(Config.load(None, [*settings, "weights=pretrained"]), None).eval()
    decibel = -80 * torch.rand(2, 1, 64, 48, generator=torch.Generator().manual_seed(0))
    assert isinstance(branch.backbone, StagedImageNetwork)
    maps = branch.backbone.encode(scaled(decibel))
    assert maps.shape == (2, 24, 16, 12)
    torch.testing.assert_close(branch(maps), branch(decibel))


def test_a_network_without_stages_cannot_be_frozen(tmp_path: Path) -> None:
    weights = f"weights={tmp_path / 'w.pth'}"
    for words, message in (
        (["backbone=vgg8", "frozen_stages=1", weights], "frozen_stages goes with .* not vgg8"),
        (["face_backbone=vgg8", "frozen_face_stages=1"], "frozen_face_stages goes with .* not vgg8"),
        (["frozen_face_stages=20"], "frozen_face_stages = 20 is out of range; valid: 0 to 19"),
    ):
        with pytest.raises(ConfigError, match=message):
            Config.load(None, words)
