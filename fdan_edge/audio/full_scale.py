"""Tell what full scale is: floating-point samples at times hold the whole numbers of a sound card.

Full scale is 1. A sound may go beyond it for a moment (resampling, a mix before its limiter), but hardly by 18 dB:
what is above 8 again and again holds 16-bit numbers, up to 32768, though its type is float. By the same rule it
holds 24-bit numbers where 16-bit ones would be 18 dB beyond their full scale, and 32-bit ones after these. What is
beyond 32-bit numbers too is no sound.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fdan_edge.errors import AudioError

FULL_SCALES = (1.0, 2.0**15, 2.0**23, 2.0**31)
BEYOND = 8.0  # of full scale: 18 dB
#: What a sample of any of them may be at most.
LARGEST = BEYOND * FULL_SCALES[-1]
_SURE = 16  # samples within a second: a few that were damaged on their way change nothing


def full_scale(peak: float) -> float:
    """Return the full scale of sound whose largest absolute value is `peak`.

    Raises:
        AudioError: no sound has such values.
    """
    for scale in FULL_SCALES:
        if peak <= BEYOND * scale:
            return scale
    raise AudioError(_no_sound(peak))


class FullScale:
    """Brings the samples of one stream to a full scale of 1, as soon as they show what theirs is.

    The scale only grows, and depends on the samples alone, not on the blocks that they come in. Single samples
    that are beyond it are cut. Where it changes, what was given out before was too large by the same factor.

    Args:
        rate: of the samples, Hz.
    """

    def __init__(self, rate: int) -> None:
        self.scale = FULL_SCALES[0]
        self._rate = rate
        self._position = 0  # samples so far
        self._second, self._count = 0, 0  # how many samples of this second are beyond the scale

    def __call__(self, samples: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """Yield the next samples (n,) in parts; `scale` changes only between two parts.

        Raises:
            AudioError: no sound has such values.
        """
        peak = float(np.abs(samples).max(initial=0))
        if peak > LARGEST:
            raise AudioError(_no_sound(peak))
        while peak > BEYOND * self.scale:
            at = self._sure_at(samples)
            if at is None:
                break
            if at:
                yield self._scaled(samples[:at])
            self.scale = full_scale(float(np.abs(samples[at])))
            self._count = 0
            samples = samples[at:]
            peak = float(np.abs(samples).max(initial=0))
        yield self._scaled(samples)

    def _sure_at(self, samples: NDArray[np.float32]) -> int | None:
        """Return the sample at which it is sure that the scale is larger."""
        for at in np.flatnonzero(np.abs(samples) > BEYOND * self.scale).tolist():
            second = (self._position + at) // self._rate
            self._count = self._count + 1 if second == self._second else 1
            self._second = second
            if self._count >= _SURE:
                return int(at)
        return None

    def _scaled(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        self._position += len(samples)
        limit = np.float32(BEYOND * self.scale)
        if np.abs(samples).max(initial=0) > limit:
            samples = samples.clip(-limit, limit)
        return samples if self.scale == 1 else samples / np.float32(self.scale)


def _no_sound(peak: float) -> str:
    return f"samples up to {peak:.3g}: full scale is 1, or that of 16, 24 or 32-bit numbers (32768 to 2147483648)"
