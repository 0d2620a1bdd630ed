"""Lines and codecs: their bands, their round trip, and what passes them that is hardly sound."""

from __future__ import annotations

import numpy as np
import pytest

from fdan_edge.audio.conditions import transmission
from fdan_edge.audio.conditions.noise import RATE, coloured_noise
from fdan_edge.audio.conditions.transmission import (
    CODECS,
    available_codecs,
    band_limited,
    clipped,
    encoded,
    over_telephone,
)
from fdan_edge.audio.windows import Waveform
from fdan_edge.errors import MissingDependencyError


def gain(before: Waveform, after: Waveform, hertz: float) -> float:
    """How much louder, in dB, a third of an octave around a frequency is."""
    frequencies = np.fft.rfftfreq(len(before), 1 / RATE)
    band = (frequencies > hertz / 1.12) & (frequencies < hertz * 1.12)
    power = [np.square(np.abs(np.fft.rfft(sound)[band])).sum() for sound in (before, after)]
    return float(10 * np.log10(power[1] / power[0]))


def octave(sound: Waveform, hertz: float) -> float:
    """The level of an octave around a frequency, dB."""
    frequencies = np.fft.rfftfreq(len(sound), 1 / RATE)
    band = (frequencies > hertz / 1.41) & (frequencies < hertz * 1.41)
    power = np.square(np.abs(np.fft.rfft(sound.astype(np.float64))[band])).sum() / len(sound) ** 2
    return float(10 * np.log10(power))


def speechlike(seconds: float = 1.0) -> Waveform:
    """Harmonics of 150 Hz that come and go."""
    time = np.arange(round(seconds * RATE)) / RATE
    voice = sum(np.sin(2 * np.pi * 150 * n * time) / n for n in range(1, 20))
    return (0.2 * voice * (1 + np.sin(2 * np.pi * 4 * time))).astype(np.float32)


@pytest.fixture(scope="module")
def white() -> Waveform:
    return coloured_noise(4 * RATE, 0.0, np.random.default_rng(0)) * np.float32(0.1 / 0.004)


def test_a_telephone_passes_300_to_3400_hz(white: Waveform) -> None:
    heard = over_telephone(white)
    assert heard.shape == white.shape
    for hertz in (500, 1000, 2000, 3000):
        assert gain(white, heard, hertz) == pytest.approx(0, abs=1)
    assert gain(white, heard, 100) < -20
    assert gain(white, heard, 6000) < -20
    assert np.array_equal(heard, over_telephone(white))


def test_a_band(white: Waveform) -> None:
    heard = band_limited(white, 200, 3000)
    assert gain(white, heard, 1000) == pytest.approx(0, abs=0.1)
    assert gain(white, heard, 100) == pytest.approx(-24, abs=2)  # an octave below
    assert gain(white, heard, 6000) == pytest.approx(-48, abs=3)  # an octave above
    assert gain(white, band_limited(white, 0, 3000), 50) == pytest.approx(0, abs=0.1)


def test_the_share_that_is_asked_for_is_clipped(white: Waveform) -> None:
    cut = clipped(white, 0.05)
    assert (np.abs(white) > np.abs(cut).max() + 1e-9).mean() == pytest.approx(0.05, abs=0.001)
    assert np.array_equal(cut[np.abs(white) < 0.01], white[np.abs(white) < 0.01])


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("level", [1.0, 1e-3, 3e4])
def test_a_codec_gives_back_what_it_got(name: str, level: float) -> None:
    pytest.importorskip("av")
    sound = speechlike() * np.float32(level)
    rate = CODECS[name].bit_rates[-1]
    heard = encoded(sound, name, rate)
    assert abs(len(heard) - len(sound)) < 0.15 * RATE
    # Codecs delay sound, and AMR shifts phases: the octaves' levels are compared, above the 200 Hz that AMR loses.
    for hertz in (300, 600, 1200, 2400):
        assert octave(heard, hertz) == pytest.approx(octave(sound, hertz), abs=4), hertz
    assert np.std(heard) == pytest.approx(np.std(sound), rel=0.3)
    assert not np.allclose(heard[: len(sound)], sound[: len(heard)])
    assert np.array_equal(heard, encoded(sound, name, rate))


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("length", [0, 1, 100])
def test_codecs_bear_next_to_nothing(name: str, length: int) -> None:
    pytest.importorskip("av")
    for level in (0.0, 1.0, 1e20):
        heard = encoded(np.full(length, level, np.float32), name, CODECS[name].bit_rates[0])
        assert heard.dtype == np.float32
        assert np.isfinite(heard).all()


@pytest.mark.parametrize("length", [0, 1, 3, 100])
def test_lines_bear_next_to_nothing(length: int) -> None:
    for level in (0.0, 1e-9, 1e20):
        sound = np.full(length, level, np.float32)
        for heard in (over_telephone(sound), band_limited(sound, 200, 3000), clipped(sound, 0.05)):
            assert heard.shape == (length,)
            assert heard.dtype == np.float32
            assert np.isfinite(heard).all()


def test_without_pyav_there_is_no_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    assert available_codecs() == list(CODECS)
    monkeypatch.setattr(transmission, "is_installed", lambda: False)
    assert available_codecs() == []
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(MissingDependencyError, match="the codec opus"):
        encoded(speechlike(0.1), "opus", 12000)
