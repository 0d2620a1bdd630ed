"""Resample blocks of sound as they come: any rate and channel count to one channel at the model's rate."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fdan_edge.audio.channels import ChannelMixer

Samples: TypeAlias = NDArray[np.float32]


class Resampler:
    """Converts blocks to one channel at another rate; its filter carries over from block to block.

    Args:
        rate: of the input, Hz.
        to: of the output, Hz.
        channel: what becomes of several channels; see `channels.CHANNELS`.
        where: what the sound is called, for messages.

    Raises:
        ConfigError: there is no such choice of a channel.
    """

    def __init__(self, rate: int, to: int, channel: str = "auto", where: str = "") -> None:
        self._rate, self._to = rate, to
        self._mix = ChannelMixer(channel, where)
        self._restart()

    def _restart(self) -> None:
        import soxr

        self._stream = soxr.ResampleStream(self._rate, self._to, 1) if self._rate != self._to else None

    def __call__(self, block: NDArray[np.floating], *, last: bool = False) -> Samples:
        """Convert samples (n,) or (n, channels) to (m,).

        Args:
            block: the next samples.
            last: return what the filter still holds too, and start anew: sound before a gap never reaches the
                sound after it.

        Raises:
            AudioError: there is no channel of the number that was asked for.
        """
        mono = self._mix(block, self._rate)
        if self._stream is None:
            return mono
        resampled: Samples = self._stream.resample_chunk(np.ascontiguousarray(mono), last=last)
        if last:
            self._restart()
        return resampled

    def flush(self) -> Samples:
        """Return the samples that the filter still holds, and start anew."""
        return self(np.zeros(0, np.float32), last=True)

    def output_length(self, samples: int) -> int:
        """Return how many output samples correspond to `samples` of the input."""
        return round(samples * self._to / self._rate)
