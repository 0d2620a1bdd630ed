"""Rooms: their responses are generated, or measured ones are read."""

from __future__ import annotations

import numpy as np

from fdan_edge.audio.conditions.noise import RATE, speech_level
from fdan_edge.audio.windows import Waveform

LONGEST_RESPONSE = 1.5  # s of a response
_KEPT = 0.1  # s of what rings on after the recording's end


def room_response(decay_s: float, direct_db: float, rng: np.random.Generator) -> Waveform:
    """Generate the response of a room: a direct sound, and after 2 to 20 ms noise that decays (Polack 1988).

    Args:
        decay_s: s in which the reverberation falls by 60 dB, above 0.01. High frequencies are absorbed sooner.
        direct_db: level of the direct sound above that of the reverberation, dB.
        rng: gives the noise and the delay.
    """
    length = int(min(1.2 * decay_s, LONGEST_RESPONSE) * RATE)
    time = np.arange(length) / RATE
    delay = min(int(rng.uniform(0.002, 0.02) * RATE), length // 2)  # or a very short decay would be over
    low = rng.normal(size=length) * 10 ** (-3 * time / decay_s)
    high = np.diff(rng.normal(size=length) * 10 ** (-3 * time / (0.6 * decay_s)), prepend=0)
    response = low + 0.5 * high
    response[:delay] = 0
    response *= np.sqrt(10 ** (-direct_db / 10) / np.square(response).sum())
    response[0] = 1
    return response.astype(np.float32)


def in_room(waveform: Waveform, response: Waveform) -> Waveform:
    """Return speech (n,) as it sounds in a room, (n + 0.1 s,), at the level that it had."""
    length = len(waveform) + int(_KEPT * RATE)
    size = 1 << (len(waveform) + len(response)).bit_length()
    spectrum = np.fft.rfft(waveform, size) * np.fft.rfft(response, size)
    rung: Waveform = np.fft.irfft(spectrum, size)[:length].astype(np.float32)
    return rung * np.float32(speech_level(waveform) / max(speech_level(rung), 1e-9))
