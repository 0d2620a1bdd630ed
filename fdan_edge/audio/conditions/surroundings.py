"""Draw at random where and how a copy of a recording might have been made: what models are trained on besides."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from fdan_edge.audio.conditions import transmission
from fdan_edge.audio.conditions.noise import add_noise, babble, coloured_noise, cut_noise, swelling
from fdan_edge.audio.conditions.rooms import in_room, room_response
from fdan_edge.audio.windows import Waveform

# How often copies have each, and how much of it.
_IN_ROOM, _DECAY, _DIRECT = 0.4, (0.15, 0.8), (-3.0, 8.0)  # s; dB
_IN_NOISE, _SNR = 0.8, (-2.0, 25.0)  # dB
_RECORDED, _BABBLE, _SWELLING = 0.5, 0.4, 0.3  # of the noise: recorded where there is some; of the rest babble
_CLIPPED, _CLIPPING = 0.1, (0.002, 0.05)  # share of the samples
_SENT = 0.4  # over a telephone, through a codec or a narrow band


@dataclass(frozen=True)
class Surroundings:
    """Where copies are recorded.

    noises: recordings of noise at 16 kHz. rooms: responses of rooms at 16 kHz. Where there are none, both are
    generated.
    """

    noises: Sequence[Waveform] = ()
    rooms: Sequence[Waveform] = ()

    def copy(self, waveform: Waveform, rng: np.random.Generator) -> Waveform:
        """Return a recording (n,) at 16 kHz as it might be elsewhere, (about n,)."""
        if rng.random() < _IN_ROOM:
            waveform = in_room(waveform, self._room(rng))
        if rng.random() < _IN_NOISE:
            waveform = add_noise(waveform, self._noise(len(waveform), rng), rng.uniform(*_SNR))
        if rng.random() < _CLIPPED:
            waveform = transmission.clipped(waveform, rng.uniform(*_CLIPPING))
        return _sent(waveform, rng) if rng.random() < _SENT else waveform

    @cached_property
    def digest(self) -> str:
        """What identifies the noise, the rooms and the codecs that copies depend on."""
        sha = hashlib.sha256(" ".join(_codecs()).encode())
        for recording in (*self.noises, *self.rooms):
            sha.update(f"{len(recording)} ".encode() + recording.tobytes())
        return sha.hexdigest()[:16]

    def _room(self, rng: np.random.Generator) -> Waveform:
        if self.rooms:
            return self.rooms[int(rng.integers(len(self.rooms)))]
        return room_response(rng.uniform(*_DECAY), rng.uniform(*_DIRECT), rng)

    def _noise(self, length: int, rng: np.random.Generator) -> Waveform:
        if self.noises and rng.random() < _RECORDED:
            noise = cut_noise(self.noises[int(rng.integers(len(self.noises)))], length, rng)
        elif rng.random() < _BABBLE:
            noise = babble(length, rng)
        else:
            noise = coloured_noise(length, rng.uniform(-0.5, 2.2), rng)
        return swelling(noise, rng) if rng.random() < _SWELLING else noise


def _sent(waveform: Waveform, rng: np.random.Generator) -> Waveform:
    """Send a recording over a telephone, through a codec or a narrow band, each as often."""
    ways: list[Callable[[], Waveform]] = [
        lambda: transmission.over_telephone(waveform),
        lambda: transmission.band_limited(waveform, float(rng.choice([0, 200, 300])), rng.uniform(2500, 7000)),
        *(lambda name=name: _encoded(waveform, name, rng) for name in _codecs()),
    ]
    return ways[int(rng.integers(len(ways)))]()


def _encoded(waveform: Waveform, name: str, rng: np.random.Generator) -> Waveform:
    return transmission.encoded(waveform, name, int(rng.choice(transmission.CODECS[name].bit_rates)))


@cache
def _codecs() -> tuple[str, ...]:
    return tuple(transmission.available_codecs())
