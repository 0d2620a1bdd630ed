"""Rooms: how long they ring, how loud the direct sound is, and what becomes of speech in them."""

from __future__ import annotations

import numpy as np
import pytest

from fdan_edge.audio.conditions.noise import RATE, speech_level
from fdan_edge.audio.conditions.rooms import in_room, room_response
from fdan_edge.audio.windows import Waveform


def decay_seconds(response: Waveform) -> float:
    """The time in which the reverberation falls by 60 dB, by Schroeder's backward integral, from -5 to -25 dB."""
    left = np.cumsum(np.square(response[1:], dtype=np.float64)[::-1])[::-1]
    level = 10 * np.log10(left / left[0])
    inside = (level < -5) & (level > -25)
    fall = np.polyfit(np.flatnonzero(inside) / RATE, level[inside], 1)[0]
    return float(-60 / fall)


@pytest.mark.parametrize("decay", [0.2, 0.5, 0.8])
def test_the_reverberation_decays_as_asked(decay: float) -> None:
    measured = [decay_seconds(room_response(decay, 0.0, np.random.default_rng(seed))) for seed in range(5)]
    # High frequencies decay sooner, so that all of it together is somewhat quicker.
    assert 0.7 * decay < np.mean(measured) < 1.05 * decay


@pytest.mark.parametrize("direct", [-3.0, 0.0, 8.0])
def test_the_direct_sound_is_as_loud_as_asked(direct: float) -> None:
    response = room_response(0.5, direct, np.random.default_rng(0)).astype(np.float64)
    assert -10 * np.log10(np.square(response[1:]).sum()) == pytest.approx(direct, abs=0.01)
    first = np.flatnonzero(response[1:])[0] + 1
    assert 0.002 <= first / RATE <= 0.021


def test_seeds_reproduce() -> None:
    first, again, other = (room_response(0.3, 0.0, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first[: len(other)], other)


def test_speech_keeps_its_level_and_rings_on() -> None:
    speech = np.random.default_rng(0).normal(0, 0.05, RATE).astype(np.float32)
    rung = in_room(speech, room_response(0.5, 0.0, np.random.default_rng(0)))
    assert len(rung) == len(speech) + RATE // 10
    assert speech_level(rung) == pytest.approx(speech_level(speech), rel=1e-3)
    assert np.abs(rung[len(speech) :]).max() > 0.001


def test_a_response_of_one_sample_changes_nothing() -> None:
    speech = np.random.default_rng(0).normal(0, 0.05, 3200).astype(np.float32)
    rung = in_room(speech, np.array([0.5], np.float32))
    assert rung[:3200] == pytest.approx(speech, abs=1e-6)


@pytest.mark.parametrize("decay", [0.01, 0.02, 5.0])
def test_the_shortest_and_the_longest_decay(decay: float) -> None:
    for seed in range(5):
        response = room_response(decay, 0.0, np.random.default_rng(seed))
        assert np.isfinite(response).all()
        assert response[1:].any()
        assert len(response) <= 1.5 * RATE


@pytest.mark.parametrize("length", [0, 1, 400])
def test_nothing_silence_and_extreme_levels(length: int) -> None:
    response = room_response(0.2, 0.0, np.random.default_rng(0))
    for level in (0.0, 1e-3, 1.0, 1e20):
        rung = in_room(np.full(length, level, np.float32), response)
        assert rung.shape == (length + RATE // 10,)
        assert np.isfinite(rung).all()
        assert rung.any() == bool(length and level)
