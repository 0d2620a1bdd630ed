"""Several channels to one: their mean, one of them, or the louder one where they cancel each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fdan_edge.audio.pcm import MOST_CHANNELS, Frames
from fdan_edge.errors import AudioError, ConfigError, unknown_choice
from fdan_edge.utils.messages import warn_once

#: auto: the mean, or where channels cancel each other the loudest one; mix: the mean, whatever comes of it.
CHANNELS = ("auto", "mix", "left", "right")
#: For commands: every channel by itself.
EACH = "each"
_NUMBERS = {"left": 1, "right": 2}
_CANCELLED = 0.2  # of the power that the mean of channels which have nothing in common would have
_STEP = 0.5  # s after which it is decided anew, at most
_MEMORY = 5.0  # s over which the powers are averaged


def check_channel(channel: str, *, each: bool = False) -> str:
    """Return the name of a way to choose, or the number of a channel, from 1 on.

    Args:
        channel: what somebody asks for.
        each: EACH is a choice too.

    Raises:
        ConfigError: it is none of these.
    """
    channel = str(channel)  # a number from Python
    valid = [*CHANNELS, *([EACH] if each else [])]
    if channel in valid or _as_number(channel):
        return channel
    raise ConfigError(unknown_choice("channel", channel, [*valid, f"or a number from 1 to {MOST_CHANNELS}"]))


def channel_number(channel: str) -> int:
    """Return the number of the channel that is chosen, from 1 on; 1 where that is a mixture of all."""
    return _NUMBERS.get(channel) or _as_number(channel) or 1


def channel_names(count: int) -> list[str]:
    """Name every channel of a recording: left and right, or numbers; the only one is called ""."""
    return {1: [""], 2: list(_NUMBERS)}.get(count) or [str(number) for number in range(1, count + 1)]


def check_has_channel(channel: str, count: int, where: str = "") -> None:
    """Check that a recording with `count` channels has the chosen one.

    Raises:
        AudioError: it does not; `where` says what is read.
    """
    if channel_number(channel) > count:
        there = f"has {count} channel{'s' if count > 1 else ''}; there is no channel {channel}"
        raise AudioError(f"{where}: {there}" if where else there)


def _as_number(channel: str) -> int:
    """Return the number of a channel; 0 where it is none."""
    number = int(channel) if channel.isascii() and channel.isdigit() and len(channel) < 9 else 0
    return number if number <= MOST_CHANNELS else 0


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
        self._has_said_so = False

    def __call__(self, frames: NDArray[np.floating], rate: int) -> NDArray[np.float32]:
        """Mix samples (n,) or (n, channels) at `rate` Hz to (n,).

        Raises:
            AudioError: there is no channel of the number that was asked for.
        """
        frames = np.asarray(frames, np.float32)
        count = frames.shape[1] if frames.ndim == 2 else 1
        if len(frames):  # what flushes a filter has no channels
            check_has_channel(self._channel, count, self._where)
        if count == 1:
            return np.ascontiguousarray(frames.reshape(-1))
        if self._channel not in ("auto", "mix"):
            return np.ascontiguousarray(frames[:, channel_number(self._channel) - 1])
        mean: NDArray[np.float32] = frames.mean(axis=1, dtype=np.float64).astype(np.float32)
        if self._channel == "mix" or not len(frames):
            return mean
        # In steps of one length, so that a second of a long file counts like one of a stream.
        step = max(1, round(_STEP * rate))
        parts = [
            self._mean_or_loudest(frames[at : at + step], mean[at : at + step], rate)
            for at in range(0, len(mean), step)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

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
            self._say_so(channel_names(frames.shape[1])[loudest])
        return np.ascontiguousarray(frames[:, self._chosen])

    def _say_so(self, channel: str) -> None:
        """Say once that one channel is taken, whatever comes later."""
        if self._has_said_so:
            return
        self._has_said_so = True
        name = channel if channel in _NUMBERS else f"number {channel}"
        where = self._where or "sound"
        warn_once(f"{where}: its channels cancel each other; the louder one ({name}) is taken")
