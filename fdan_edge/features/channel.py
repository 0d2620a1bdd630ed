"""Matching the mean spectrum of the training speech to the target's (channel = match).

A microphone and a room multiply the spectrum, so in log-mels they add a number to each band: the mean spectrum
of two corpora differs by their channels, and by what is said in them far less. It is cepstral mean normalisation
(Atal 1974), of a corpus instead of a recording: each recording's own timbre, part of which is emotion, stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from fdan_edge.config import Config
from fdan_edge.errors import DataError
from fdan_edge.features.mmap_rows import MappedRows
from fdan_edge.models.log_mel import at_level, lasting_frames, shift_bands, speech_frames


def in_batches(decibel: Tensor | MappedRows, size: int = 256) -> Iterator[Tensor]:
    """Yield all log-mels of (variants, n, 1, mels, frames), at most `size` at once: (k, 1, mels, frames)."""
    for variant in range(len(decibel)):
        for index in torch.split(torch.arange(decibel.shape[1]), size):
            yield decibel[variant, index]


def mean_spectrum(decibel: Iterable[Tensor], config: Config) -> Tensor:
    """Average each band in dB over the frames with speech (see `log_mel.speech_frames`) of all windows.

    Args:
        decibel: batches of log-mels, (n, 1, mels, frames), of any float type and on any device; see `in_batches`.
        config: what the log-mels were computed with.

    Returns:
        (mels,) in float32 on the CPU.

    Raises:
        DataError: there is no frame with speech.
    """
    lasting = _lasting(config)
    total, count = torch.zeros(1, dtype=torch.float64), 0
    for batch in decibel:
        part = batch[:, 0].float()
        kept = speech_frames(part, lasting)
        total = total + (part * kept).sum(dim=2).double().sum(dim=0).cpu()
        count += int(kept.sum())
    if not count:
        raise DataError("no frame with speech: there is no mean spectrum")
    return (total / count).float()


class ChannelMatch:
    """Gives log-mels of one corpus the mean spectrum of another.

    The difference of the means is added to all frames except padding. Then level and dynamic range are limited as
    the front end limits them. With level = none the mean spectrum becomes the target's; with other levels its
    shape does. The range ends 80 dB below a window's loudest point: in bands that would be lower, the mean stays
    above the target's.

    Args:
        source: mean spectrum of the log-mels that will come, (mels,).
        target: the mean spectrum that they get, (mels,).
        config: what the log-mels were computed with.
    """

    def __init__(self, source: Tensor, target: Tensor, config: Config) -> None:
        self.shift = (target - source)[:, None]
        self._level, self._lasting = config.level, _lasting(config)

    @property
    def key(self) -> str:
        """A hash of the shift, for the key of cached features that were matched."""
        return hashlib.sha256(self.shift.cpu().numpy().tobytes()).hexdigest()[:16]

    def __call__(self, decibel: Tensor) -> Tensor:
        """Match log-mels (n, 1, mels, frames); shape, float type and device stay."""
        shifted = shift_bands(decibel[:, 0].float(), self.shift.to(decibel.device))
        return at_level(shifted, self._level, self._lasting)[:, None].to(decibel.dtype)


def _lasting(config: Config) -> int:
    return lasting_frames(config.sample_rate, config.n_fft, config.hop)
