"""What is trained where the user does not say: a head on frozen features, or a network."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fdan_edge.config.backbones import NETWORK_LAYERS, get_backbone
from fdan_edge.config.settings import FIELDS, GROUP_OF, Config
from fdan_edge.errors import ConfigError

#: The backbone whose frozen features a head is fitted on.
HEAD_BACKBONE = "whisper_tiny"
#: Layers of it under a head. RAVDESS, 7 classes, six folds, UAR of two and of three: clean 76.3 and 76.7, in noise
#: of 10 dB that no head was fitted on 66.6 and 69.1 (benchmarks/surroundings.py measures it).
HEAD_LAYERS = 3
#: With more recordings than that, a network may learn more than a head: see docs/how-to/train.md.
MOST_FOR_HEAD = 5000

#: Settings that only a network has: whoever sets one of them wants a network.
_OF_NETWORKS = {
    name for name, group in GROUP_OF.items() if group in ("model", "loss", "augmentation", "optimisation")
} - {"backbone", "weights", "encoder_layers", "recipe", "surroundings", "noise", "rooms"} | {
    "n_fft",
    "hop",
    "n_mels",
    "sample_rate",
    "precision",
}
#: What a backbone brings that says how sound is prepared; a head has it unless the user set another value.
_OF_SOUND = ("dynamic_range", "trim_db")
#: Settings of a head in which it differs from the defaults.
_OF_HEADS: dict[str, Any] = {
    "fc_layers": 0,
    "attention_layers": 0,
    "alpha": 0.0,
    "label_smoothing": 0.0,
    "balanced": True,
    "masks": 0,
    "speed_perturbation": 0.0,
    "epochs": 1,
    "ema_decay": 0.0,
}


@dataclass(frozen=True)
class Choice:
    """The settings of a training whose recipe is chosen, and why it is that one."""

    config: Config
    reason: str  # one line, for people


def choose_recipe(config: Config, recordings: int, *, faces: bool = False, target: bool = False) -> Choice:
    """Choose what `recipe = auto` and `protocol = auto` stand for.

    Args:
        config: the settings.
        recordings: how many there are, of all classes.
        faces: whether faces are trained on.
        target: whether there is a corpus to adapt to.

    Raises:
        ConfigError: the settings do not go with a head that was asked for.
    """
    why_network = _why_network(config, faces=faces, target=target)
    if config.recipe == "head":
        if why_network:
            raise ConfigError(f"recipe = head does not go with {why_network}; valid: recipe = network")
        return Choice(head_config(config), "a head on frozen features, as asked")
    if config.recipe == "network":
        return Choice(network_config(config), f"{config.backbone}, as asked")
    if why_network:
        return Choice(network_config(config), f"{config.backbone}: a network, because of {why_network}")
    if recordings > MOST_FOR_HEAD:
        few = f"{recordings} recordings are more than {MOST_FOR_HEAD}, so the upper layers are trained too"
        thawed = dataclasses.replace(config, backbone=HEAD_BACKBONE, **get_backbone(HEAD_BACKBONE).brings)
        return Choice(network_config(thawed), f"{HEAD_BACKBONE}: {few} (--set recipe=head: the head alone)")
    few = f"{recordings} recordings are too few to train a network on (--set recipe=network trains one)"
    return Choice(head_config(config), f"a head on frozen features of {HEAD_BACKBONE}: {few}")


def head_config(config: Config) -> Config:
    """Return the settings of a head on frozen features."""
    brings = get_backbone(HEAD_BACKBONE).brings
    own = {name for name in _OF_SOUND if getattr(config, name) != FIELDS[name].default}
    brought = {name: value for name, value in brings.items() if name not in own}
    brought["encoder_layers"] = config.encoder_layers or HEAD_LAYERS
    brought["frozen_stages"] = brought["encoder_layers"] + 1
    protocol = _protocol(config, "all")
    values = {"recipe": "head", "backbone": HEAD_BACKBONE, "protocol": protocol, **brought, **_OF_HEADS}
    return dataclasses.replace(config, **values)


def network_config(config: Config) -> Config:
    """Return the settings of a network.

    Raises:
        ConfigError: nothing is to be held out, and a network needs validation.
    """
    if config.protocol == "all":
        raise ConfigError("protocol = all goes with recipe = head; valid for a network: speaker, random, ...")
    layers = config.encoder_layers or NETWORK_LAYERS
    return dataclasses.replace(
        config, recipe="network", protocol=_protocol(config, "speaker"), encoder_layers=layers
    )


def without_head(values: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a head's config.toml without what makes it a head, which would spoil a network."""
    brings = get_backbone(HEAD_BACKBONE).brings
    brought = {name for name, value in brings.items() if name not in _OF_SOUND or values.get(name) == value}
    brought |= {"recipe", "backbone", "frozen_stages"}
    usual = {
        name for name, value in (("protocol", "all"), ("encoder_layers", HEAD_LAYERS)) if values.get(name) == value
    }
    return {name: v for name, v in values.items() if name not in {*_OF_HEADS, *brought, *usual}}


def wants_network(names: Iterable[str], backbone: object) -> bool:
    """Tell whether someone who set these settings wants a network."""
    return bool(_OF_NETWORKS.intersection(names)) or backbone not in (None, HEAD_BACKBONE)


def _protocol(config: Config, usual: str) -> str:
    if config.protocol != "auto":
        return config.protocol
    if config.test_texts:
        return "text"
    return "speaker" if config.test_speakers or config.val_speakers else usual


def _why_network(config: Config, *, faces: bool, target: bool) -> str:
    """Name what only a network can do; "" where nothing is asked for that a head cannot."""
    if faces:
        return "the faces"
    if target:
        return "the corpus to adapt to"
    if config.backbone not in (FIELDS["backbone"].default, HEAD_BACKBONE):
        return f"backbone = {config.backbone}"
    if config.weights == "none":
        return "weights = none"
    try:
        if head_config(config) == config:  # a run's own settings
            return ""
    except ConfigError as error:  # a window that it cannot take
        return str(error).partition(":")[0]
    brought = get_backbone(config.backbone).brings
    for name in sorted(_OF_NETWORKS):
        value = getattr(config, name)
        if value != brought.get(name, FIELDS[name].default):
            return f"{name} = {value}"
    return ""
