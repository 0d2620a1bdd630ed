"""Dataclasses to JSON and back, every value checked against the type of its field. Imports no torch.

Understands str, int, float, bool, None, unions with None, tuples, dictionaries with text as keys, dataclasses and
Any. A class that needs another form has `to_dict` and `from_dict`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

_T = TypeVar("_T")
#: Metadata of a field that came later: a file that lacks its entry has the default.
MAY_LACK = {"may lack": True}
_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}


def to_json(value: Any) -> Any:
    """Turn a dataclass into plain values: tables in the order of its fields, tuples as lists."""
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if dataclasses.is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): to_json(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(entry) for entry in value]
    return value


def from_json(kind: type[_T], value: Any, place: str = "") -> _T:
    """Read plain values as a dataclass: exactly its fields but those that a file may lack, each of its type.

    Args:
        kind: the dataclass.
        value: what `json.loads` gave.
        place: of `value` in the file, as in `artifacts[0].gate`; for messages.

    Raises:
        ValueError: an entry is missing, unknown or of another type; the message names its place.
    """
    read: _T = _read(kind, value, place)
    return read


def _read(kind: Any, value: Any, place: str) -> Any:
    origin = typing.get_origin(kind)
    if kind is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _read_union(typing.get_args(kind), value, place)
    if origin is tuple:
        return _read_tuple(typing.get_args(kind), value, place)
    if origin is dict:
        return _read_dict(typing.get_args(kind)[1], value, place)
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, value, place)
    return _read_plain(kind, value, place)


def _read_plain(kind: Any, value: Any, place: str) -> Any:
    fits = type(value) in (int, float) and math.isfinite(value) if kind is float else type(value) is kind
    if not fits:
        raise ValueError(f"{place} {_shown(value)} is not {_WORDS[kind]}")
    return value


def _read_union(kinds: tuple[Any, ...], value: Any, place: str) -> Any:
    """Read a value of one kind, or null."""
    (kind,) = (kind for kind in kinds if kind is not type(None))
    return None if value is None else _read(kind, value, place)


def _read_tuple(kinds: tuple[Any, ...], value: Any, place: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{place} {_shown(value)} is not a list")
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    if len(kinds) != len(value):
        raise ValueError(f"{place} {_shown(value)} is not {len(kinds)} values")
    pairs = enumerate(zip(kinds, value, strict=True))
    return tuple(_read(kind, entry, f"{place}[{index}]") for index, (kind, entry) in pairs)


def _read_dict(kind: Any, value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{place} {_shown(value)} is not a table")
    return {name: _read(kind, entry, f"{place}[{name!r}]") for name, entry in value.items()}


def _read_dataclass(kind: Any, value: Any, place: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{place or 'the file'} {_shown(value)} is not a table")
    if hasattr(kind, "from_dict"):
        return kind.from_dict(value)
    hints = _hints(kind)
    later = {field.name for field in dataclasses.fields(kind) if MAY_LACK.items() <= field.metadata.items()}
    for name in (*hints, *value):
        if (name not in value and name not in later) or name not in hints:
            problem = f"no {name!r}" if name not in value else f"unknown entry {name!r}"
            raise ValueError(f"{problem} in {place}" if place else problem)
    prefix = f"{place}." if place else ""
    values = {name: _read(hint, value[name], prefix + name) for name, hint in hints.items() if name in value}
    try:
        return kind(**values)
    except ValueError as error:  # of its own check
        raise ValueError(f"{place}: {error}") from None


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    """Give the types of a dataclass's fields, in order."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _shown(value: Any) -> str:
    """Show a wrong value in a message, of whatever length."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
