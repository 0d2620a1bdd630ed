"""The settings of a training run: one flat, frozen dataclass read from TOML and `--set`."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fdan_edge.errors import ConfigError, choose, one_line

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BACKBONES = ("resnet34", "resnet18", "resnet50", "vgg16", "vgg19", "mobilenet_v2")

_CHOICES: dict[str, tuple[str, ...]] = {
    "backbone": BACKBONES,
    "optimizer": ("adamw", "sgd"),
    "protocol": ("speaker", "random"),
    "acoustic_path": ("skip", "bank"),
    "lmmd_classes": ("all", "shared"),
}
#: setting -> (lowest, highest) value that makes sense
_RANGES: dict[str, tuple[float, float]] = {
    "attention_layers": (0, 12),
    "feature_size": (8, 4096),
    "alpha": (0, 1e3),
    "alpha_ramp": (0, 1),
    "visual_dropout": (0, 1),
    "bank_per_class": (1, 512),
    "sample_rate": (4000, 96000),
    "n_fft": (64, 8192),
    "hop": (16, 8192),
    "n_mels": (8, 512),
    "window_seconds": (0.1, 60),
    "window_hop_seconds": (0.05, 60),
    "trim_db": (0, 200),
    "face_size": (32, 1024),
    "epochs": (1, 100_000),
    "batch_size": (2, 65536),
    "face_batch_size": (2, 65536),
    "lr": (1e-8, 10),
    "momentum": (0, 0.9999),
    "weight_decay": (0, 1),
    "warmup_epochs": (0, 1000),
    "label_smoothing": (0, 0.9),
    "ema_decay": (0, 0.99999),
    "clip_norm": (0, 1e6),
    "time_mask": (0, 1),
    "freq_mask": (0, 1),
    "masks": (0, 20),
    "speed_perturbation": (0, 0.5),
    "test_fraction": (0.01, 0.9),
    "val_fraction": (0.01, 0.9),
    "seed": (0, 2**31 - 1),
    "split_seed": (0, 2**31 - 1),
    "threads": (0, 1024),
}


@dataclass(frozen=True)
class Config:
    """Every setting of a run.

    ResNet-34, batch 32 and alpha are the paper's. Ours are the optimiser and its settings (the paper: SGD,
    momentum 0.99, decay 1e-3 or 1e-4, 300 epochs), label smoothing, averaged weights, augmentation, face size,
    and a validation part and speakers that are held out.
    """

    # model
    backbone: str = "resnet34"
    weights: str = "imagenet"  # imagenet, none, or the path of a state dict (.pth, .safetensors)
    feature_size: int = 256  # d, the width of Z_v and Z_a
    attention_layers: int = 1  # l; 0 is the paper's ablation FDAN_1
    acoustic_path: str = "skip"  # how the exported path treats cross-attention
    visual_dropout: float = 0.0  # share of speech samples trained without the faces' term
    bank_per_class: int = 16  # faces per class in the bank of acoustic_path = bank
    # loss (eq. 9)
    alpha: float = 1e-3  # weight of LMMD; 0 is the paper's ablation FDAN_2
    alpha_ramp: float = 0.3  # share of the training over which alpha grows from 0
    lmmd_classes: str = "all"  # what LMMD's sum is divided by: all C, or the shared classes
    label_smoothing: float = 0.1
    # audio front end
    sample_rate: int = 16000  # Hz
    n_fft: int = 1024  # samples
    hop: int = 256  # samples
    n_mels: int = 128
    window_seconds: float = 3.0  # what the model hears at once
    window_hop_seconds: float = 1.5  # step between the windows of a longer file
    trim_db: float = 40.0  # ends quieter than this below the loudest frame are cut; 0: keep all
    # faces
    face_size: int = 96  # pixels, height and width
    # training
    epochs: int = 20
    batch_size: int = 32
    face_batch_size: int = 32
    optimizer: str = "adamw"
    lr: float = 1e-3
    momentum: float = 0.9  # of sgd
    weight_decay: float = 0.01
    warmup_epochs: float = 1.0
    clip_norm: float = 5.0  # gradient norm; 0: no clipping
    ema_decay: float = 0.98  # averaged weights are what is validated and exported; 0: none
    # augmentation of the log-mel (SpecAugment) and of the voice
    masks: int = 2
    time_mask: float = 0.15  # widest time mask, share of the frames
    freq_mask: float = 0.15  # widest frequency mask, share of the mel bands
    speed_perturbation: float = 0.1  # voices also at 1 - s and 1 + s times their speed
    # data
    protocol: str = "speaker"  # speaker: no speaker in two parts; random: the paper's 8/2
    test_speakers: tuple[str, ...] = ()  # none given: the last sixth of the sorted speakers
    val_speakers: tuple[str, ...] = ()  # none given: the last tenth of the others
    test_fraction: float = 0.2  # of the random protocol
    val_fraction: float = 0.1
    calm_as_neutral: bool = True
    boredom: bool = False  # whether EMO-DB's boredom is a class; false: its recordings are left out
    # machine
    seed: int = 0
    split_seed: int = 0  # of the random protocol
    threads: int = 0  # 0: PyTorch's choice
    cache: bool = True  # keep log-mels and face crops on disk for the next run

    def __post_init__(self) -> None:
        for name, valid in _CHOICES.items():
            if getattr(self, name) not in valid:
                raise ConfigError(choose(name, str(getattr(self, name)), valid))
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{name} = {value} is out of range; valid: {low:g} to {high:g}")
        self._check_lengths()

    def _check_lengths(self) -> None:
        frames = 1 + self.window // self.hop
        if self.backbone.startswith("vgg") and min(self.n_mels, frames) < 32:
            raise ConfigError(
                f"{self.backbone} needs at least 32 mel bands and 32 frames; n_mels = {self.n_mels}, and "
                f"window_seconds = {self.window_seconds:g} with hop = {self.hop} makes {frames}"
            )
        if self.hop > self.n_fft:
            raise ConfigError(f"hop = {self.hop} is longer than n_fft = {self.n_fft} samples")
        if self.window_hop_seconds > self.window_seconds:
            raise ConfigError(
                f"window_hop_seconds = {self.window_hop_seconds:g} leaves gaps between windows of "
                f"window_seconds = {self.window_seconds:g}"
            )

    @property
    def window(self) -> int:
        """Length of one window in samples."""
        return round(self.window_seconds * self.sample_rate)

    @property
    def window_hop(self) -> int:
        """Step between windows in samples."""
        return round(self.window_hop_seconds * self.sample_rate)


FIELDS = {field.name: field for field in dataclasses.fields(Config)}


def config_from_dict(values: dict[str, Any]) -> Config:
    """A Config from a mapping as TOML gives it.

    Raises:
        ConfigError: an unknown name, a wrong type or a value out of range.
    """
    return Config(**{name: _typed(name, value) for name, value in values.items()})


def load_config(path: Path | None, overrides: list[str]) -> Config:
    """The settings of a TOML file (or the defaults), changed by `key=value` words."""
    values = read_toml(path) if path else {}
    for word in overrides:
        name, equals, text = word.partition("=")
        if not equals:
            raise ConfigError(f"--set {word!r} is not of the form key=value")
        values[name.strip()] = _parse(name.strip(), text.strip())
    return config_from_dict(values)


def read_toml(path: Path) -> dict[str, Any]:
    """The table in a TOML file.

    Raises:
        ConfigError: the file cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a TOML file: {one_line(error)}") from None


def config_to_dict(config: Config) -> dict[str, Any]:
    """The settings as plain values that TOML and JSON can hold."""
    values = dataclasses.asdict(config)
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}


def _field_default(name: str) -> Any:
    if name not in FIELDS:
        raise ConfigError(choose("setting", name, list(FIELDS)))
    return FIELDS[name].default


def _parse(name: str, text: str) -> Any:
    """The value that `--set name=text` means, by the type of the setting's default."""
    default = _field_default(name)
    if isinstance(default, tuple):
        return [word.strip() for word in text.split(",") if word.strip()]
    if isinstance(default, str):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        raise ConfigError(f"{name} = {text!r} is not {_kind(default)}") from None


def _typed(name: str, value: Any) -> Any:
    default = _field_default(name)
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
    raise ConfigError(f"{name} = {value!r} is not {_kind(default)}")


def _kind(default: Any) -> str:
    kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    return kinds.get(type(default), "a list of names separated by commas")
