"""Settings from TOML files and from `name=value` words, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fdan_edge.config.backbones import find_backbone
from fdan_edge.config.recipes import network_config, wants_network, without_head
from fdan_edge.config.settings import FIELDS, GROUP_OF, GROUPS, Config
from fdan_edge.errors import ConfigError, one_line, shown, unknown_choice
from fdan_edge.utils import small_files


def load(path: Path | None, overrides: Sequence[str], **defaults: Any) -> Config:
    """Read the settings of a TOML file, changed by words, as `Config.load` says."""
    words = dict(_parse_word(word) for word in overrides)
    of_file = _flat(read_toml(path)) if path else {}
    if of_file.get("recipe") == "head":
        of_file, given = without_head(of_file), set[str]()
    else:
        of_file, given = _for_backbone(of_file, words.get("backbone")), set(of_file)
    values = {**defaults, **of_file, **words}
    if "recipe" not in values and wants_network({*given, *words}, values.get("backbone")):
        values["recipe"] = "network"
    config = config_from_dict({**_brought(values.get("backbone")), **values})
    return network_config(config) if config.recipe == "network" else config


def config_from_dict(values: dict[str, Any]) -> Config:
    """Return the Config of a mapping as TOML gives it, flat or with the groups as tables.

    Raises:
        ConfigError: an unknown name, a wrong type or a value out of range.
    """
    return Config(**{name: _typed(name, value) for name, value in _flat(values).items()})


#: What runs have that do not name these settings: they are of an earlier fdan-edge.
_EARLIER = {
    "recipe": "network",
    "high_pass": 0.0,
    "dynamic_range": 80.0,
    "mask_missing": False,
    "corpus_balance": 0.0,
    "surroundings": 0,
}


def saved_config(values: dict[str, Any]) -> Config:
    """Return the Config of a run's config.toml; earlier ones name no recipe (a network) and no filters (none).

    Raises:
        ConfigError: as `config_from_dict`.
    """
    config = config_from_dict({**_EARLIER, **values})
    return network_config(config) if config.recipe == "network" else config


def config_to_dict(config: Config) -> dict[str, Any]:
    """Return the settings as plain values that TOML and JSON can hold, without groups."""
    values = dataclasses.asdict(config)
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}


def read_toml(path: Path) -> dict[str, Any]:
    """Return the table in a TOML file.

    Raises:
        ConfigError: the file cannot be read or is not TOML.
    """
    try:
        return small_files.read_toml(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not a TOML file: {one_line(error)}") from None


def kind_of(default: Any) -> str:
    """Name the type of a setting for people, by its default."""
    kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    return kinds.get(type(default), "a list of names separated by commas")


def _brought(backbone: object) -> dict[str, Any]:
    """Return the settings that a backbone brings; an unknown one brings none, and is refused later."""
    entry = find_backbone(backbone) if isinstance(backbone, str) else None
    return dict(entry.brings) if entry else {}


def _for_backbone(values: dict[str, Any], backbone: str | None) -> dict[str, Any]:
    """Return a file's settings for another backbone than its own, without what its own brought.

    A run's config.toml names every setting: whisper_tiny's learning rates would spoil a mobilenet_v2, and the
    other way round. What was set to another value than was brought stays.
    """
    own = values.get("backbone", Config.backbone)
    if backbone in (None, own):
        return values
    before = _brought(own)
    usual = {name: before.get(name, FIELDS[name].default) for name in (*before, *_brought(backbone))}
    return {name: value for name, value in values.items() if name not in usual or value != usual[name]}


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """Return a table of settings without groups.

    Raises:
        ConfigError: an unknown group, a setting in a group that is not its own, or one that is there twice.
    """
    flat: dict[str, Any] = {}
    for name, value in values.items():
        members = {name: value}
        if isinstance(value, dict):
            members = {_ungrouped(name, member): each for member, each in value.items()}
        for member, each in members.items():
            if member in flat:
                raise ConfigError(f"{member} is set twice: by itself and in [{GROUP_OF[member]}]")
            flat[member] = each
    return flat


def _ungrouped(group: str, name: str) -> str:
    """Return the name of a setting, after a look at the group that it is said to be in."""
    own = GROUP_OF.get(name)
    if group not in GROUPS:
        hint = f"; {name} is a setting of {own}" if own else ""
        raise ConfigError(unknown_choice("group", group, list(GROUPS)) + hint)
    if own is None:
        raise ConfigError(unknown_choice("setting", name, list(FIELDS)))
    if own != group:
        raise ConfigError(f"{name} is a setting of {own}, not of {group}: write {own}.{name}, or {name} alone")
    return name


def _parse_word(word: str) -> tuple[str, Any]:
    """Return the setting and the value that `name=value` or `group.name=value` means."""
    name, equals, text = word.partition("=")
    if not equals:
        raise ConfigError(f"--set {word!r} is not of the form key=value")
    group, dot, member = name.strip().rpartition(".")
    setting = _ungrouped(group, member) if dot else member
    return setting, _parse(setting, text.strip())


def _parse(name: str, text: str) -> Any:
    """Return the value of a text, by the type of the setting's default."""
    default = _default(name)
    if isinstance(default, tuple):
        return [word.strip() for word in text.split(",") if word.strip()]
    if isinstance(default, str):
        return text
    try:
        return small_files.parse_toml(f"value = {text}")["value"]
    except ValueError:
        raise ConfigError(f"{name} = {shown(text)} is not {kind_of(default)}") from None


def _typed(name: str, value: Any) -> Any:
    """Return a value in the setting's own type."""
    default = _default(name)
    if isinstance(default, tuple):
        if isinstance(value, (list, tuple)) and all(isinstance(v, (str, int)) for v in value):
            return tuple(str(v) for v in value)
    elif isinstance(default, bool) or isinstance(value, bool):
        if isinstance(default, bool) and isinstance(value, bool):
            return value
    elif isinstance(default, float) and isinstance(value, (int, float)):
        return float(value)
    elif type(value) is type(default):
        return value
    raise ConfigError(f"{name} = {shown(value)} is not {kind_of(default)}")


def _default(name: str) -> Any:
    if name not in FIELDS:
        raise ConfigError(unknown_choice("setting", name, list(FIELDS)))
    return FIELDS[name].default
