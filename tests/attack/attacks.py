"""The list of attacks; a new one is a function in one of these modules."""

from __future__ import annotations

from tests.attack import access, connections, corpora, crowds, frames, models, runs, sounds, writing
from tests.attack.attack import Attack

_MODULES = (access, connections, crowds, frames, models, runs, sounds, corpora, writing)

#: By name, in the order in which they run.
ATTACKS: dict[str, Attack] = {
    one.name: one
    for module in _MODULES
    for one in (
        *(value for value in vars(module).values() if isinstance(value, Attack)),
        *getattr(module, "GRAPHS", ()),
    )
}
