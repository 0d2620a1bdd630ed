"""The backbones that `backbone = NAME` can name: one entry for each.

An entry is found in three places, in this order: those of fdan-edge, what `register_backbone` was given, and
plugins: installed packages with an entry point in the group `fdan_edge.backbones`. What builds a network is named
here and imported when it is asked for: settings are read and checked without PyTorch.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from fdan_edge.errors import ConfigError, one_line, unknown_choice

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fdan_edge.config.settings import Config

#: Group of the entry points by which an installed package adds backbones to the command line.
ENTRY_POINTS = "fdan_edge.backbones"
#: What a backbone can read: log-mels (n, 1, mels, frames), and faces (n, 3, size, size).
INPUTS = ("voices", "faces")

#: Layers of whisper_tiny in a network, where the settings do not say.
NETWORK_LAYERS = 2

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")

#: Builds a network, (n, channels, height, width) -> (n, features), and says how many features it gives.
Builder: TypeAlias = "Callable[[BuildRequest], tuple[nn.Module, int]]"
#: Gives the pretrained weights of an entry, as its builder takes them.
Pretrained: TypeAlias = "Callable[[Backbone], dict[str, Tensor]]"


def _some_frozen(config: Config) -> bool:
    return config.frozen_stages > 0


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """All that is known of one backbone: how it is built, and what settings must know of it.

    Args:
        name: its value in `backbone = NAME`: lower case letters, digits, - and _.
        build: a function that takes a `BuildRequest` and returns the network, (n, channels, height, width) ->
            (n, features), and the number of features; or "module:function", imported when it is asked for.
        pretrained: a function that takes the entry and returns the pretrained state dict; or "module:function";
            None: there is none.
        takes: voices, faces, or both.
        brings: settings that it has unless they are set otherwise.
        stages: how many of its first stages can be frozen. With more than 0, the network is a
            `fdan_edge.models.backbones.staged.StagedBackbone`.
        check: raises ConfigError where settings do not go with it; called with the entry and the settings where it
            is the voices' network.
        encodes: whether, with such settings, frozen stages give the same of a voice in every epoch, so that it is
            computed only once. By default where any are frozen: right where a log-mel can be shifted and masked
            after them as before, as it can where they give maps.
        arguments: what the builder wants to know; nobody else reads it.

    Raises:
        ConfigError: the name or what it takes cannot be used.
    """

    name: str
    build: str | Builder
    pretrained: str | Pretrained | None = None
    takes: tuple[str, ...] = INPUTS
    brings: Mapping[str, Any] = field(default_factory=dict)
    stages: int = 0
    check: Callable[[Backbone, Config], None] | None = None
    encodes: Callable[[Config], bool] = _some_frozen
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(f"backbone name {self.name!r} is not of lower case letters, digits, - and _ alone")
        if not self.takes or not set(self.takes) <= set(INPUTS):
            raise ConfigError(f"backbone {self.name} takes {self.takes!r}; valid: {', '.join(INPUTS)}, or both")


@dataclass(frozen=True)
class BuildRequest:
    """What a backbone's builder is asked for.

    Args:
        entry: the backbone.
        config: the settings.
        channels: of the input: 1 for log-mels, scaled to -2..2; 3 for faces, normalised as ImageNet's images.
        state: the weights, of `pretrained` or of a file; None: random ones.
    """

    entry: Backbone
    config: Config
    channels: int
    state: dict[str, Tensor] | None


def _at_least_32(entry: Backbone, config: Config) -> None:
    """Refuse log-mels that a VGG's poolings leave nothing of."""
    if min(config.n_mels, config.frames) < 32:
        raise ConfigError(
            f"{entry.name} needs at least 32 mel bands and 32 frames; n_mels = {config.n_mels}, and "
            f"window_seconds = {config.window_seconds:g} with hop = {config.hop} makes {config.frames}"
        )


def _like_whisper(entry: Backbone, config: Config) -> None:
    """Refuse log-mels that Whisper was not trained on."""
    log_mel = {"sample_rate": 16000, **{name: entry.brings[name] for name in ("n_fft", "hop", "n_mels")}}
    for name, value in log_mel.items():
        if getattr(config, name) != value:
            raise ConfigError(f"{entry.name} needs {name} = {value}, not {getattr(config, name)}")
    if config.window_seconds > 7.9:  # 400 positions
        raise ConfigError(f"window_seconds = {config.window_seconds:g}: {entry.name} hears at most 7.9 at once")


def _whole_whisper(config: Config) -> bool:
    """Whether all layers are frozen, without dropout and masks: its features cannot be shifted or masked."""
    layers = config.encoder_layers or NETWORK_LAYERS
    return config.frozen_stages > layers and not (config.masks or config.dropout)


_MODULES = "fdan_edge.models.backbones"
_IMAGENET = f"{_MODULES}.image_networks:imagenet_weights"
_RESNET = Backbone(name="resnet", build=f"{_MODULES}.image_networks:build_resnet", pretrained=_IMAGENET, stages=5)
_VGG = Backbone(name="vgg", build=f"{_MODULES}.image_networks:build_vgg", pretrained=_IMAGENET, check=_at_least_32)
_MOBILENET = Backbone(
    name="mobilenet",
    build=f"{_MODULES}.image_networks:build_mobilenet",
    pretrained=_IMAGENET,
    stages=19,
    arguments={"architecture": "mobilenet_v2"},
)

#: fdan-edge's own, in the order in which messages and documents list them.
_BUILT_IN = (
    replace(_RESNET, name="resnet34"),
    replace(_RESNET, name="resnet18"),
    replace(_RESNET, name="resnet50"),
    replace(_VGG, name="vgg16"),
    replace(_VGG, name="vgg19"),
    Backbone(  # ours, small: nobody has trained it before
        name="vgg8",
        build=f"{_MODULES}.vgg8:build",
        brings={"weights": "none"},
        check=_at_least_32,
    ),
    replace(_MOBILENET, name="mobilenet_v2"),
    # MobileNetV2's first stages. 14 end at 96 channels, 0.54 of 2.2 million weights; 11 at 64 channels, 0.24
    # million. Both at a sixteenth of the image's height and width.
    replace(_MOBILENET, name="mobilenet_v2_small", stages=14, arguments={**_MOBILENET.arguments, "keep": 14}),
    replace(_MOBILENET, name="mobilenet_v2_tiny", stages=11, arguments={**_MOBILENET.arguments, "keep": 11}),
    # Whisper was trained on these log-mels, and on more speech than any emotion corpus has: its stem and first
    # layer stay as they are, the other moves slowly, at 5e-5 (at 3e-4 and with dropout 0.1 it was spoilt within an
    # epoch).
    Backbone(
        name="whisper_tiny",
        build=f"{_MODULES}.whisper:build",
        pretrained=f"{_MODULES}.whisper_weights:packaged_weights",
        takes=("voices",),
        brings={
            "n_fft": 400,
            "hop": 160,
            "n_mels": 80,
            "dynamic_range": 50.0,
            "trim_db": 30.0,
            "face_backbone": "mobilenet_v2",
            "frozen_stages": 2,
            "lr": 2e-3,
            "backbone_lr": 0.025,
        },
        stages=5,
        check=_like_whisper,
        encodes=_whole_whisper,
    ),
)
_backbones = {entry.name: entry for entry in _BUILT_IN}


def register_backbone(backbone: Backbone) -> None:
    """Make a backbone of one's own known in this process: `backbone = NAME` in every configuration.

    One that was registered by the same name before is replaced. The command line, and the processes that torchrun
    starts, know a backbone by an entry point instead, in the pyproject.toml of an installed package:

        [project.entry-points."fdan_edge.backbones"]
        mine = "my_package.my_module:BACKBONE"

    Raises:
        ConfigError: a backbone of fdan-edge has the name already.
    """
    if any(backbone.name == entry.name for entry in _BUILT_IN):
        raise ConfigError(f"backbone {backbone.name} is one of fdan-edge's own; take another name")
    _backbones[backbone.name] = backbone


def get_backbone(name: str) -> Backbone:
    """Return the entry of a backbone: one of fdan-edge's own, a registered one, or that of a plugin.

    Raises:
        ConfigError: no backbone has this name, or the plugin that has it cannot be loaded.
    """
    entry = find_backbone(name)
    if entry is None:
        raise ConfigError(unknown_choice("backbone", name, tuple(_backbones)))
    return entry


def find_backbone(name: str) -> Backbone | None:
    """As `get_backbone`; None where no backbone has the name."""
    if name not in _backbones:
        _load_plugin(name)
    return _backbones.get(name)


def imported(function: str | Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that "module:function" names, or the function itself."""
    if not isinstance(function, str):
        return function
    module, _, attribute = function.partition(":")
    named: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return named


def _load_plugin(name: str) -> None:
    """Register the backbone of this name that an installed package brings, if any."""
    from importlib.metadata import entry_points  # slow to import, and needed for unknown names only

    for plugin in entry_points(group=ENTRY_POINTS, name=name):
        try:
            entry = plugin.load()
        except Exception as error:  # whatever another's module may raise
            raise ConfigError(f"backbone {name}: {plugin.value} cannot be loaded: {one_line(error)}") from None
        if not isinstance(entry, Backbone) or entry.name != name:
            raise ConfigError(f"backbone {name}: {plugin.value} is not a Backbone of that name")
        register_backbone(entry)


class BackboneNames(Collection[str]):
    """The names of all backbones that take voices, or faces; those of plugins count once they are asked for.

    Args:
        takes: voices or faces.
        empty: whether an empty name is one of them.
    """

    def __init__(self, takes: str, *, empty: bool = False) -> None:
        self.takes, self.empty = takes, empty

    def or_empty(self) -> BackboneNames:
        """Return the same names, and the empty one."""
        return BackboneNames(self.takes, empty=True)

    def __contains__(self, name: object) -> bool:
        if not name:
            return self.empty
        entry = find_backbone(str(name))
        return entry is not None and self.takes in entry.takes

    def __iter__(self) -> Iterator[str]:
        names = [entry.name for entry in _backbones.values() if self.takes in entry.takes]
        return iter(["", *names] if self.empty else names)

    def __len__(self) -> int:
        return len(list(iter(self)))


BACKBONES = BackboneNames("voices")
FACE_BACKBONES = BackboneNames("faces")
