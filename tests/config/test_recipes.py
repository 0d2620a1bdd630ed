"""What `recipe = auto` and `protocol = auto` stand for."""

from __future__ import annotations

from pathlib import Path

import pytest
import tomli_w

from fdan_edge.config import Config, choose_recipe, config_to_dict, head_config, saved_config
from fdan_edge.config.recipes import MOST_FOR_HEAD
from fdan_edge.errors import ConfigError


@pytest.mark.parametrize(
    ("words", "recipe"),
    [
        ([], "head"),
        (["backbone=whisper_tiny"], "head"),
        (["backbone=whisper_tiny", "encoder_layers=3", "window_seconds=2", "seed=3"], "head"),
        (["backbone=resnet34"], "network"),
        (["backbone=mobilenet_v2"], "network"),
        (["epochs=20"], "network"),
        (["backbone=whisper_tiny", "frozen_stages=3"], "network"),
        (["recipe=network"], "network"),
        (["n_mels=64"], "network"),
        (["recipe=network", "backbone=whisper_tiny"], "network"),
    ],
)
def test_a_setting_of_a_network_is_a_network(words: list[str], recipe: str) -> None:
    choice = choose_recipe(Config.load(None, words), 132)
    assert choice.config.recipe == recipe
    assert choice.config.protocol == ("all" if recipe == "head" else "speaker")


def test_values_of_python_that_are_not_the_defaults_are_a_network() -> None:
    choice = choose_recipe(Config(epochs=30), 132)
    assert (choice.config.recipe, choice.reason) == ("network", "resnet34: a network, because of epochs = 30")


@pytest.mark.parametrize(("faces", "target", "why"), [(True, False, "the faces"), (False, True, "the corpus to")])
def test_faces_and_a_target_need_a_network(faces: bool, target: bool, why: str) -> None:
    choice = choose_recipe(Config(), 132, faces=faces, target=target)
    assert choice.config.recipe == "network"
    assert why in choice.reason


def test_many_recordings_train_the_upper_layers() -> None:
    few, many = (choose_recipe(Config(), count) for count in (MOST_FOR_HEAD, MOST_FOR_HEAD + 1))
    assert (few.config.recipe, many.config.recipe) == ("head", "network")
    assert (many.config.backbone, many.config.frozen_stages) == ("whisper_tiny", 2)
    assert f"{MOST_FOR_HEAD + 1} recordings" in many.reason


@pytest.mark.parametrize(
    ("words", "protocol"),
    [
        (["protocol=kfold"], "kfold"),
        (["test_speakers=a"], "speaker"),
        (["val_speakers=a"], "speaker"),
        (["test_texts=a"], "text"),
    ],
)
def test_a_protocol_that_is_asked_for_stays(words: list[str], protocol: str) -> None:
    assert choose_recipe(Config.load(None, words), 132).config.protocol == protocol


def test_a_head_is_frozen_as_a_whole() -> None:
    config = head_config(Config.load(None, ["encoder_layers=3", "backbone=whisper_tiny"]))
    assert (config.backbone, config.encoder_layers, config.frozen_stages) == ("whisper_tiny", 3, 4)
    assert (config.fc_layers, config.attention_layers, config.n_mels, config.epochs) == (0, 0, 80, 1)
    assert choose_recipe(config, 132).config == config  # a run's own settings, as the settings of another run


def test_settings_of_a_head_s_run_are_those_of_another_run(tmp_path: Path) -> None:
    """A run's config.toml with other words must not leave a network with the settings of a head."""
    path = tmp_path / "config.toml"
    path.write_text(tomli_w.dumps(config_to_dict(head_config(Config.load(None, ["seed=7", "trim_db=25"])))))
    again = choose_recipe(Config.load(path), 132).config
    assert (again.recipe, again.protocol, again.seed, again.trim_db) == ("head", "all", 7, 25)
    other = choose_recipe(Config.load(path, ["backbone=mobilenet_v2"]), 132).config
    assert other == choose_recipe(Config.load(None, ["backbone=mobilenet_v2", "seed=7", "trim_db=25"]), 132).config
    network = Config.load(path, ["recipe=network"])
    assert (network.epochs, network.fc_layers, network.frozen_stages, network.protocol) == (20, 1, 0, "speaker")


def test_a_run_of_before_is_of_a_network() -> None:
    saved = saved_config({"backbone": "vgg8", "protocol": "kfold"})
    assert (saved.recipe, saved.protocol, saved.backbone) == ("network", "kfold", "vgg8")
    assert (saved.high_pass, saved.dynamic_range) == (0, 80)  # it has no filter, whatever new runs have
    assert (saved.surroundings, saved.mask_missing, saved.corpus_balance) == (0, False, 0.0)


@pytest.mark.parametrize("word", ["weights=none", "window_seconds=10"])
def test_what_a_head_cannot_have_is_a_network(word: str) -> None:
    choice = choose_recipe(Config.load(None, [word]), 132)
    assert choice.config.recipe == "network"
    assert word.partition("=")[0] in choice.reason


def test_a_head_of_another_network_is_refused() -> None:
    with pytest.raises(ConfigError, match="recipe = head does not go with backbone = vgg8; valid: recipe = netw"):
        choose_recipe(Config.load(None, ["recipe=head", "backbone=vgg8"]), 132)
    with pytest.raises(ConfigError, match="recipe = head does not go with the faces"):
        choose_recipe(Config.load(None, ["recipe=head"]), 132, faces=True)
    with pytest.raises(ConfigError, match="protocol = all goes with recipe = head; valid for a network: speaker"):
        Config.load(None, ["protocol=all", "epochs=3"])
