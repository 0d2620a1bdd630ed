"""Read what `fdan-edge tune` varies: words such as `alpha=1e-4..1`, checked before anything is trained."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from fdan_edge.config import FIELDS, Config, config_from_dict, config_to_dict
from fdan_edge.errors import ConfigError, unknown_choice

if TYPE_CHECKING:
    from optuna.trial import Trial

#: What the paper tuned: alpha in 1e-5 to 1e-3, decay 1e-4 and 1e-3; and the layers l of cross-attention, which it
#: leaves open. The ranges are wider, as ours is another optimiser, and its learning rate is one more.
DEFAULT = ("alpha=1e-5..1", "weight_decay=1e-4..0.1", "attention_layers=0..3", "lr=1e-4..1e-2")

#: Of them, and of others, those that mean something only where there are faces.
OF_FACES = (
    *("alpha", "alpha_ramp", "attention_layers", "lmmd_classes", "visual_dropout", "acoustic_path"),
    *("bank_per_class", "face_backbone", "face_size", "face_batch_size", "video_frames"),
)
_TEST = "it decides what is tested or validated"
_CLASSES = "it decides which classes there are, and with it what a UAR is worth"
_TARGET = "a tuning has no target corpus"
_RESULT = "it is not of the model"
_FIXED = {
    **dict.fromkeys(("protocol", "test_speakers", "val_speakers", "folds", "fold", "split_seed"), _TEST),
    **dict.fromkeys(("test_texts", "test_fraction", "val_fraction"), _TEST),
    **dict.fromkeys(("calm_as_neutral", "boredom", "classes"), _CLASSES),
    **dict.fromkeys(("method", "transfer_weight", "aligned_layers", "tau", "ida_iterations"), _TARGET),
    **dict.fromkeys(("threads", "deterministic", "bad_steps", "save_minutes", "cache"), _RESULT),
    "seed": "the best of several seeds is luck",
    "epochs": "trials are compared epoch by epoch; set it with --set",
    "teacher": "its probabilities are of its own validation speakers; set it with --set",
}
TUNABLE = tuple(name for name in FIELDS if name not in _FIXED)
_LOG_FROM = 100  # bounds this far apart are searched by their logarithm


@dataclass(frozen=True)
class Range:
    """All numbers between two, both included; whole ones where the setting is."""

    name: str
    low: float
    high: float
    log: bool

    def suggest(self, trial: Trial) -> Any:
        """Let Optuna choose a value for a trial; asked again for the same trial, it gives the same."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(self.name, self.low, self.high, log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)

    def holds(self, value: Any) -> bool:
        """Tell whether a trial could have this value."""
        return bool(self.low <= value <= self.high)

    @property
    def ends(self) -> tuple[Any, ...]:
        """Give the values to check against Config: where it accepts these, it accepts the others."""
        return self.low, self.high

    def __str__(self) -> str:
        scale = "" if self.log == _is_wide(self.low, self.high) else (":linear", ":log")[self.log]
        return f"{self.name}={_word(self.low)}..{_word(self.high)}{scale}"


@dataclass(frozen=True)
class Choice:
    """Some values, of any kind."""

    name: str
    values: tuple[Any, ...]

    def suggest(self, trial: Trial) -> Any:
        """Let Optuna choose a value for a trial; asked again for the same trial, it gives the same."""
        return trial.suggest_categorical(self.name, self.values)

    def holds(self, value: Any) -> bool:
        """Tell whether a trial could have this value."""
        return value in self.values

    @property
    def ends(self) -> tuple[Any, ...]:
        """Give the values to check against Config: where it accepts these, it accepts the others."""
        return self.values

    def __str__(self) -> str:
        return f"{self.name}={','.join(map(_word, self.values))}"


Dimension: TypeAlias = Range | Choice


def parse(words: Sequence[str], config: Config, *, faces: bool) -> list[Dimension]:
    """Parse the space of `NAME=LOW..HIGH`, `NAME=LOW..HIGH:log` (or `:linear`) and `NAME=A,B,C` words.

    Without a scale, a range whose ends are positive and a factor of 100 or more apart is searched by its
    logarithm. Without words it is `DEFAULT`, of which settings that mean nothing without faces are left out.

    Args:
        words: as on the command line.
        config: the settings that are not tuned, and those of the first trial.
        faces: whether there are any.

    Raises:
        ConfigError: a word cannot be understood, or Config refuses one of its ends.
    """
    usual = [word for word in DEFAULT if faces or word.partition("=")[0] not in OF_FACES]
    space = [_dimension(word) for word in words or usual]
    names = [dimension.name for dimension in space]
    for dimension in space:
        if names.count(dimension.name) > 1:
            raise ConfigError(f"--space names {dimension.name} twice; give all its values in one word")
        if dimension.name in OF_FACES and not faces:
            raise ConfigError(f"--space {dimension}: {dimension.name} means nothing without --faces")
        for value in dimension.ends:
            with_values(config, {dimension.name: value}, str(dimension))
    return space


def with_values(config: Config, values: dict[str, Any], word: str = "") -> Config:
    """Put a trial's values into the settings.

    Raises:
        ConfigError: they do not go together; the message begins with `word`.
    """
    try:
        return config_from_dict({**config_to_dict(config), **values})
    except ConfigError as error:
        raise ConfigError(f"--space {word}: {error}" if word else str(error)) from None


def own_values(space: Sequence[Dimension], config: Config) -> dict[str, Any]:
    """Give the settings' own values, a trial to compare others with; {} where the space lacks one."""
    values = {dimension.name: getattr(config, dimension.name) for dimension in space}
    return values if all(dimension.holds(values[dimension.name]) for dimension in space) else {}


def grid(space: Sequence[Dimension]) -> list[dict[str, Any]]:
    """List every combination, the last setting changing fastest.

    Raises:
        ConfigError: a range of numbers that are not whole has no end of values.
    """
    values = []
    for dimension in space:
        if isinstance(dimension, Choice):
            values.append(dimension.values)
        elif isinstance(dimension.low, int) and isinstance(dimension.high, int):
            values.append(tuple(range(dimension.low, dimension.high + 1)))
        else:
            raise ConfigError(
                f"--sampler grid needs values of {dimension.name}, not a range: --space {dimension.name}=A,B,C"
            )
    return [
        dict(zip([dimension.name for dimension in space], chosen, strict=True))
        for chosen in itertools.product(*values)
    ]


def _dimension(word: str) -> Dimension:
    name, equals, text = (part.strip() for part in word.partition("="))
    if not equals or not text:
        raise ConfigError(f"--space {word!r} is not of the form NAME=LOW..HIGH or NAME=A,B,C")
    if name in _FIXED:
        raise ConfigError(f"{name} is not tuned: {_FIXED[name]}")
    if name not in FIELDS:
        raise ConfigError(unknown_choice("setting", name, TUNABLE))
    default = FIELDS[name].default
    if ".." in text and type(default) in (int, float):
        return _range(name, text)
    values = tuple(_value(name, part.strip()) for part in text.split(","))
    if len(set(values)) < max(2, len(values)):
        raise ConfigError(f"--space {word!r} needs two values or more, all different; one value: --set {word}")
    return Choice(name, values)


def _range(name: str, text: str) -> Range:
    ends, colon, scale = text.partition(":")
    if colon and scale not in ("log", "linear"):
        raise ConfigError(f"--space {name}={text}: {unknown_choice('scale', scale, ('log', 'linear'))}")
    low, high = (_value(name, end.strip()) for end in ends.split("..", 1))
    if not low < high:
        raise ConfigError(f"--space {name}={text}: the lower end comes first, then a higher one")
    if scale == "log" and low <= 0:
        raise ConfigError(f"--space {name}={text}: a range by its logarithm begins above 0")
    return Range(name, low, high, scale == "log" or (not colon and _is_wide(low, high)))


def _is_wide(low: float, high: float) -> bool:
    return low > 0 and high >= _LOG_FROM * low


def _value(name: str, text: str) -> Any:
    kind = type(FIELDS[name].default)
    if kind is bool and text in ("true", "false"):
        return text == "true"
    try:
        if kind in (int, float, str):
            return kind(text)
    except ValueError:
        pass
    kinds = {bool: "true or false", int: "a whole number", float: "a number"}
    raise ConfigError(f"--space {name}: {text!r} is not {kinds.get(kind, 'something to choose from')}")


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.12g}" if isinstance(value, float) else str(value)
