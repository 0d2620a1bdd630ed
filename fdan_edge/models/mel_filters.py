"""Mel bands and a Hann window, equal to librosa's bit for bit.

Importing librosa compiles with numba, which wants to write beside librosa or into the home of who runs it. Where
both are read-only, as in many containers, that fails.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Slaney's scale (Auditory Toolbox, 1998): linear up to 1 kHz, then 27 bands for a factor of 6.4.
_STEP = 200.0 / 3  # Hz
_BEND = 1000.0  # Hz
_LOG_STEP = np.log(6.4) / 27.0

Array = NDArray[np.float64]


def mel_frequencies(count: int, highest: float) -> Array:
    """Return `count` frequencies in Hz, evenly spaced on Slaney's mel scale from 0 to `highest`."""
    bend = _BEND / _STEP
    top = highest / _STEP if highest < _BEND else bend + np.log(highest / _BEND) / _LOG_STEP
    mels = np.linspace(0.0, top, count)
    hertz = _STEP * mels
    above = mels >= bend
    hertz[above] = _BEND * np.exp(_LOG_STEP * (mels[above] - bend))
    return np.asarray(hertz)


def mel_filters(sample_rate: int, n_fft: int, n_mels: int) -> NDArray[np.float32]:
    """Return the weight of each frequency of a DFT in each mel band, (n_mels, 1 + n_fft // 2).

    Bands are triangles from 0 to half the sample rate, each with an area of 1 Hz. A band that is narrower than the
    step between two frequencies may have no weight at all.
    """
    edges = mel_frequencies(n_mels + 2, sample_rate / 2)
    widths = np.diff(edges)
    ramps = np.subtract.outer(edges, np.fft.rfftfreq(n_fft, 1 / sample_rate))
    rising = -ramps[:-2] / widths[:-1, None]
    falling = ramps[2:] / widths[1:, None]
    # librosa rounds to 32 bits before the area counts and after: so does this.
    filters: NDArray[np.float32] = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    filters *= (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return filters


def hann(length: int) -> Array:
    """Return the periodic Hann window of so many samples."""
    turn = np.linspace(-np.pi, np.pi, length + 1)[:-1]
    return np.asarray(0.5 + 0.5 * np.cos(turn))
