"""What full scale is: told by the samples, and the same in whatever blocks they come."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fdan_edge.audio.full_scale import LARGEST, FullScale, full_scale
from fdan_edge.errors import AudioError

RATE = 1000


def voice(level: float = 0.3, seed: int = 0) -> NDArray[np.float32]:
    """A second of silence and two of sound."""
    sound = np.random.default_rng(seed).normal(0, level, 2 * RATE)
    return np.concatenate([np.zeros(RATE), sound.clip(-1, 1)]).astype(np.float32)


def scaled(samples: NDArray[np.float32], size: int, keep: FullScale | None = None) -> NDArray[np.float32]:
    keep = keep or FullScale(RATE)
    return np.concatenate([part for at in range(0, len(samples), size) for part in keep(samples[at : at + size])])


@pytest.mark.parametrize("full", [2.0**15, 2.0**23, 2.0**31])
@pytest.mark.parametrize("size", [1, 37, 5000])
def test_whole_numbers_become_what_they_were(full: float, size: int) -> None:
    keep, sound = FullScale(RATE), voice()
    result = scaled(sound * np.float32(full), size, keep)
    assert keep.scale == full
    np.testing.assert_array_equal(result[RATE + 40 :], sound[RATE + 40 :])
    np.testing.assert_array_equal(result, scaled(sound * np.float32(full), len(sound)))


def test_sound_of_full_scale_stays_as_it_is() -> None:
    sound = 7.9 * voice(1.0)
    assert scaled(sound, 100).tobytes() == sound.tobytes()


def test_a_few_damaged_samples_are_cut_and_change_nothing() -> None:
    sound = np.tile(voice(), 3)
    sound[[100, 200, 5000]] = [1e4, -1e9, 100]
    keep = FullScale(RATE)
    result = scaled(sound, 77, keep)
    assert keep.scale == 1
    assert result[[100, 200, 5000]].tolist() == [8, -8, 8]


def test_15_within_each_second_are_not_enough_and_16_are() -> None:
    for count, expected in ((15, 1.0), (16, 2.0**15)):
        keep, sound = FullScale(RATE), np.zeros(5 * RATE, np.float32)
        for second in range(5):
            sound[second * RATE : second * RATE + count] = 1000
        scaled(sound, 333, keep)
        assert keep.scale == expected


def test_24_bits_after_what_could_have_been_16() -> None:
    keep = FullScale(RATE)
    scaled(voice() * np.float32(1e3), 100, keep)
    assert keep.scale == 2.0**15
    scaled(voice() * np.float32(2.0**23), 100, keep)
    assert keep.scale == 2.0**23
    scaled(voice(), 100, keep)
    assert keep.scale == 2.0**23  # never smaller again


@pytest.mark.parametrize("value", [1.01 * LARGEST, -1e30])
def test_no_sound_has_such_values(value: float) -> None:
    with pytest.raises(AudioError, match="full scale is 1, or that of 16, 24 or 32-bit numbers"):
        list(FullScale(RATE)(np.array([0, value], np.float32)))
    with pytest.raises(AudioError, match=r"samples up to .*full scale is 1"):
        full_scale(abs(value))


def test_of_a_whole_recording() -> None:
    assert [full_scale(peak) for peak in (0, 1, 8, 8.1, 32768, 2.0**23, 2.0**31)] == [
        1, 1, 1, 2.0**15, 2.0**15, 2.0**23, 2.0**31,
    ]  # fmt: skip
