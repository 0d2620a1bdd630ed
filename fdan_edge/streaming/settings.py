"""The settings of a live stream. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from fdan_edge.errors import ConfigError, shown, unknown_choice

VADS = ("auto", "silero", "energy", "none")


@dataclass(frozen=True)
class StreamSettings:
    """Times, in seconds, and thresholds of one stream.

        recognizer.stream(StreamSettings(hop=0.5, vad="energy"))

    Args:
        hop: time between results; rounded to a whole number of the front end's steps.
        smoothing: time constant of the mean of the probabilities; 0: none.
        hold: how long another label must lead before it is shown.
        margin: by how much of probability it must lead.
        unknown_below: confidence below which the label is "unknown"; None: as the model's metadata say.
        vad: how speech is detected: "silero", "energy", "none" (everything is speech), or "auto": silero where
            it is installed, else energy.
        speech_on: probability of speech at which speech begins.
        speech_off: probability of speech below which a pause begins.
        pause: length of a pause that ends the speech.
        min_speech: length of speech before the first result.

    Raises:
        ConfigError: a value cannot work.
    """

    hop: float = 0.25
    smoothing: float = 0.5
    hold: float = 0.5
    margin: float = 0.1
    unknown_below: float | None = None
    vad: str = "auto"
    speech_on: float = 0.5
    speech_off: float = 0.35
    pause: float = 0.5
    min_speech: float = 0.75

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            if setting.name == "vad":
                if value not in VADS:
                    raise ConfigError(unknown_choice("vad", value, VADS))
            elif (value is not None or setting.name != "unknown_below") and not _is_number(value):
                raise ConfigError(f"{setting.name} = {shown(value)}: not a number")
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ConfigError(f"{name} = {value:g}: valid are {low:g} to {high:g}")
        if self.speech_off > self.speech_on:
            raise ConfigError(
                f"speech_off = {self.speech_off:g} is above speech_on = {self.speech_on:g}; it must not be"
            )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


_RANGES = (
    ("hop", 0.05, 60.0),
    ("smoothing", 0.0, 60.0),
    ("hold", 0.0, 60.0),
    ("margin", 0.0, 1.0),
    ("unknown_below", 0.0, 1.0),
    ("speech_on", 0.0, 1.0),
    ("speech_off", 0.0, 1.0),
    ("pause", 0.05, 60.0),
    ("min_speech", 0.05, 60.0),
)
