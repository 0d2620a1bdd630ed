"""The sound of videos, by the same path as that of sound files."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fdan_edge.audio import decode
from fdan_edge.data.corpora import Item
from fdan_edge.errors import INSTALL_VIDEO, AudioError, MissingDependencyError
from fdan_edge.runtime.opening import open_runner
from fdan_edge.runtime.recognition import recognize_file
from tests.helpers.clips import CODECS, scenes, spoken, write

STILL = scenes("sad", count=1) * 12


@pytest.mark.parametrize("suffix", CODECS)
def test_sound_of_every_container(tmp_path: Path, suffix: str) -> None:
    sound = spoken("angry")
    path = write(tmp_path / f"a{suffix}", STILL, sound, rate=25 if suffix == ".mpg" else 8)
    heard = decode.load(path)
    assert heard.dtype == np.float32
    assert heard.ndim == 1
    assert abs(len(heard) - sound.shape[1]) < 0.2 * 16000  # encoders add some silence
    # Encoders delay the sound by less than 0.1 s: compare it where it fits best.
    part = sound[0, 4000:20000]
    at = 2400 + int(np.correlate(heard[2400:21600], part, "valid").argmax())
    assert np.corrcoef(part, heard[at : at + 16000])[0, 1] > 0.95


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_are_averaged_as_those_of_sound_files(tmp_path: Path, channels: int) -> None:
    """MELD's videos have six."""
    sound = np.zeros((channels, 16000), np.float32)
    sound[0] = 0.6 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    heard = decode.load(write(tmp_path / "a.mov", STILL, sound))
    soundfile.write(tmp_path / "a.wav", sound.T, 16000)
    np.testing.assert_allclose(heard, decode.load(tmp_path / "a.wav"), atol=1e-4)


def test_a_sound_file_named_as_a_video_and_the_other_way_round(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", spoken("sad")[0], 16000)
    shutil.copy(tmp_path / "a.wav", tmp_path / "a.mp4")
    np.testing.assert_allclose(decode.load(tmp_path / "a.mp4"), decode.load(tmp_path / "a.wav"), atol=1e-6)
    write(tmp_path / "b.mp4", STILL, spoken("sad")).rename(tmp_path / "b.wav")
    assert len(decode.load(tmp_path / "b.wav")) > 16000


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"", "is empty (0 bytes)"), (b"text " * 999, "not a readable sound file: is text")],
)
def test_what_is_no_video(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AudioError) as caught:
        decode.load(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_videos_without_sound_and_with_silence(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", STILL, None)
    with pytest.raises(AudioError) as caught:
        decode.load(path)
    assert str(caught.value) == f"{path}: a video without sound"
    write(path, STILL, np.zeros((1, 16000), np.float32))
    with pytest.raises(AudioError, match="is silent"):
        decode.load_speech(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("name", ["end.mp4", "start.mp4", "a.avi"])
def test_cut_short(tmp_path: Path, name: str, share: float) -> None:
    options = {"movflags": "faststart"} if name == "start.mp4" else {}
    path = write(tmp_path / name, STILL, spoken("sad"), options=options)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(AudioError, match="is cut short") as caught:
        decode.load(path)
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fdan_edge.config import Config
    from fdan_edge.features import extract

    path = write(tmp_path / "a.mp4", STILL, spoken("sad"))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependencyError) as caught:
        extract.training_voices([Item("x", "a", path, "sad")] * 2, [0, 0], Config())
    assert str(caught.value) == f"reading MP4 needs av, which is not installed: {INSTALL_VIDEO}"


def test_an_emotion_is_recognised_in_a_video(bundle_folder: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mov", STILL, spoken("happy"))  # sound as it is
    soundfile.write(tmp_path / "a.wav", spoken("happy")[0], 16000)
    with open_runner(bundle_folder) as runner:
        seen, heard = recognize_file(runner, path), recognize_file(runner, tmp_path / "a.wav")
    assert seen.emotion == heard.emotion
    assert list(seen.probabilities.values()) == pytest.approx(list(heard.probabilities.values()), abs=1e-3)


@pytest.mark.parametrize("suffix", [".mkv", ".avi"])
def test_a_title_that_is_not_utf8(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a{suffix}", scenes("happy"), spoken("happy"))
    named = path.read_bytes()
    assert b"Lavf" in named
    path.write_bytes(named.replace(b"Lavf", b"Lav\xe9"))
    assert len(decode.load(path)) > 0
