"""Frozen stages give what they gave, and stay what they were."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fdan_edge.config import load_config
from fdan_edge.errors import ConfigError
from fdan_edge.models import backbones
from fdan_edge.models.backbones import build_backbone, build_face_backbone, build_voice_backbone
from fdan_edge.models.frozen import FrozenConv2d, freeze
from fdan_edge.models.norm import BatchNormAct, share_statistics, unfuse

#: Backbone -> frozen stages, and how many convolutions those have.
CASES = {"mobilenet_v2": (3, 6), "mobilenet_v2_tiny": (11, 30), "resnet18": (2, 5), "resnet50": (3, 24)}


def build(name: str) -> nn.Module:
    """A network whose running statistics are not those of a new one, without dropout."""
    torch.manual_seed(0)
    network, _ = build_backbone(name, None)
    for norm in norms(network):
        nn.init.normal_(norm.running_mean, std=0.1)  # type: ignore[arg-type]
        nn.init.uniform_(norm.running_var, 0.5, 2)  # type: ignore[arg-type]
    backbones.take_dropout(network)
    return network.to(memory_format=torch.channels_last)


def norms(network: nn.Module) -> list[BatchNormAct]:
    return [m for m in network.modules() if isinstance(m, BatchNormAct)]


def train(network: nn.Module) -> nn.Module:
    """In training mode, but for the norms that are not frozen: what they give depends on the batch."""
    network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train(getattr(module, "frozen", False))
    return network


def images(seed: int = 0) -> Tensor:
    made = torch.randn(2, 3, 40, 56, generator=torch.Generator().manual_seed(seed))
    return made.contiguous(memory_format=torch.channels_last)


def same(network: nn.Module) -> nn.Module:
    return network


@pytest.mark.parametrize("way", [same, copy.deepcopy, unfuse], ids=["itself", "a copy", "unfused"])
@pytest.mark.parametrize("name", CASES)
def test_frozen_stages_give_what_they_gave(name: str, way: Callable[[nn.Module], nn.Module]) -> None:
    own, x = build(name), images()
    wanted = copy.deepcopy(own).eval()(x)
    names = list(own.state_dict())
    freeze(own, CASES[name][0])
    assert sum(isinstance(m, FrozenConv2d) for m in own.modules()) == CASES[name][1]
    assert list(own.state_dict()) == names
    made = train(way(own))
    before = {key: value.clone() for key, value in made.state_dict().items()}
    torch.testing.assert_close(made(x), wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(made(x.clone().requires_grad_()), wanted, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, before[key]) for key, value in made.state_dict().items())


def test_a_copy_reads_its_own_statistics() -> None:
    own, x = build("mobilenet_v2"), images()
    freeze(own, 3)
    other = train(copy.deepcopy(own))
    before = other(x)
    for norm in norms(own):
        nn.init.constant_(norm.running_var, 100.0)  # type: ignore[arg-type]
    assert torch.equal(other(x), before)


def test_only_the_rest_is_trained() -> None:
    network = build("mobilenet_v2_tiny").train()
    freeze(network, 7)
    share_statistics(network)  # of many processes: those of frozen norms are nobody's
    network(images()).sum().backward()
    trained = {name for name, p in network.named_parameters() if p.grad is not None}
    assert {name.split(".")[1] for name in trained} == {str(number) for number in range(7, 11)}
    assert [norm.group_wide for norm in norms(network)] == [not norm.frozen for norm in norms(network)]
    still = [norm for norm in norms(network) if norm.frozen]
    assert len(still) == 18
    assert not any(norm.num_batches_tracked for norm in still)
    assert all(norm.num_batches_tracked == 1 for norm in norms(network) if not norm.frozen)


def test_voices_and_faces_are_frozen_each_by_its_setting() -> None:
    words = ("backbone=mobilenet_v2_tiny", "face_backbone=resnet18", "frozen_stages=3", "frozen_face_stages=1")
    for weights, voices, faces in (("pretrained", 6, 1), ("none", 0, 0)):
        config = load_config(None, [*words, f"weights={weights}"])
        heard, seen = build_voice_backbone(config, None)[0], build_face_backbone(config, None)[0]
        assert sum(norm.frozen for norm in norms(heard)) == voices
        assert sum(norm.frozen for norm in norms(seen)) == faces


def test_a_network_without_stages_cannot_be_frozen() -> None:
    for words, message in (
        (["backbone=vgg8", "frozen_stages=1"], "frozen_stages goes with .* not vgg8"),
        (["face_backbone=vgg8", "frozen_face_stages=1"], "frozen_face_stages goes with .* not vgg8"),
        (["frozen_face_stages=20"], "frozen_face_stages = 20 is out of range; valid: 0 to 19"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_config(None, words)
