"""The filter in front of every model."""

from __future__ import annotations

import numpy as np
import pytest

from fdan_edge.audio.high_pass import ORDER, HighPass, filtered

RATE = 16_000


def noise(n: int = 20_000, seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(0, 0.1, n).astype(np.float32)


@pytest.mark.parametrize(("cutoff", "rate"), [(80, 16_000), (60, 8_000), (80, 44_100), (400, 16_000)])
def test_it_is_a_butterworth_filter(cutoff: float, rate: int) -> None:
    signal = pytest.importorskip("scipy.signal")
    sections = signal.butter(ORDER, cutoff, "high", fs=rate, output="sos")
    sound = noise()
    state = signal.sosfilt_zi(sections) * sound[0]
    expected, _ = signal.sosfilt(sections, sound.astype(float), zi=state)
    np.testing.assert_allclose(filtered(sound, cutoff, rate), expected, atol=2e-4)


@pytest.mark.parametrize("step", [1, 160, 733, 4096, 19_999])
def test_blocks_change_nothing(step: int) -> None:
    sound = noise()[: 300 if step == 1 else None]
    keep = HighPass(80, RATE)
    blocks = [keep(sound[at : at + step]) for at in range(0, len(sound), step)]
    np.testing.assert_allclose(np.concatenate(blocks), filtered(sound, 80, RATE), atol=1e-7)


@pytest.mark.parametrize("offset", [0.02, -0.5, 30.0])
def test_an_offset_leaves_no_trace_from_the_first_sample_on(offset: float) -> None:
    np.testing.assert_allclose(
        filtered(noise() + np.float32(offset), 80, RATE),
        filtered(noise(), 80, RATE),
        atol=4e-6 * abs(offset) + 1e-7,
    )
    assert not filtered(np.full(5000, offset, np.float32), 80, RATE).any()


@pytest.mark.parametrize(
    ("hertz", "most", "least"), [(50, -45, -60), (60, -28, -33), (100, 0.1, -0.2), (1000, 0.1, -0.2)]
)
def test_what_passes(hertz: float, most: float, least: float) -> None:
    tone = np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE).astype(np.float32)
    rest = filtered(tone, 80, RATE)[RATE // 2 :]
    assert least < 20 * np.log10(np.abs(rest).max()) < most


def test_a_gap_begins_anew() -> None:
    keep = HighPass(80, RATE)
    keep(noise(seed=1))
    keep.restart()
    np.testing.assert_array_equal(keep(noise()), filtered(noise(), 80, RATE))


def test_no_cutoff_is_no_filter() -> None:
    sound = noise()
    assert filtered(sound, 0, RATE) is sound
