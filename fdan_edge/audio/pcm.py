"""Samples as bytes: their encodings, and how they become floating-point numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fdan_edge.errors import ConfigError, unknown_choice

#: float32, (n, channels)
Frames: TypeAlias = NDArray[np.float32]

RATES = (1000, 768_000)  # Hz; a header outside of this is damaged
MOST_CHANNELS = 64

#: Names as of ffmpeg; bytes of a sample, and numpy's type where it has one. All but 8 bits in "le" or "be" order.
_SIZES = {"s8": 1, "u8": 1, "s16": 2, "s24": 3, "s32": 4, "f32": 4, "f64": 8, "ulaw": 1, "alaw": 1}
#: Names of the encodings; without an ending they are little endian.
ENCODINGS = (*_SIZES, *(f"{name}be" for name, size in _SIZES.items() if size > 1))
_ALIASES = {"mulaw": "ulaw", "pcm_mulaw": "ulaw", "pcm_alaw": "alaw"}


@dataclass(frozen=True)
class PcmFormat:
    """The format of raw samples.

    Args:
        rate: Hz.
        channels: that take turns, sample by sample.
        sample: of ENCODINGS; "le" may end it.

    Raises:
        ConfigError: a value that is none.
    """

    rate: int = 16000
    channels: int = 1
    sample: str = "s16"

    def __post_init__(self) -> None:
        name = self.sample.lower().removeprefix("pcm_") if self.sample else ""
        object.__setattr__(self, "sample", _ALIASES.get(name, name.removesuffix("le")))
        if self.sample not in ENCODINGS:
            raise ConfigError(unknown_choice("format", self.sample, list(ENCODINGS)))
        if not RATES[0] <= self.rate <= RATES[1]:
            raise ConfigError(f"rate = {self.rate}: valid are {RATES[0]} to {RATES[1]} Hz")
        if not 1 <= self.channels <= MOST_CHANNELS:
            raise ConfigError(f"channels = {self.channels}: valid are 1 to {MOST_CHANNELS}")

    def __str__(self) -> str:
        return f"{self.rate} Hz, {self.channels} channel{'s' if self.channels > 1 else ''}, {self.sample}"

    @property
    def size(self) -> int:
        """Bytes of one sample of all channels."""
        return self.channels * _SIZES[self.sample.removesuffix("be")]

    def decode(self, data: bytes) -> Frames:
        """Convert bytes of whole frames to float32, (n, channels); full scale is 1."""
        kind = self.sample.removesuffix("be")
        samples: Frames = _DECODERS[kind](data, ">" if self.sample.endswith("be") else "<")
        return samples.reshape(-1, self.channels)


def _integers(data: bytes, dtype: str, full_scale: float) -> NDArray[np.float32]:
    samples: NDArray[np.float32] = np.frombuffer(data, dtype).astype(np.float32)
    samples /= np.float32(full_scale)
    return samples


def _of_24_bits(data: bytes, order: str) -> NDArray[np.float32]:
    padded = np.zeros((len(data) // 3, 4), np.uint8)
    parts = np.frombuffer(data, np.uint8).reshape(-1, 3)
    if order == "<":
        padded[:, 1:] = parts
    else:
        padded[:, :3] = parts
    samples: NDArray[np.float32] = padded.view(f"{order}i4")[:, 0].astype(np.float32) / np.float32(2.0**31)
    return samples


def _floats(data: bytes, dtype: str) -> NDArray[np.float32]:
    with np.errstate(over="ignore", invalid="ignore"):  # becomes infinite, which the reader refuses
        samples: NDArray[np.float32] = np.frombuffer(data, dtype).astype(np.float32)
    return samples


def _ulaw_table() -> NDArray[np.float32]:
    """Compute the samples of ITU-T G.711's mu-law bytes, (256,)."""
    byte = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (byte >> 4 & 7).astype(int), (byte & 15).astype(int)
    magnitude = ((mantissa << 3) + 0x84 << exponent) - 0x84
    table: NDArray[np.float32] = (np.where(byte & 0x80, -magnitude, magnitude) / 32768).astype(np.float32)
    return table


def _alaw_table() -> NDArray[np.float32]:
    """Compute the samples of ITU-T G.711's A-law bytes, (256,)."""
    byte = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent, mantissa = (byte >> 4 & 7).astype(int), (byte & 15).astype(int)
    magnitude = np.where(exponent, (mantissa << 4) + 0x108 << np.maximum(exponent - 1, 0), (mantissa << 4) + 8)
    table: NDArray[np.float32] = (np.where(byte & 0x80, magnitude, -magnitude) / 32768).astype(np.float32)
    return table


_ULAW, _ALAW = _ulaw_table(), _alaw_table()
_DECODERS: dict[str, Callable[[bytes, str], NDArray[np.float32]]] = {
    "s8": lambda data, _: _integers(data, "i1", 2.0**7),
    "u8": lambda data, _: _integers(data, "u1", 2.0**7) - np.float32(1),
    "s16": lambda data, order: _integers(data, f"{order}i2", 2.0**15),
    "s24": _of_24_bits,
    "s32": lambda data, order: _integers(data, f"{order}i4", 2.0**31),
    "f32": lambda data, order: _floats(data, f"{order}f4"),
    "f64": lambda data, order: _floats(data, f"{order}f8"),
    "ulaw": lambda data, _: _ULAW[np.frombuffer(data, np.uint8)],
    "alaw": lambda data, _: _ALAW[np.frombuffer(data, np.uint8)],
}
