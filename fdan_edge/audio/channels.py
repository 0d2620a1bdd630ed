"""Several channels to one: their mean, one of them, or the louder one where they cancel each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fdan_edge.audio.pcm import Frames
from fdan_edge.errors import AudioError, ConfigError, unknown_choice
from fdan_edge.utils.messages import warn_once

#: auto: the mean, or where channels cancel each other the loudest one; mix: the mean, whatever comes of it.
CHANNELS = ("auto", "mix", "left", "right")
_CANCELLED = 0.2  # of the power that the mean of channels which have nothing in common would have
_MEMORY = 5.0  # s over which the powers are averaged


def check_channel(channel: str) -> str:
    """Return the name of a way to choose, or the number of a channel, from 1 on.

    Raises:
        ConfigError: it is neither.
    """
    if channel in CHANNELS or (channel.isascii() and channel.isdigit() and int(channel) > 0):
        return channel
    raise ConfigError(unknown_choice("channel", channel, [*CHANNELS, "or a number from 1 on"]))


class ChannelMixer:
    """Mixes blocks of one recording or stream, which follow each other, down to one channel.

    Args:
        channel: of CHANNELS, or a channel's number from 1 on.
        where: what the sound is called, for the line that says that channels cancel each other.

    Raises:
        ConfigError: there is no such choice.
    """

    def __init__(self, channel: str = "auto", where: str = "") -> None:
        self._channel, self._where = check_channel(channel), where
        self._powers: NDArray[np.float64] | None = None  # of the channels and of their mean, summed
        self._chosen: int | None = None  # where channels cancel each other

    def __call__(self, frames: NDArray[np.floating], rate: int) -> NDArray[np.float32]:
        """Mix samples (n,) or (n, channels) at `rate` Hz to (n,).

        Raises:
            AudioError: there is no channel of the number that was asked for.
        """
        frames = np.asarray(frames, np.float32)
        if frames.ndim == 1:
            return frames
        if frames.shape[1] == 1:
            return np.ascontiguousarray(frames[:, 0])
        if self._channel not in ("auto", "mix"):
            return self._one(frames)
        mean: NDArray[np.float32] = frames.mean(axis=1, dtype=np.float64).astype(np.float32)
        if self._channel == "mix" or not len(frames):
            return mean
        return self._mean_or_loudest(frames, mean, rate)

    def _one(self, frames: Frames) -> NDArray[np.float32]:
        index = {"left": 0, "right": 1}.get(self._channel)
        index = int(self._channel) - 1 if index is None else index
        if index >= frames.shape[1]:
            where = f"{self._where}: " if self._where else ""
            raise AudioError(f"{where}has {frames.shape[1]} channels; there is no channel {self._channel}")
        return np.ascontiguousarray(frames[:, index])

    def _mean_or_loudest(self, frames: Frames, mean: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
        # Without each block's own mean: a constant offset is no sound, and must not hide what cancels.
        powers = np.array([*np.var(frames, axis=0, dtype=np.float64), np.var(mean, dtype=np.float64)]) * len(mean)
        if self._powers is None or len(self._powers) != len(powers):
            self._powers, self._chosen = powers, None
        else:
            self._powers = self._powers * np.exp(-len(mean) / (_MEMORY * rate)) + powers
        loudest = int(self._powers[:-1].argmax())
        if self._powers[-1] >= _CANCELLED * self._powers[:-1].sum() / frames.shape[1] ** 2:
            self._chosen = None
            return mean
        if self._chosen is None:
            self._chosen = loudest
            name = ("left", "right")[loudest] if len(powers) == 3 else f"number {loudest + 1}"
            warn_once(
                f"{self._where or 'sound'}: its channels cancel each other; the louder one ({name}) is taken"
            )
        return np.ascontiguousarray(frames[:, self._chosen])
