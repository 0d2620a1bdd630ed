"""The list of attacks; a new one is a function in one of these modules."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

from tests.attack import access, connections, corpora, crowds, frames, models, runs, sounds, writing
from tests.attack.attack import Attack

_SERVER = (access, connections, crowds, frames)
_COMMANDS = (writing, runs, models, sounds, corpora)  # the longest first


def _of(module: ModuleType) -> list[Attack]:
    own = [value for value in vars(module).values() if isinstance(value, Attack)]
    return own + getattr(module, "GRAPHS", [])


#: By name.
ATTACKS: dict[str, Attack] = {one.name: one for module in _SERVER for one in _of(module)}
ATTACKS |= {one.name: replace(one, beside=True) for module in _COMMANDS for one in _of(module)}
