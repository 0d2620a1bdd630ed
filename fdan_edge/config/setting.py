"""How a setting is said: its default, range, choices and text, once, where the group declares it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from fdan_edge.errors import ConfigError, unknown_choice

T = TypeVar("T")

_KEY = "setting"


# Dataclasses, not pydantic: devices would need pydantic too, it takes longer to import than all of this package
# may, and its messages would have to be rewritten to name the wrong value and the valid ones in one line.
@dataclass(frozen=True)
class Setting:
    """What is known of a setting besides its name, type and default.

    Args:
        text: what it does, for people.
        choices: the valid values; None: any.
        low: the lowest number that makes sense.
        high: the highest.
        decisive: whether a training's result depends on it.
    """

    text: str
    choices: Collection[str] | None = None
    low: float | None = None
    high: float | None = None
    decisive: bool = True

    def check(self, name: str, value: Any) -> None:
        """Raise ConfigError where a value is none of the choices or out of range."""
        if self.choices is not None and value not in self.choices:
            raise ConfigError(unknown_choice(name, str(value), tuple(self.choices)))
        if self.low is not None and self.high is not None and not self.low <= value <= self.high:
            raise ConfigError(f"{name} = {value} is out of range; valid: {self.low:g} to {self.high:g}")


def setting(
    default: T,
    text: str,
    *,
    choices: Collection[str] | None = None,
    low: float | None = None,
    high: float | None = None,
    decisive: bool = True,
) -> T:
    """Declare a setting as a dataclass field.

    Args:
        default: its default; the setting has its type.
        text: see `Setting`, as the others.
        choices: the valid texts.
        low: a number needs both ends of its range.
        high: as `low`.
        decisive: whether a training's result depends on it.

    Raises:
        TypeError: a number without a range, which would take -1.
    """
    if type(default) in (int, float) and (low is None or high is None):
        raise TypeError(f"the setting {text!r} is a number and needs low and high")
    return dataclasses.field(default=default, metadata={_KEY: Setting(text, choices, low, high, decisive)})


def about(field: dataclasses.Field[Any]) -> Setting:
    """Return what `setting` declared of a field."""
    return cast("Setting", field.metadata[_KEY])


@dataclass(frozen=True)
class Settings:
    """Base of the groups: checks every value, then what a group says of its settings together."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            about(field).check(field.name, getattr(self, field.name))
        self.check()

    def check(self) -> None:
        """Raise ConfigError where settings do not go together; each group calls the next one's."""
