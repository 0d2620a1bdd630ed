"""Noise: its level, its colour, its seeds, and inputs with nothing in them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fdan_edge.audio.conditions.noise import (
    RATE,
    add_noise,
    babble,
    coloured_noise,
    cut_noise,
    speech_level,
    swelling,
)
from fdan_edge.audio.windows import Waveform

Generate = Callable[[int, np.random.Generator], Waveform]
KINDS: dict[str, Generate] = {
    "white": lambda length, rng: coloured_noise(length, 0.0, rng),
    "pink": lambda length, rng: coloured_noise(length, 1.0, rng),
    "babble": babble,
}


def tone(seconds: float = 1.0, level: float = 0.1) -> Waveform:
    """A tone with half as long a pause before and after it."""
    wave = level * np.sqrt(2) * np.sin(2 * np.pi * 500 * np.arange(round(seconds * RATE)) / RATE)
    return np.pad(wave, len(wave) // 2).astype(np.float32)


def slope(noise: Waveform, low: float, high: float) -> float:
    """The exponent a of a power spectrum that goes as f^a between two frequencies."""
    frames = noise[: len(noise) // 1024 * 1024].reshape(-1, 1024)
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(1024)))).mean(axis=0)
    hertz = np.fft.rfftfreq(1024, 1 / RATE)
    inside = (hertz > low) & (hertz < high)
    return float(np.polyfit(np.log(hertz[inside]), np.log(power[inside]), 1)[0])


def test_pauses_do_not_count_as_speech() -> None:
    assert speech_level(tone(level=0.1)) == pytest.approx(0.1, rel=0.02)
    assert speech_level(np.full(100, 0.5, np.float32)) == pytest.approx(0.5)  # shorter than a frame
    assert speech_level(np.zeros(5000, np.float32)) == speech_level(np.zeros(0, np.float32)) == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("snr", [20, 0, -5])
@pytest.mark.parametrize("level", [1e-3, 3000.0])
def test_the_signal_to_noise_ratio_is_as_asked(kind: str, snr: float, level: float) -> None:
    speech = tone(level=level)
    noise = add_noise(speech, KINDS[kind](len(speech), np.random.default_rng(0)), snr) - speech
    measured = 20 * np.log10(speech_level(speech) / np.sqrt(np.square(noise, dtype=np.float64).mean()))
    assert measured == pytest.approx(snr, abs=0.05)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_the_spectrum_falls_as_asked(exponent: float) -> None:
    noise = coloured_noise(8 * RATE, exponent, np.random.default_rng(0))
    assert slope(noise, 200, 7000) == pytest.approx(-exponent, abs=0.1)


def test_babble_has_the_pauses_and_the_low_spectrum_of_voices() -> None:
    noise = babble(4 * RATE, np.random.default_rng(1))
    spectrum = np.square(np.abs(np.fft.rfft(noise)))
    hertz = np.fft.rfftfreq(len(noise), 1 / RATE)
    assert spectrum[hertz < 2000].sum() > 2 * spectrum[hertz > 2000].sum()
    loudness = np.square(noise).reshape(-1, RATE // 10).mean(axis=1)
    assert loudness.max() > 10 * loudness.min()


@pytest.mark.parametrize("kind", KINDS)
def test_seeds_reproduce(kind: str) -> None:
    first, again, other = (KINDS[kind](3000, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)
    assert first.dtype == np.float32
    assert first.shape == (3000,)


def test_a_piece_of_a_recording() -> None:
    recording = np.arange(1000, dtype=np.float32)
    rng = np.random.default_rng(0)
    starts = []
    for _ in range(20):
        piece = cut_noise(recording, 100, rng)
        assert np.array_equal(np.diff(piece), np.ones(99))
        starts.append(piece[0])
    assert len(set(starts)) > 10
    long = cut_noise(recording, 2500, rng)
    assert len(long) == 2500
    assert np.array_equal(long[:1000], long[1000:2000])


def test_noise_that_swells_keeps_its_sign_and_is_never_gone() -> None:
    steady = np.ones(2 * RATE, np.float32)
    swollen = swelling(steady, np.random.default_rng(0))
    assert 0.29 < swollen.min() < 0.5 < swollen.max() <= 1.31
    assert np.abs(np.diff(swollen)).max() < 0.01


@pytest.mark.parametrize("length", [0, 1, 2, 319, 321])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_very_short(kind: str, length: int) -> None:
    noise = KINDS[kind](length, np.random.default_rng(0))
    assert noise.shape == (length,)
    noisy = add_noise(np.ones(length, np.float32), noise, 0)
    assert np.isfinite(noisy).all()
    assert swelling(noise, np.random.default_rng(0)).shape == (length,)


def test_silence_stays_silence() -> None:
    silence, noise = np.zeros(1000, np.float32), np.ones(1000, np.float32)
    assert not add_noise(silence, noise, 0).any()
    assert np.array_equal(add_noise(noise, silence, 0), noise)
