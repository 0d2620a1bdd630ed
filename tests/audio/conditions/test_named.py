"""The conditions of scores: what there is, and that a recording sounds the same under one every time."""

from __future__ import annotations

import numpy as np
import pytest

from fdan_edge.audio.conditions import transmission
from fdan_edge.audio.conditions.named import SNRS, conditions
from fdan_edge.audio.conditions.noise import RATE, speech_level
from fdan_edge.audio.windows import Waveform


@pytest.fixture(scope="module")
def speech() -> Waveform:
    return np.random.default_rng(0).normal(0, 0.05, RATE // 2).astype(np.float32)


def test_the_first_is_clean_and_names_are_unique(speech: Waveform) -> None:
    all_of_them = conditions([np.ones(RATE, np.float32)])
    assert len({one.name for one in all_of_them}) == len(all_of_them)
    assert all_of_them[0].name == all_of_them[0].kind == "clean"
    assert np.array_equal(all_of_them[0](speech, "k"), speech)
    assert {one.kind for one in all_of_them} == {"clean", "noise", "room", "line", "level"}


def test_recorded_noise_is_one_more_kind(speech: Waveform) -> None:
    recorded = np.random.default_rng(1).normal(0, 1, RATE).astype(np.float32)
    added = conditions([recorded])[len(conditions()) - len(conditions()) :]
    names = [one.name for one in added if one.name.startswith("recorded noise")]
    assert names == [f"recorded noise, {snr} dB" for snr in SNRS]
    assert not [one for one in conditions() if one.name.startswith("recorded")]
    heard = next(one for one in added if one.name == "recorded noise, 0 dB")(speech, "k")
    noise = heard - speech
    assert np.sqrt(np.square(noise).mean()) == pytest.approx(speech_level(speech), rel=0.01)
    piece = noise / np.linalg.norm(noise)
    assert np.correlate(recorded, piece).max() == pytest.approx(np.linalg.norm(recorded) / np.sqrt(2), rel=0.1)


def test_a_recording_and_a_condition_decide_what_is_random(speech: Waveform) -> None:
    for one, again in zip(conditions(), conditions(), strict=True):
        heard = one(speech, "ravdess:a")
        assert np.array_equal(heard, again(speech, "ravdess:a")), one.name
        assert heard.dtype == np.float32
        assert len(heard) >= len(speech) - 0.1 * RATE
        if one.kind in ("noise", "room"):
            assert not np.array_equal(heard, one(speech, "ravdess:b")), one.name


def test_a_name_that_is_no_utf8_is_a_key_too(speech: Waveform) -> None:
    pink = next(one for one in conditions() if one.name.startswith("pink"))
    assert len(pink(speech, "corpus:\udcff.wav")) == len(speech)


def test_levels_are_of_16_bits(speech: Waveform) -> None:
    weak = next(one for one in conditions() if "-40 dBFS" in one.name)(speech, "k")
    assert np.abs(weak).max() == pytest.approx(0.01, abs=1e-4)
    assert np.array_equal(weak * 32768, np.round(weak * 32768))


def test_without_pyav_codecs_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transmission, "is_installed", lambda: False)
    assert [one.name for one in conditions() if one.kind == "line"] == ["telephone, 8 kHz"]


@pytest.mark.parametrize("length", [0, 1, 400])
@pytest.mark.parametrize("level", [0.0, 1e-3, 1e20])
def test_every_condition_bears_next_to_nothing(length: int, level: float) -> None:
    for one in conditions([np.ones(100, np.float32)]):
        heard = one(np.full(length, level, np.float32), "k")
        assert np.isfinite(heard).all(), one.name
        assert heard.dtype == np.float32, one.name
