"""Compute the mel power of a live stream, each frame once, with numpy in double precision. Imports no torch.

The sum of squares that a front end (`fdan_edge.models.log_mel.LogMel`) makes of each frame before it takes a
logarithm depends on that frame's samples only. So frames that windows share are kept. Only the frames that reach
beyond a window, where its samples are zeros, are computed for each window.
"""

from __future__ import annotations

from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from fdan_edge.runtime.log_mel import FrameRunner, FrontEnd
from fdan_edge.runtime.runner import Probabilities, checked_windows

Samples = NDArray[np.float32]

_AT_ONCE = 32  # frames: more fall out of the cache, and a long first window would raise the memory for good


def mel_power(windows: NDArray[np.float32], frontend: FrontEnd) -> NDArray[np.float32]:
    """Compute the linear part of a front end over whole windows: (n, samples) to power (n, n_mels, frames)."""
    half = frontend.n_fft // 2
    padded = np.pad(windows, ((0, 0), (half, half)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, frontend.n_fft, axis=1)[:, :: frontend.hop]
    power = MelFilterbank(frontend)(frames.reshape(-1, frontend.n_fft))
    return power.reshape(*frames.shape[:2], -1).transpose(0, 2, 1)


class MelFilterbank:
    """Computes the mel power of single frames, in double precision.

    Args:
        frontend: of the model.
    """

    def __init__(self, frontend: FrontEnd) -> None:
        self._hann = np.hanning(frontend.n_fft + 1)[:-1]  # periodic
        # A band has few bins of its own: their sums take a tenth of a matrix product, and wake no other thread.
        bands = [np.flatnonzero(band) if band.any() else np.array([0]) for band in frontend.filters]
        self._bins = np.concatenate(bands)
        self._starts = np.cumsum([0, *map(len, bands[:-1])])
        weights = [band[bins] for band, bins in zip(frontend.filters, bands, strict=True)]
        self._weights = np.concatenate(weights).astype(np.float64)

    def __call__(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert frames (n, n_fft) to power (n, n_mels)."""
        mel = np.empty((len(frames), len(self._starts)), np.float32)
        for first in range(0, len(frames), _AT_ONCE):
            spectrum = np.fft.rfft(frames[first : first + _AT_ONCE] * self._hann)
            power = np.square(spectrum.real) + np.square(spectrum.imag)
            weighted = power[:, self._bins] * self._weights
            mel[first : first + _AT_ONCE] = np.add.reduceat(weighted, self._starts, axis=1)
        return mel


class WholeWindowRunner:
    """Wraps a `FrameRunner` as a `Runner`, which computes every window on its own."""

    def __init__(self, runner: FrameRunner) -> None:
        self.runner, self.name, self.spec = runner, runner.name, runner.spec

    def predict(self, waveforms: NDArray[np.float32]) -> Probabilities:
        """Infer the probabilities (n, C) of windows (n, spec.window)."""
        return self.runner.predict_power(mel_power(checked_windows(waveforms, self.spec), self.runner.frontend))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class RingBuffer:
    """Keeps the last samples of a stream, by their number since its start.

    Args:
        capacity: samples that are kept at least.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._kept = np.zeros(2 * capacity, np.float32)
        self._filled = 0
        self.end = 0  # number of the next sample

    def append(self, samples: Samples) -> None:
        """Add samples (n,), n at most the capacity."""
        if self._filled + len(samples) > len(self._kept):
            recent = self._kept[self._filled - self._capacity : self._filled].copy()
            self._kept[: self._capacity] = recent
            self._filled = self._capacity
        self._kept[self._filled : self._filled + len(samples)] = samples
        self._filled += len(samples)
        self.end += len(samples)

    def skip(self, samples: int) -> None:
        """Skip so many lost samples, and drop those before them."""
        self.end += samples
        self._filled = 0

    def rescale(self, factor: float) -> None:
        """Multiply all samples that are kept: they turned out to be of another scale."""
        self._kept *= np.float32(factor)

    def get(self, start: int, end: int) -> Samples:
        """Return samples start..end (end excluded), a view that lasts until the next `append`.

        Raises:
            IndexError: they are no longer in the buffer, or not yet.
        """
        first = self._filled - (self.end - start)
        if first < 0 or end > self.end or start > end:
            raise IndexError(
                f"samples {start} to {end} of a ring that holds {self.end - self._filled} to {self.end}"
            )
        return self._kept[first : first + end - start]


class IncrementalMel:
    """Computes the mel power of windows of a stream; frames that windows share are computed once.

    Args:
        frontend: of the model.
    """

    def __init__(self, frontend: FrontEnd) -> None:
        self.frontend = frontend
        self._power = MelFilterbank(frontend)
        self._kept = np.zeros((frontend.frames, len(frontend.filters)), np.float32)  # by frame number, in a ring
        self._known = (0, 0)  # numbers of the frames in it, the last excluded

    def forget(self) -> None:
        """Forget all frames: the samples of the ring have been multiplied."""
        self._known = (0, 0)

    def window(self, ring: RingBuffer, start: int, end: int) -> NDArray[np.float32]:
        """Return the mel power (n_mels, frames) of samples start..end, multiples of the hop, centred in zeros."""
        hop, half = self.frontend.hop, self.frontend.n_fft // 2
        power = np.zeros(self._kept.shape, np.float32)
        spare = (self.frontend.frames - 1) * hop - (end - start)
        first = spare // 2 // hop  # of the window's frames, the one that is centred on `start`
        reach = -(-half // hop)  # frames on either side of an edge that have samples of both sides
        number, last = start // hop, end // hop
        inner = (number + reach, max(number + reach, last - reach + 1))
        self._compute(ring, *inner)
        rows = np.arange(*inner)
        power[rows - number + first] = self._kept[rows % len(self._kept)]
        edges = [n for n in range(number - reach + 1, last + reach) if not inner[0] <= n < inner[1]]
        edges = [n for n in edges if 0 <= n - number + first < len(power)]
        power[np.array(edges, int) - number + first] = self._edges(ring.get(start, end), np.array(edges) - number)
        return np.ascontiguousarray(power.T)

    def _compute(self, ring: RingBuffer, begin: int, end: int) -> None:
        """Compute the frames begin..end that are not there yet; each lies wholly within the speech."""
        known_begin, known_end = self._known
        fresh = begin if not known_begin <= begin <= known_end else known_end
        if fresh < end:
            hop, half = self.frontend.hop, self.frontend.n_fft // 2
            samples = ring.get(fresh * hop - half, (end - 1) * hop - half + self.frontend.n_fft)
            cut = np.lib.stride_tricks.sliding_window_view(samples, self.frontend.n_fft)[::hop]
            self._kept[np.arange(fresh, end) % len(self._kept)] = self._power(cut)
        self._known = (begin, max(end, fresh))

    def _edges(self, samples: Samples, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """Compute frames by their number from the window's start, with zeros around its samples (n,)."""
        n_fft = self.frontend.n_fft
        padded = np.pad(samples, n_fft)
        starts = numbers * self.frontend.hop + n_fft - n_fft // 2
        return self._power(np.stack([padded[at : at + n_fft] for at in starts]))
