"""Mel bands and windows are librosa's, bit for bit."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from fdan_edge.models.mel_filters import hann, mel_filters, mel_frequencies

librosa = pytest.importorskip("librosa")


@pytest.mark.parametrize("rate", [1000, 1900, 8000, 11025, 16000, 22050, 24000, 44100, 48000])
@pytest.mark.parametrize("n_fft", [64, 400, 512, 1000, 1024, 2048])
def test_filters_equal_librosas(rate: int, n_fft: int) -> None:
    for n_mels in (1, 20, 32, 64, 80, 128):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # librosa's, about mel bands without a frequency
            expected = librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=n_mels)
        found = mel_filters(rate, n_fft, n_mels)
        assert found.dtype == expected.dtype == np.float32
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("highest", [500.0, 1000.0, 4000.0, 5512.5, 8000.0, 22050.0])
@pytest.mark.parametrize("count", [2, 3, 34, 82, 130])
def test_frequencies_equal_librosas(highest: float, count: int) -> None:
    expected = librosa.mel_frequencies(count, fmin=0, fmax=highest)
    np.testing.assert_array_equal(mel_frequencies(count, highest), expected)


@pytest.mark.parametrize("length", [2, 3, 64, 255, 400, 512, 1000, 1024, 2048])
def test_the_window_equals_librosas(length: int) -> None:
    expected = librosa.filters.get_window("hann", length, fftbins=True)
    np.testing.assert_array_equal(hann(length), expected)
