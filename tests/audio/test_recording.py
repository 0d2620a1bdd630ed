"""Recordings that are decoded twice give the windows of those that are kept in memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fdan_edge.audio import decode, recording, sndfile
from fdan_edge.audio.recording import Recording
from fdan_edge.audio.windows import cut_windows
from fdan_edge.errors import AudioError
from tests.audio.test_decode import RATE, tone


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0).normal(0, 0.1, (5 * 44_100, 2))
    quiet = np.zeros((44_100, 2))
    soundfile.write(tmp_path / "talk.flac", np.concatenate([quiet, noise, quiet]), 44_100)
    return tmp_path / "talk.flac"


@pytest.mark.parametrize("kept", [60.0, 0.5])
@pytest.mark.parametrize(("size", "hop", "batch"), [(16_000, 8_000, 3), (5_000, 5_000, 16), (200_000, 1, 4)])
def test_windows_are_those_of_the_whole(
    talk: Path, monkeypatch: pytest.MonkeyPatch, kept: float, size: int, hop: int, batch: int
) -> None:
    monkeypatch.setattr(recording, "MOST_KEPT", kept)
    monkeypatch.setattr(sndfile, "BLOCK_VALUES", 9_999)
    whole = decode.load_speech(talk, RATE, 30, high_pass=80)
    speech = Recording(talk, RATE, 30, high_pass=80)
    assert len(speech) == len(whole)
    for _ in range(2):
        cut = np.concatenate(list(speech.window_batches(size, hop, batch)))
        np.testing.assert_array_equal(cut, cut_windows(whole, size, hop))


def test_errors_are_those_of_short_ones(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(RATE), RATE)
    with pytest.raises(AudioError, match=r"a\.wav: is silent"):
        Recording(tmp_path / "a.wav", RATE, 40)
    soundfile.write(tmp_path / "b.wav", tone(0.01), RATE)
    with pytest.raises(AudioError, match=r"b\.wav: is too short"):
        Recording(tmp_path / "b.wav", RATE, 40)


def test_seconds_are_counted_in_the_memory_of_seconds(tmp_path: Path) -> None:
    """As `data scan` does: a few megabytes of FLAC may be hours."""
    path = tmp_path / "a.flac"
    minute = np.zeros(60 * 16000, np.float32)
    minute[:16000] = 0.1
    with soundfile.SoundFile(path, "w", 16000, 1) as file:
        for _ in range(15):
            file.write(minute)
    tracemalloc.start()
    try:
        assert decode.speech_seconds(path) == 900
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20e6  # the whole recording has 58 MB


def test_seconds_of_what_cannot_be_used(tmp_path: Path) -> None:
    for content, problem in ((np.zeros(16000), "is silent"), (np.ones(100), "is too short")):
        soundfile.write(tmp_path / "a.wav", content, 16000)
        with pytest.raises(AudioError, match=problem):
            decode.speech_seconds(tmp_path / "a.wav")
