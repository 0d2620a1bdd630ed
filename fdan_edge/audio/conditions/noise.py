"""Noise: generated, or cut from recordings of it, and added to speech at a signal-to-noise ratio."""

from __future__ import annotations

import numpy as np

from fdan_edge.audio.windows import Waveform

RATE = 16_000  # Hz, of everything here
_FRAME = 320  # samples, 20 ms
_SPEECH = 10 ** (-30 / 10)  # of the loudest frame's power: frames above are speech
_LOWEST = 50.0  # Hz below which coloured noise does not grow further
_STEP = 160  # samples between two points of a talker's spectrum
_FORMANTS = ((300, 800, 90, 1.0), (900, 2300, 130, 0.6), (2200, 3200, 200, 0.3))  # Hz from, to, bandwidth; gain
_HIGHEST = 4000.0  # Hz of a talker's harmonics


def speech_level(waveform: Waveform) -> float:
    """Measure the root mean square of what is speech: frames of 20 ms within 30 dB of the loudest."""
    if not len(waveform):
        return 0.0
    frames = waveform[: len(waveform) // _FRAME * _FRAME].reshape(-1, _FRAME)
    power = np.square(frames if len(frames) else waveform[None], dtype=np.float64).mean(axis=1)
    return float(np.sqrt(power[power >= power.max() * _SPEECH].mean()))


def add_noise(waveform: Waveform, noise: Waveform, snr_db: float) -> Waveform:
    """Add noise (n,) to speech (n,) so that its level is `snr_db` below the level of the speech."""
    power = float(np.square(noise, dtype=np.float64).mean()) if len(noise) else 0.0
    if not power:
        return waveform
    gain = speech_level(waveform) / np.sqrt(power) * 10 ** (-snr_db / 20)
    noisy: Waveform = (waveform + noise * gain).astype(np.float32)
    return noisy


def coloured_noise(length: int, slope: float, rng: np.random.Generator) -> Waveform:
    """Generate Gaussian noise (length,) whose power goes as 1/f^slope: 0 is white, 1 pink, 2 brown noise."""
    if not length:
        return np.zeros(0, np.float32)
    count = length // 2 + 1
    spectrum = rng.normal(size=count) + 1j * rng.normal(size=count)
    hertz = np.maximum(np.fft.rfftfreq(length, 1 / RATE), _LOWEST)
    return np.fft.irfft(spectrum * hertz ** (-slope / 2), length).astype(np.float32)


def babble(length: int, rng: np.random.Generator) -> Waveform:
    """Generate two to six voices that talk at once (length,): harmonics and hiss under formants that move.

    They say nothing and mean no emotion. So unlike babble of real recordings it gives no hint of a class.
    """
    count = int(rng.integers(2, 7))
    if not length:
        return np.zeros(0, np.float32)
    voices = [_talker(length, rng) * 10 ** (rng.uniform(-8, 0) / 20) for _ in range(count)]
    mixed: Waveform = np.sum(voices, axis=0).astype(np.float32)
    return mixed


def cut_noise(recording: Waveform, length: int, rng: np.random.Generator) -> Waveform:
    """Cut a piece (length,) out of a recording of noise, from anywhere; a short one is repeated."""
    repeated = np.tile(recording, -(-length // len(recording)))
    start = int(rng.integers(len(repeated) - length + 1))
    return repeated[start : start + length]


def swelling(noise: Waveform, rng: np.random.Generator) -> Waveform:
    """Let noise (n,) grow and fade at random, every 0.1 to 1 s, down to a third."""
    gain = 0.3 + np.clip(random_walk(len(noise), rng, -0.5, 1.0, rng.uniform(0.1, 1.0)), 0, 1)
    swollen: Waveform = (noise * gain).astype(np.float32)
    return swollen


def random_walk(
    length: int, rng: np.random.Generator, low: float, high: float, seconds: float, rate: float = RATE
) -> np.ndarray:
    """Generate a line (length,) through points between `low` and `high` that are `seconds` apart."""
    step = seconds * rate
    points = rng.uniform(low, high, max(2, int(length / step) + 2))
    line: np.ndarray = np.interp(np.arange(length), np.arange(len(points)) * step, points)
    return line


def _talker(length: int, rng: np.random.Generator) -> np.ndarray:
    """Generate one voice (length,) of syllables and pauses."""
    pitch = float(np.exp(rng.uniform(np.log(90), np.log(260))))
    phase = 2 * np.pi * np.cumsum(pitch * np.exp(random_walk(length, rng, -0.25, 0.25, 0.25))) / RATE
    gains, points = _spectrum(length, pitch, rng), np.linspace(0, 1, length)
    at = np.linspace(0, 1, gains.shape[1])
    voiced = np.zeros(length)
    for number, gain in enumerate(gains, start=1):
        voiced += np.interp(points, at, gain) * np.sin(number * phase)
    hiss = coloured_noise(length, -1, rng)
    hiss *= 0.3 * np.sqrt(np.square(voiced).mean() / max(float(np.square(hiss).mean()), 1e-12))
    syllables = np.clip(random_walk(length, rng, -0.6, 1.2, 0.11), 0, 1)
    consonants = np.clip(random_walk(length, rng, -1.5, 1.0, 0.13), 0, 1)
    phrases = np.clip(random_walk(length, rng, -0.4, 1.5, 1.3), 0, 1)
    voice: np.ndarray = (voiced * syllables + hiss * consonants) * phrases
    return voice


def _spectrum(length: int, pitch: float, rng: np.random.Generator) -> np.ndarray:
    """Generate gains of the harmonics of a voice, (harmonics, points)."""
    count = length // _STEP + 2
    hertz = np.arange(1, int(_HIGHEST / (1.3 * pitch)) + 1)[:, None] * pitch
    gains = np.full((len(hertz), count), 0.02)
    for low, high, width, gain in _FORMANTS:
        centre = random_walk(count, rng, low, high, 0.16, rate=RATE / _STEP)
        gains += gain / (1 + np.square((hertz - centre) / width))
    tilted: np.ndarray = gains * np.sqrt(500 / np.maximum(hertz, 500))
    return tilted
