"""What is said of the sound that comes in: once, and only where it helps."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fdan_edge.streaming.events import InputWarning
from fdan_edge.streaming.input_level import InputLevel

RATE = 8000
Samples = NDArray[np.float32]


def sound(seconds: float, level: float, seed: int = 0) -> Samples:
    return np.random.default_rng(seed).normal(0, level, round(seconds * RATE)).astype(np.float32)


def voice(seconds: float, peak: float, seed: int = 0) -> Samples:
    """Sound whose loudest sample is `peak`, with hardly another one there: as a voice's are."""
    made = np.random.default_rng(seed).laplace(0, 1, round(seconds * RATE)).astype(np.float32)
    made *= np.float32(peak) / np.abs(made).max()
    return made


def zeros(seconds: float) -> Samples:
    return np.zeros(round(seconds * RATE), np.float32)


def said(*parts: Samples, speaking: bool = False, level: InputLevel | None = None) -> list[InputWarning]:
    level, samples = level or InputLevel(RATE), np.concatenate(parts)
    warnings, at = [], 0
    while at < len(samples):
        block = samples[at : at + min(level.left, 777)]
        at += len(block)
        warnings += level.add(block, at / RATE, speaking=speaking)
    return warnings


def problems(*parts: Samples, speaking: bool = False) -> list[str]:
    return [one.problem for one in said(*parts, speaking=speaking)]


def test_good_sound_is_not_worth_a_word() -> None:
    assert said(voice(10, 1.0), speaking=True) == []
    assert said(voice(10, 0.02), speaking=True) == []


@pytest.mark.parametrize("level", [1e-2, 1e-3, 1e-4])
def test_who_says_nothing_in_a_quiet_room_is_left_in_peace(level: float) -> None:
    assert said(sound(60, level)) == []


@pytest.mark.parametrize("speaking", [True, False])
def test_digital_silence_is_said_once(speaking: bool) -> None:
    assert said(zeros(2.9), speaking=speaking) == []
    assert said(zeros(30), speaking=speaking) == [InputWarning(3.0, "no signal", 0.0)]


def test_a_constant_offset() -> None:
    (one,) = said(zeros(20) + np.float32(0.1))
    assert (one.time, one.problem) == (3.0, "only DC")
    assert one.value == pytest.approx(0.1)
    last_bit = np.random.default_rng(0).integers(-1, 2, 10 * RATE) / 32768 - 0.02
    assert problems(last_bit.astype(np.float32)) == ["only DC"]
    assert problems(zeros(9) + np.float32(1e-6)) == ["only DC"]


def test_an_offset_under_a_voice_is_no_fault() -> None:
    assert said(voice(9, 0.3) + np.float32(0.1), speaking=True) == []


def test_a_dead_line_that_is_not_quite_silent() -> None:
    (one,) = said(sound(20, 1e-5))
    assert one.problem == "too quiet"
    assert -90 < one.value < -85


def test_quiet_speech_is_too_quiet_and_its_peak_is_told() -> None:
    (one,) = said(voice(20, 0.001) + np.float32(0.05), speaking=True)  # whatever the offset
    assert one.problem == "too quiet"
    assert one.value == pytest.approx(-60, abs=4)
    assert one.time == 1.0
    assert problems(voice(9, 0.01), speaking=True) == ["too quiet"]  # -40 dBFS


@pytest.mark.parametrize(("gain", "expected"), [(1.0, []), (2.5, ["clipped"]), (30.0, ["clipped"])])
def test_clipped(gain: float, expected: list[str]) -> None:
    made = (gain * voice(20, 1.0)).clip(-1, 1)
    assert problems(made.astype(np.float32), speaking=True) == expected


def test_the_share_of_clipped_samples() -> None:
    samples = voice(3, 0.5)
    samples[::50] = 1
    (one,) = said(samples, speaking=True)
    assert one.value == pytest.approx(0.02, rel=0.01)


def test_again_only_after_it_has_ended() -> None:
    loud, quiet = voice(5, 0.5), voice(5, 0.005)
    assert problems(quiet, loud, quiet, speaking=True) == ["too quiet"] * 2
    assert problems(quiet, voice(5, 0.0127), quiet, speaking=True) == ["too quiet"]  # near the limit is no end
    assert problems(zeros(5), loud, zeros(6)) == ["no signal"] * 2
    assert problems(zeros(5), zeros(6) + np.float32(0.1), zeros(6)) == ["no signal", "only DC", "no signal"]
    clipped = (30 * voice(5, 1.0)).clip(-1, 1)
    assert problems(clipped, clipped, loud, clipped, speaking=True) == ["clipped"] * 2


def test_zeros_in_pauses_are_no_fault_until_they_take_five_seconds() -> None:
    assert problems(*[voice(2, 0.5), zeros(4.5)] * 3) == []
    assert said(voice(2, 0.5), zeros(9)) == [InputWarning(7.0, "no signal", 0.0)]


def test_what_was_before_a_gap_does_not_count() -> None:
    level = InputLevel(RATE)
    assert said(zeros(2.7), level=level) == []
    level.restart()
    assert said(zeros(2.7), level=level) == []
    assert [one.problem for one in said(zeros(0.3), level=level)] == ["no signal"]
