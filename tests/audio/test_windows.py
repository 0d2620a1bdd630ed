"""Trimming and windowing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from fdan_edge.audio import decode
from fdan_edge.audio.windows import cut_windows, trim, window_batches, window_batches_of_blocks
from tests.audio.test_decode import RATE, tone

# --- trim ---


def bursts(seed: int) -> NDArray[np.float32]:
    """Noise of random length whose loudness changes by the tenth of a second."""
    chance = np.random.default_rng(seed)
    n = int(chance.integers(800, 40000))
    steps = 10 ** chance.uniform(-5, 0, n // 1600 + 1)
    return (chance.standard_normal(n) * np.repeat(steps, 1600)[:n] * 0.1).astype(np.float32)


@pytest.mark.parametrize("top_db", [20.0, 40.0, 60.0])
@pytest.mark.parametrize("seed", range(12))
def test_trim_equals_librosa(seed: int, top_db: float) -> None:
    librosa = pytest.importorskip("librosa")

    waveform = bursts(seed)
    _, (first, end) = librosa.effects.trim(waveform * 1000, top_db=top_db)  # far above librosa's absolute floor
    np.testing.assert_array_equal(trim(waveform, top_db), waveform[first:end])


@pytest.mark.parametrize("length", [1, 511, 512, 513, 1023, 1024, 2047, 2048, 2049, 5120])
def test_trim_equals_librosa_at_every_frame_edge(length: int) -> None:
    librosa = pytest.importorskip("librosa")

    waveform = np.zeros(length, np.float32)
    waveform[length // 2] = 1
    expected, _ = librosa.effects.trim(waveform, top_db=40)
    np.testing.assert_array_equal(trim(waveform, 40), expected)


def test_trim_of_zero_keeps_the_ends(tmp_path: Path) -> None:
    waveform = np.concatenate([np.zeros(8000, np.float32), tone(), np.zeros(8000, np.float32)])
    soundfile.write(tmp_path / "a.wav", waveform, RATE, subtype="FLOAT")
    assert len(decode.load_speech(tmp_path / "a.wav", trim_db=0)) == 2 * RATE
    assert RATE // 2 < len(decode.load_speech(tmp_path / "a.wav", trim_db=40)) < 1.2 * RATE


# --- windows ---


@pytest.mark.parametrize("size", [1, 2, 7, 10])
@pytest.mark.parametrize("hop", [1, 3, 7, 10])
def test_windows_cover_all_samples(size: int, hop: int) -> None:
    for length in range(1, 45):
        waveform = np.arange(1, length + 1, dtype=np.float32)
        cut = cut_windows(waveform, size, hop)
        assert cut.dtype == np.float32
        assert cut.shape[1] == size
        if length <= size:
            assert len(cut) == 1
            before = int((cut[0] == 0).argmin())
            np.testing.assert_array_equal(cut[0, before : before + length], waveform)
            assert abs(2 * before + length - size) <= 1  # centred
            continue
        assert cut[-1, -1] == waveform[-1]
        np.testing.assert_array_equal(np.diff(cut[:, 0])[:-1], hop)
        assert len(cut) == -(-(length - size) // hop) + 1
        if hop <= size:
            assert {*cut.ravel()} == {*waveform}


@pytest.mark.parametrize("batch", [0, 1, 2, 3, 100])
def test_batches_of_windows_are_the_windows(batch: int) -> None:
    waveform = np.arange(100, dtype=np.float32)
    batches = list(window_batches(waveform, 10, 7, batch))
    assert all(len(b) <= (batch or 100) for b in batches)
    np.testing.assert_array_equal(np.concatenate(batches), cut_windows(waveform, 10, 7))


@pytest.mark.parametrize("batch", [1, 3, 16])
@pytest.mark.parametrize("step", [1, 7, 33, 1000])
@pytest.mark.parametrize("bounds", [(0, 100), (13, 99), (50, 61)])
def test_windows_of_blocks_are_those_of_the_whole(batch: int, step: int, bounds: tuple[int, int]) -> None:
    waveform = np.arange(100, dtype=np.float32)
    blocks = (waveform[at : at + step] for at in range(0, 100, step))
    cut = np.concatenate(list(window_batches_of_blocks(blocks, bounds, 10, 7, batch)))
    np.testing.assert_array_equal(cut, cut_windows(waveform[slice(*bounds)], 10, 7))


@pytest.mark.parametrize("gain", [1e-3, 1e-2, 30.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_level_changes_nothing_of_what_is_trimmed(seed: int, gain: float) -> None:
    waveform = bursts(seed)
    assert len(trim(waveform * np.float32(gain), 40)) == len(trim(waveform, 40))


@pytest.mark.parametrize("at", [0, 800, 3000, 8000, 35000])
def test_a_click_beside_the_speech_is_cut_with_the_silence_around_it(at: int) -> None:
    silence = np.random.default_rng(0).normal(0, 1e-4, 40000).astype(np.float32)
    silence[12000:28000] += 0.05 * tone()
    expected = trim(silence, 40)
    clicked = silence.copy()
    clicked[at : at + 20] = 0.99
    np.testing.assert_array_equal(trim(clicked, 40, noisy=True), expected)
    assert len(trim(clicked, 40)) != len(expected)  # as models from before have it


def test_a_recording_of_one_click_keeps_it() -> None:
    waveform = np.zeros(RATE, np.float32)
    waveform[5000:5020] = 0.9
    assert trim(waveform, 40, noisy=True).max() == np.float32(0.9)


@pytest.mark.parametrize("noise_db", [-25, -22])
def test_noise_before_and_after_speech_is_cut(noise_db: float) -> None:
    speech = np.pad(0.4 * np.sin(np.arange(RATE) / 5) * np.hanning(RATE) ** 0.2, (RATE, RATE))
    noise = np.random.default_rng(0).normal(0, 0.28 * 10 ** (noise_db / 20), len(speech))
    waveform = (speech + noise).astype(np.float32)
    assert len(trim(waveform, 30)) == len(waveform)
    assert 0.9 * RATE < len(trim(waveform, 30, noisy=True)) < 1.2 * RATE


def test_speech_without_a_pause_is_not_taken_for_noise() -> None:
    waveform = (0.3 * np.sin(np.arange(2 * RATE) / 5) * np.linspace(0.3, 1, 2 * RATE)).astype(np.float32)
    assert len(trim(waveform, 30, noisy=True)) > 1.9 * RATE
