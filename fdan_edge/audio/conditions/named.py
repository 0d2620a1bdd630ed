"""The conditions that models are scored under: each has a name, and gives every recording the same every time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from fdan_edge.audio.conditions import transmission
from fdan_edge.audio.conditions.noise import add_noise, babble, coloured_noise, cut_noise
from fdan_edge.audio.conditions.rooms import in_room, room_response
from fdan_edge.audio.windows import Waveform

#: Signal-to-noise ratios of scores, dB.
SNRS = (20, 10, 5, 0)
_ROOMS = (0.3, 0.5, 0.8)  # s of decay
_DIRECT = 0.0  # dB of the direct sound above the reverberation
_LEVELS = (-20, -40)  # dBFS of the peak
_BIT_RATES = {"opus": 12000, "mp3": 16000, "amr": 7400}  # bit/s

#: (waveform at 16 kHz, random generator) -> the recording under the condition
Change: TypeAlias = Callable[[Waveform, np.random.Generator], Waveform]
#: (samples, random generator) -> noise, (samples,)
_Noise: TypeAlias = Callable[[int, np.random.Generator], Waveform]


@dataclass(frozen=True)
class Condition:
    """One way to record a voice.

    name: for people, such as "pink noise, 10 dB". kind: clean, noise, room, line or level. change: see `Change`.
    snr_db: of noise.
    """

    name: str
    kind: str
    change: Change
    snr_db: int | None = None

    def __call__(self, waveform: Waveform, key: str) -> Waveform:
        """Return a recording under this condition; `key` names it, and decides what is random in it."""
        digest = hashlib.sha256(f"{self.name}\0{key}".encode(errors="surrogateescape")).digest()
        return self.change(waveform, np.random.default_rng(int.from_bytes(digest[:8], "little")))


def conditions(noises: Sequence[Waveform] = ()) -> list[Condition]:
    """List all conditions; with recordings of noise at 16 kHz, those too."""
    kinds: dict[str, _Noise] = {
        "white noise": lambda length, rng: coloured_noise(length, 0.0, rng),
        "pink noise": lambda length, rng: coloured_noise(length, 1.0, rng),
        "babble": babble,
    }
    if noises:
        kinds["recorded noise"] = lambda length, rng: cut_noise(_one_of(noises, rng), length, rng)
    noisy = [(f"{name}, {snr} dB", _noisy(of, snr), snr) for name, of in kinds.items() for snr in SNRS]
    return [
        Condition("clean", "clean", lambda waveform, _: waveform),
        *(Condition(name, "noise", change, snr) for name, change, snr in noisy),
        *(Condition(f"room, {decay:g} s", "room", _in_room(decay)) for decay in _ROOMS),
        Condition("telephone, 8 kHz", "line", lambda waveform, _: transmission.over_telephone(waveform)),
        *(Condition(_coded_name(name), "line", _coded(name)) for name in transmission.available_codecs()),
        *(Condition(f"peak at {level} dBFS, 16 bits", "level", _at_level(level)) for level in _LEVELS),
    ]


def _one_of(noises: Sequence[Waveform], rng: np.random.Generator) -> Waveform:
    return noises[int(rng.integers(len(noises)))]


def _noisy(noise: _Noise, snr_db: float) -> Change:
    return lambda waveform, rng: add_noise(waveform, noise(len(waveform), rng), snr_db)


def _in_room(decay_s: float) -> Change:
    return lambda waveform, rng: in_room(waveform, room_response(decay_s, _DIRECT, rng))


def _coded(name: str) -> Change:
    return lambda waveform, _: transmission.encoded(waveform, name, _BIT_RATES[name])


def _coded_name(name: str) -> str:
    return f"{'Opus' if name == 'opus' else name.upper()}, {_BIT_RATES[name] / 1000:g} kbit/s"


def _at_level(dbfs: float) -> Change:
    def change(waveform: Waveform, _: np.random.Generator) -> Waveform:
        scaled = waveform * (10 ** (dbfs / 20) / max(float(np.abs(waveform).max(initial=0)), 1e-9))
        return (np.round(scaled * 32767) / 32768).astype(np.float32)

    return change
