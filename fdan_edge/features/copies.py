"""Copies of recordings that a model learns from as well: far too weak ones, and ones from other surroundings."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soxr

from fdan_edge.audio import decode
from fdan_edge.audio.conditions.noise import RATE
from fdan_edge.audio.conditions.recorded import load_recordings, load_rooms
from fdan_edge.audio.conditions.surroundings import Surroundings
from fdan_edge.audio.high_pass import filtered
from fdan_edge.audio.windows import Waveform
from fdan_edge.config import Config
from fdan_edge.data.corpora import Item

_WEAK = 1e-3  # of full scale: -60 dB
#: How samples become whole steps: libsndfile rounds down.
_ROUNDING: dict[str, Callable[[Waveform], Waveform]] = {"weak": np.floor, "weakrounded": np.round}
_VERSION = 1  # of the surroundings: raise it when they change


class Copy(Protocol):
    """A way to change a recording before it is filtered, as whatever records it would.

    kind: of its features in the cache. what: for people. key: what they depend on beside settings and item.
    """

    @property
    def kind(self) -> str: ...
    @property
    def what(self) -> str: ...
    @property
    def key(self) -> dict[str, Any]: ...
    def changed(self, waveform: Waveform, item: Item) -> Waveform:
        """Return the copy, (about n,), of a recording (n,) at 16 kHz."""
        ...


@dataclass(frozen=True)
class WeakCopy:
    """A recording as 16 bits hold it 60 dB below full scale: in 33 steps up and 33 down."""

    kind: str  # one of `_ROUNDING`

    @property
    def what(self) -> str:
        return {"weak": "weak copies", "weakrounded": "weak copies, rounded"}[self.kind]

    @property
    def key(self) -> dict[str, Any]:
        return {}

    def changed(self, waveform: Waveform, item: Item) -> Waveform:  # noqa: ARG002
        centred = waveform - waveform.mean()
        peak = max(float(np.abs(centred).max()), 1e-9)
        steps: Waveform = _ROUNDING[self.kind](centred * np.float32(_WEAK * 32767 / peak))
        return steps / np.float32(32768)


@dataclass(frozen=True)
class Elsewhere:
    """A recording as it might be in noise, in a room, over a telephone or through a codec.

    number: of the copy, from 1. seed: of the training. The item's key, the number and the seed decide the rest.
    """

    number: int
    seed: int
    surroundings: Surroundings
    kind: str = "elsewhere"

    @property
    def what(self) -> str:
        return f"copies in noise and rooms, {self.number}"

    @property
    def key(self) -> dict[str, Any]:
        places = {"version": _VERSION, "digest": self.surroundings.digest}
        return {"copy": self.number, "copy_seed": self.seed, "surroundings": places}

    def changed(self, waveform: Waveform, item: Item) -> Waveform:
        digest = hashlib.sha256(os.fsencode(item.key)).digest()[:8]
        rng = np.random.default_rng([self.seed, self.number, int.from_bytes(digest, "little")])
        return self.surroundings.copy(waveform, rng)


def weak_copies() -> list[Copy]:
    """List the copies that are far too weak."""
    return [WeakCopy(kind) for kind in _ROUNDING]


def copies_elsewhere(config: Config) -> list[Copy]:
    """List as many copies in other surroundings as the settings ask for.

    Raises:
        AudioError: `noise` or `rooms` name no recording.
    """
    if not config.surroundings:
        return []
    places = _surroundings(config.noise, config.rooms)
    return [Elsewhere(number, config.seed, places) for number in range(1, config.surroundings + 1)]


def surroundings_key(config: Config) -> dict[str, Any]:
    """Return what training features depend on where they have copies in other surroundings.

    Raises:
        AudioError: as `copies_elsewhere`.
    """
    copies = copies_elsewhere(config)
    return {"surroundings": len(copies), **copies[0].key} if copies else {}


def load_copy(item: Item, config: Config, copy: Copy) -> Waveform:
    """Load a copy of a recording's speech: changed, then filtered and trimmed as recordings are, (n,).

    Raises:
        AudioError: the file is broken, or nothing of it is left.
    """
    rate = config.sample_rate
    waveform = copy.changed(decode.load(item.path, RATE), item)
    if rate != RATE:
        waveform = np.asarray(soxr.resample(waveform, RATE, rate), np.float32)
    noisy = decode.expects_noise(config.high_pass)
    return decode.prepare(filtered(waveform, config.high_pass, rate), rate, config.trim_db, noisy=noisy)


@cache
def _surroundings(noise: tuple[str, ...], rooms: tuple[str, ...]) -> Surroundings:
    return Surroundings(load_recordings([Path(p) for p in noise]), load_rooms([Path(p) for p in rooms]))
