"""Entries of backbones: what settings learn of them, users' own, and plugins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fdan_edge.config import (
    BACKBONES,
    FACE_BACKBONES,
    Backbone,
    Config,
    find_backbone,
    get_backbone,
    register_backbone,
)
from fdan_edge.errors import ConfigError

PLUGIN = """
from fdan_edge.config import Backbone

BACKBONE = Backbone(
    name="NAME", build="nowhere:build", takes=("voices",), brings={"n_mels": 40, "face_backbone": "vgg8"}
)
OTHER = 7
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Install a package with an entry point: the backbone's name, and what the entry point names."""

    def install(name: str, value: str) -> None:
        (tmp_path / f"plugin_{name}.py").write_text(PLUGIN.replace("NAME", name))
        info = tmp_path / f"plugin_{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: plugin-{name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[fdan_edge.backbones]\n{name} = plugin_{name}:{value}\n")
        monkeypatch.syspath_prepend(tmp_path)

    return install


def own(name: str, **about: Any) -> Backbone:
    backbone = Backbone(name=name, build="nowhere:build", **about)
    register_backbone(backbone)
    return backbone


def test_the_names() -> None:
    assert list(BACKBONES)[:4] == ["resnet34", "resnet18", "resnet50", "vgg16"]
    assert set(BACKBONES) - set(FACE_BACKBONES) == {"whisper_tiny"}
    assert list(FACE_BACKBONES.or_empty()) == ["", *FACE_BACKBONES]
    assert len(BACKBONES) == len(list(BACKBONES))
    assert "" not in BACKBONES


def test_an_own_backbone_is_a_choice_and_brings_settings() -> None:
    own("mine_brings", brings={"weights": "none", "n_mels": 40})
    config = Config.load(None, ["backbone=mine_brings"])
    assert (config.weights, config.n_mels) == ("none", 40)
    assert Config.load(None, ["backbone=mine_brings", "n_mels=64"]).n_mels == 64
    assert "mine_brings" in BACKBONES
    assert "mine_brings" in list(FACE_BACKBONES)


def test_a_later_one_of_the_same_name_replaces_it() -> None:
    own("mine_twice")
    later = own("mine_twice", stages=2)
    assert get_backbone("mine_twice") is later


def test_its_check_is_asked() -> None:
    def check(entry: Backbone, config: Config) -> None:
        if config.n_mels < 64:
            raise ConfigError(f"{entry.name} needs 64 mel bands, not {config.n_mels}")

    own("mine_checked", check=check)
    with pytest.raises(ConfigError, match="mine_checked needs 64 mel bands, not 32"):
        Config.load(None, ["backbone=mine_checked", "n_mels=32"])


def test_one_without_faces_asks_for_another_beside_it() -> None:
    own("mine_heard", takes=("voices",))
    with pytest.raises(ConfigError, match=r"mine_heard sees no faces: set face_backbone; valid: resnet34, "):
        Config.load(None, ["backbone=mine_heard"])
    with pytest.raises(ConfigError, match="unknown face_backbone 'mine_heard'"):
        Config.load(None, ["face_backbone=mine_heard"])
    assert Config.load(None, ["backbone=mine_heard", "face_backbone=vgg8"]).backbone == "mine_heard"


def test_one_without_stages_cannot_be_frozen() -> None:
    own("mine_whole")
    own("mine_staged", stages=3)
    with pytest.raises(ConfigError, match=r"frozen_stages goes with resnet34, .*mine_staged.*, not mine_whole"):
        Config.load(None, ["backbone=mine_whole", "frozen_stages=1"])
    assert Config.load(None, ["backbone=mine_staged", "frozen_stages=1"]).frozen_stages == 1


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"name": "Mine"}, "backbone name 'Mine' is not of lower case letters"),
        ({"name": ""}, "backbone name '' is not"),
        ({"name": "mine", "takes": ()}, r"backbone mine takes \(\); valid: voices, faces"),
        ({"name": "mine", "takes": ("voice",)}, r"takes \('voice',\); valid: voices, faces"),
        ({"name": "vgg8"}, "backbone vgg8 is one of fdan-edge's own; take another name"),
    ],
)
def test_what_cannot_be_registered(about: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        register_backbone(Backbone(build="nowhere:build", **about))


def test_a_plugin_is_met_when_its_name_is(install: Callable[[str, str], None]) -> None:
    install("met", "BACKBONE")
    assert "met" not in list(BACKBONES)
    assert Config.load(None, ["backbone=met"]).n_mels == 40
    assert "met" in list(BACKBONES)
    assert find_backbone("never_installed") is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("broken", "MISSING", "backbone broken: plugin_broken:MISSING cannot be loaded: .*MISSING"),
        ("number", "OTHER", "backbone number: plugin_number:OTHER is not a Backbone of that name"),
    ],
)
def test_a_plugin_that_is_none(install: Callable[[str, str], None], name: str, value: str, message: str) -> None:
    install(name, value)
    with pytest.raises(ConfigError, match=message) as caught:
        Config.load(None, [f"backbone={name}"])
    assert "\n" not in str(caught.value)
