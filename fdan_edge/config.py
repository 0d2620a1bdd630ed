"""The settings of a training run: one flat, frozen dataclass read from TOML and `--set`."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fdan_edge.errors import ConfigError, one_line, unknown_choice

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: Networks for images, which see a spectrogram as one, and whisper_tiny, an encoder of speech, for voices only.
BACKBONES = (
    *("resnet34", "resnet18", "resnet50", "vgg16", "vgg19", "vgg8"),
    *("mobilenet_v2", "mobilenet_v2_small", "mobilenet_v2_tiny", "whisper_tiny"),
)
FACE_BACKBONES = tuple(name for name in BACKBONES if name != "whisper_tiny")

#: What a backbone brings unless it is set otherwise. Whisper was trained on these log-mels, and on more speech
#: than any emotion corpus has: its stem and first layer stay as they are, the other moves slowly, at 5e-5 (at
#: 3e-4 and with dropout 0.1 it was spoilt within an epoch).
_BROUGHT: dict[str, dict[str, Any]] = {
    "vgg8": {"weights": "none"},  # ours, small: nobody has trained it before
    "whisper_tiny": {
        "n_fft": 400,
        "hop": 160,
        "n_mels": 80,
        "face_backbone": "mobilenet_v2",
        "frozen_stages": 2,
        "lr": 2e-3,
        "backbone_lr": 0.025,
    },
}

#: How a training bridges the gap between the labelled corpus and the unlabelled target.
METHODS = ("fdan", "source", "mmd", "lmmd", "coral", "dann", "didan")

_CHOICES: dict[str, tuple[str, ...]] = {
    "method": METHODS,
    "source_loss": ("cross_entropy", "regression"),
    "level": ("peak", "speech", "none"),
    "channel": ("none", "window", "match"),
    "backbone": BACKBONES,
    "face_backbone": ("", *FACE_BACKBONES),
    "optimizer": ("adamw", "sgd"),
    "protocol": ("speaker", "loso", "kfold", "text", "official", "random"),
    "acoustic_path": ("skip", "bank"),
    "lmmd_classes": ("all", "shared"),
    "precision": ("auto", "fp32", "bf16", "fp16"),
    "torch_compile": ("none", "default", "reduce-overhead", "max-autotune"),
}
#: setting -> (lowest, highest) value that makes sense
_RANGES: dict[str, tuple[float, float]] = {
    "encoder_layers": (1, 4),
    "frozen_stages": (0, 19),
    "frozen_face_stages": (0, 19),
    "dropout": (0, 0.9),
    "backbone_lr": (0, 100),
    "attention_layers": (0, 12),
    "feature_size": (8, 4096),
    "fc_layers": (1, 8),
    "transfer_weight": (0, 1e4),
    "tau": (0, 2),
    "distill_weight": (0, 1),
    "distill_temperature": (0.1, 100),
    "ida_iterations": (1, 10_000),
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
    "video_frames": (1, 64),
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
    "folds": (2, 1000),
    "fold": (1, 100_000),
    "test_fraction": (0.01, 0.9),
    "val_fraction": (0.01, 0.9),
    "seed": (0, 2**31 - 1),
    "split_seed": (0, 2**31 - 1),
    "threads": (0, 1024),
    "bad_steps": (1, 100_000),
    "save_minutes": (0, 1e6),
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
    weights: str = "pretrained"  # pretrained, none, or the path of a state dict (.pth, .safetensors)
    face_backbone: str = ""  # the faces' network; "": the same kind as the voices'
    encoder_layers: int = 2  # of whisper_tiny's four
    # of the voices' network, from the input on, not trained: of whisper_tiny 1 is its stem, 2 its first layer too;
    # of a mobilenet_v2 each counts one of 19 blocks, of a resnet one of 5 groups. Random weights are not frozen
    frozen_stages: int = 0
    frozen_face_stages: int = 0  # of the faces' mobilenet_v2 or resnet
    dropout: float = 0.0  # in whisper_tiny's layers
    feature_size: int = 256  # d, the width of Z_v and Z_a
    fc_layers: int = 1  # fully connected layers of that width after the backbone
    attention_layers: int = 1  # l; 0 is the paper's ablation FDAN_1
    acoustic_path: str = "skip"  # how the exported path treats cross-attention
    visual_dropout: float = 0.0  # share of speech samples trained without the faces' term
    bank_per_class: int = 16  # faces per class in the bank of acoustic_path = bank
    # loss (eq. 9)
    alpha: float = 1e-3  # weight of LMMD; 0 is the paper's ablation FDAN_2
    alpha_ramp: float = 0.3  # share of the training over which alpha grows from 0
    lmmd_classes: str = "all"  # what LMMD's sum is divided by: all C, or the shared classes
    label_smoothing: float = 0.1
    balanced: bool = False  # every class counts the same in the voices' loss, however many recordings it has
    # a smaller network that learns what a trained one makes of each recording (Hinton, Vinyals and Dean 2015)
    teacher: str = ""  # run folder whose probabilities are learnt beside the labels; "": labels only
    distill_weight: float = 0.7  # of the teacher's probabilities; the labels have the rest of 1
    distill_temperature: float = 2.0  # that both networks' logits are divided by before they are compared
    # a target corpus without labels (--target); see the README's chapter on DIDAN
    # fdan: no alignment of corpora but through faces; source: the target is not looked at; didan, mmd, lmmd (with
    # pseudo-labels), coral, dann: the corpora are aligned directly
    method: str = "fdan"
    source_loss: str = "cross_entropy"  # of the voices; regression: squared error to the one-hot label
    transfer_weight: float = 1.0  # DIDAN's lambda, and the weight of what other methods have in its place
    aligned_layers: tuple[str, ...] = ()  # fully connected layers, from 1, or output; none given: the last one
    tau: float = 0.1  # of IDA: weight of |W|_1, for features of unit length; at 2 nothing is reconstructed
    ida_iterations: int = 100  # of the sparse solver, for each batch
    # audio front end
    sample_rate: int = 16000  # Hz
    n_fft: int = 1024  # samples
    hop: int = 256  # samples
    n_mels: int = 128
    window_seconds: float = 3.0  # what the model hears at once
    window_hop_seconds: float = 1.5  # step between the windows of a longer file
    trim_db: float = 40.0  # ends quieter than this below the loudest frame are cut; 0: keep all
    # what 0 dB is: each window's loudest point; with speech, 27 dB above the mean power of what is heard in it, so
    # that clicks do not matter; with none it is fixed, 20 dB below full scale, and loudness is heard
    level: str = "peak"
    # window: the mean spectrum of each window becomes that of average speech, in the exported graph too;
    # match: training speech gets the target's mean spectrum, the graph is as with none
    channel: str = "none"
    # faces
    face_size: int = 96  # pixels, height and width
    video_frames: int = 3  # of each video, at the middles of as many equal parts
    # training
    epochs: int = 20
    batch_size: int = 32  # of all processes together, whatever their number
    face_batch_size: int = 32
    optimizer: str = "adamw"
    lr: float = 1e-3
    backbone_lr: float = 1.0  # the backbones' learning rate as a share of lr
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
    # speaker: no speaker in two parts; loso: one speaker is the test; kfold: one of `folds` groups of speakers is;
    # text: no sentence of the test in training; official: the publisher's parts; random: the paper's 8/2
    protocol: str = "speaker"
    test_speakers: tuple[str, ...] = ()  # of speaker; none given: the last sixth of the sorted speakers
    val_speakers: tuple[str, ...] = ()  # of speaker; none given: the last tenth of the others
    folds: int = 6  # of kfold: groups of speakers in sorted order; RAVDESS: actors 01-04, 05-08, ...
    fold: int = 1  # of kfold: which group is the test, from 1; of loso: which of the sorted speakers
    test_texts: tuple[str, ...] = ()  # of text; none given: the last sixth of the sorted sentences
    test_fraction: float = 0.2  # of the random protocol
    val_fraction: float = 0.1  # of the random protocol, and of validation parts that are made at random
    calm_as_neutral: bool = True
    boredom: bool = False  # whether EMO-DB's boredom is a class; false: its recordings are left out
    # machine
    seed: int = 0
    split_seed: int = 0  # of the random protocol, and of validation parts that are made at random
    threads: int = 0  # 0: PyTorch's choice
    # what the networks compute with, weights are float32 always; auto: bf16 where the device has it, else fp32
    precision: str = "auto"
    torch_compile: str = "none"  # mode of torch.compile for the backbones; reduce-overhead uses CUDA graphs
    deterministic: bool = True  # bit for bit the same again on a GPU too, at the price of some speed
    bad_steps: int = 20  # so many steps in a row may have a loss or gradient that is not finite; then it ends
    save_minutes: float = 10.0  # time between savings within an epoch; 0: at the ends of epochs only
    cache: bool = True  # keep log-mels, what frozen stages give and face crops on disk

    def __post_init__(self) -> None:
        for name, valid in _CHOICES.items():
            if getattr(self, name) not in valid:
                raise ConfigError(unknown_choice(name, str(getattr(self, name)), valid))
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{name} = {value} is out of range; valid: {low:g} to {high:g}")
        self._check_lengths()
        self._check_protocol()
        self._check_layers()
        if self.backbone == "whisper_tiny":
            self._check_whisper()
        if self.frozen_stages and self.backbone.startswith("vgg"):
            raise ConfigError(
                f"frozen_stages goes with whisper_tiny, mobilenet_v2 and resnets, not {self.backbone}"
            )
        if self.frozen_face_stages and (seen := self.face_backbone or self.backbone).startswith("vgg"):
            raise ConfigError(f"frozen_face_stages goes with mobilenet_v2 and resnets, not {seen}")
        if self.teacher and self.source_loss != "cross_entropy":
            raise ConfigError(
                f"a teacher's probabilities go with source_loss = cross_entropy, not {self.source_loss}"
            )

    def _check_whisper(self) -> None:
        wanted = {"sample_rate": 16000, **{n: _BROUGHT["whisper_tiny"][n] for n in ("n_fft", "hop", "n_mels")}}
        for name, value in wanted.items():
            if getattr(self, name) != value:
                raise ConfigError(f"whisper_tiny needs {name} = {value}, not {getattr(self, name)}")
        if self.window_seconds > 7.9:  # 400 positions
            raise ConfigError(f"window_seconds = {self.window_seconds:g}: whisper_tiny hears at most 7.9 at once")
        if not self.face_backbone:
            raise ConfigError(f"whisper_tiny sees no faces: set face_backbone; valid: {', '.join(FACE_BACKBONES)}")

    def _check_protocol(self) -> None:
        """A setting that the protocol would pass over is a mistake, not a wish to be ignored."""
        if self.protocol == "kfold" and self.fold > self.folds:
            raise ConfigError(f"fold = {self.fold} is out of range; valid: 1 to {self.folds} (folds)")
        if self.test_texts and self.protocol != "text":
            raise ConfigError(f"test_texts goes with protocol text, not {self.protocol}")
        for name in ("test_speakers", "val_speakers"):
            # Runs of before may have them beside protocol random.
            if getattr(self, name) and self.protocol not in ("speaker", "random"):
                raise ConfigError(f"{name} goes with protocol speaker, not {self.protocol}")

    def _check_layers(self) -> None:
        valid = [*map(str, range(1, self.fc_layers + 1)), "output"]
        for name in self.aligned_layers:
            if name not in valid:
                raise ConfigError(unknown_choice("aligned_layers", name, valid))
        if len(set(self.aligned_layers)) < len(self.aligned_layers):
            raise ConfigError(f"aligned_layers = {', '.join(self.aligned_layers)} names a layer twice")
        if self.aligned_layers and self.method in ("fdan", "source"):
            raise ConfigError(f"aligned_layers goes with a method that aligns corpora, not {self.method}")

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
#: Those that a training's result depends on.
DECISIVE = tuple(name for name in FIELDS if name not in ("cache", "save_minutes"))


def config_from_dict(values: dict[str, Any]) -> Config:
    """A Config from a mapping as TOML gives it.

    Raises:
        ConfigError: an unknown name, a wrong type or a value out of range.
    """
    typed = {name: _typed(name, value) for name, value in values.items()}
    if typed.get("weights") == "imagenet":  # what it was called when all backbones were of images
        typed["weights"] = "pretrained"
    return Config(**typed)


def load_config(path: Path | None, overrides: list[str], **defaults: Any) -> Config:
    """The settings of a TOML file (or the defaults, and what the backbone brings), changed by `key=value` words.

    `defaults` stand in the place of the usual ones.
    """
    words: dict[str, Any] = {}
    for word in overrides:
        name, equals, text = word.partition("=")
        if not equals:
            raise ConfigError(f"--set {word!r} is not of the form key=value")
        words[name.strip()] = _parse(name.strip(), text.strip())
    of_file = _for_backbone(read_toml(path) if path else {}, words.get("backbone"))
    values = {**defaults, **of_file, **words}
    return config_from_dict({**_BROUGHT.get(str(values.get("backbone")), {}), **values})


def _for_backbone(values: dict[str, Any], backbone: str | None) -> dict[str, Any]:
    """A file's settings for another backbone than its own: what that one brought, unless changed, goes with it.

    A run's config.toml names every setting: whisper_tiny's learning rates would spoil a mobilenet_v2, and the
    other way round.
    """
    own = str(values.get("backbone", Config.backbone))
    if backbone in (None, own):
        return values
    names = [name for one in (own, backbone) for name in _BROUGHT.get(str(one), {})]
    usual = {name: _BROUGHT.get(own, {}).get(name, FIELDS[name].default) for name in names}
    return {name: value for name, value in values.items() if name not in usual or value != usual[name]}


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
        raise ConfigError(unknown_choice("setting", name, list(FIELDS)))
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
