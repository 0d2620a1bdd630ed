"""Copies of recordings for training: as varied as they should be, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from fdan_edge.audio.conditions import surroundings
from fdan_edge.audio.conditions.noise import RATE
from fdan_edge.audio.conditions.surroundings import Surroundings
from fdan_edge.audio.windows import Waveform


@pytest.fixture(scope="module")
def speech() -> Waveform:
    rng = np.random.default_rng(0)
    return (rng.normal(0, 0.1, RATE // 4) * np.hanning(RATE // 4)).astype(np.float32)


def test_copies_differ_by_seed_alone(speech: Waveform) -> None:
    copies = [Surroundings().copy(speech, np.random.default_rng(seed)) for seed in range(20)]
    for seed in range(0, 20, 7):
        assert np.array_equal(copies[seed], Surroundings().copy(speech, np.random.default_rng(seed)))
    changed = [c for c in copies if len(c) != len(speech) or not np.allclose(c, speech, atol=1e-4)]
    assert len(changed) > 15  # one in ten or so is left alone
    assert len({c.tobytes() for c in changed}) >= len(changed) - 2  # a telephone alone is no chance
    assert all(np.isfinite(c).all() and c.dtype == np.float32 for c in copies)
    assert any(len(c) > len(speech) for c in copies)  # rooms ring on


def test_noise_and_rooms_of_the_user_are_used(speech: Waveform, monkeypatch: pytest.MonkeyPatch) -> None:
    chances = {"_SENT": 0.0, "_CLIPPED": 0.0, "_IN_NOISE": 1.0, "_RECORDED": 1.0, "_SNR": (0.0, 0.0)}
    for name, value in chances.items():
        monkeypatch.setattr(surroundings, name, value)
    hum = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE).astype(np.float32)
    echo = np.zeros(2000, np.float32)
    echo[[0, 1600]] = 1.0
    places = Surroundings([hum], [echo])

    def loud_at_1000_hz(copy: Waveform) -> bool:
        power = np.square(np.abs(np.fft.rfft(copy)))
        place = 1000 * len(copy) // RATE
        return bool(power[place - 2 : place + 3].sum() > 0.3 * power.sum())

    copies = [places.copy(speech, np.random.default_rng(seed)) for seed in range(30)]
    assert all(map(loud_at_1000_hz, copies))
    rung = [c for c in copies if len(c) > len(speech)]
    assert 5 < len(rung) < 20


def test_what_copies_depend_on_has_a_name(speech: Waveform, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Surroundings()
    assert plain.digest == Surroundings().digest
    others = {Surroundings([speech]).digest, Surroundings((), [speech]).digest, Surroundings([speech * 2]).digest}
    assert plain.digest not in others
    monkeypatch.setattr(surroundings, "_codecs", tuple)
    assert Surroundings().digest != plain.digest


@pytest.mark.parametrize("length", [0, 1, 500])
def test_next_to_nothing_is_copied_too(length: int) -> None:
    for level in (0.0, 1e-3, 1e20):
        for seed in range(10):
            copy = Surroundings().copy(np.full(length, level, np.float32), np.random.default_rng(seed))
            assert np.isfinite(copy).all()
