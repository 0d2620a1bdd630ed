"""How a stream listens and decides. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from fdan_edge.errors import ConfigError, unknown_choice

VADS = ("auto", "silero", "energy", "none")


@dataclass(frozen=True)
class StreamSettings:
    """Of one stream; times in seconds.

    Raises:
        ConfigError: a value cannot work.
    """

    hop: float = 0.25  # between results; rounded to a whole number of the front end's steps
    smoothing: float = 0.5  # time constant of the probabilities' mean; 0: none
    hold: float = 0.5  # another label must lead for so long before it is shown
    margin: float = 0.1  # and by so much
    unknown_below: float | None = None  # confidence at any time; None: the model's own, from its validation
    vad: str = "auto"  # auto: silero where it is installed, else energy; none: everything is speech
    speech_on: float = 0.5  # probability of speech that begins it
    speech_off: float = 0.35  # and below which it is a pause
    pause: float = 0.5  # a pause of so long ends it
    min_speech: float = 0.75  # of speech before the first result

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name == "vad":
                if value not in VADS:
                    raise ConfigError(unknown_choice("vad", value, VADS))
            elif value is not None and not (isinstance(value, (int, float)) and math.isfinite(value)):
                raise ConfigError(f"{one.name} = {value!r}: not a number")
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ConfigError(f"{name} = {value:g}: valid are {low:g} to {high:g}")
        if self.speech_off > self.speech_on:
            raise ConfigError(
                f"speech_off = {self.speech_off:g} is above speech_on = {self.speech_on:g}; it must not be"
            )


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
