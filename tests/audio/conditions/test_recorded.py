"""Noise and rooms of the user's: what is read, what is left out with a line, and what is an error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from fdan_edge.audio.conditions import recorded
from fdan_edge.audio.conditions.noise import RATE
from fdan_edge.audio.conditions.recorded import load_recordings, load_rooms
from fdan_edge.errors import AudioError


def write(path: Path, seconds: float, rate: int = RATE, level: float = 0.1, channels: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).normal(0, level, (round(seconds * rate), channels)).clip(-1, 1)
    soundfile.write(path, noise, rate, subtype="FLOAT" if path.suffix == ".wav" else None)
    return path


def test_files_and_folders_of_any_rate(tmp_path: Path) -> None:
    write(tmp_path / "street" / "a.wav", 0.5, 44100, channels=2)
    write(tmp_path / "street" / "deep" / "b.flac", 0.25)
    (tmp_path / "street" / "notes.txt").write_text("not sound")
    alone = write(tmp_path / "c.wav", 1.0, 8000)
    loaded = load_recordings([tmp_path / "street", alone])
    assert [round(len(one) / RATE, 2) for one in loaded] == [0.5, 0.25, 1.0]
    assert all(one.dtype == np.float32 for one in loaded)


def test_broken_and_silent_ones_are_left_out_with_a_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = write(tmp_path / "a.wav", 0.2)
    write(tmp_path / "silent.wav", 0.2, level=0)
    (tmp_path / "broken.wav").write_bytes(good.read_bytes()[:500])
    assert len(load_recordings([tmp_path])) == 1
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(": ")[0] for line in lines] == ["left out", "left out"]
    assert f"{tmp_path / 'broken.wav'}: is cut short" in lines[0]
    assert f"{tmp_path / 'silent.wav'}: is silent" in lines[1]


@pytest.mark.parametrize("name", ["none", "empty", "broken"])
def test_a_path_without_a_usable_recording(tmp_path: Path, name: str) -> None:
    good = write(tmp_path / "good.wav", 0.2)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.wav").write_bytes(b"RIFF")
    reason = "no such file or folder" if name == "none" else "no usable recording in it"
    for load in (load_recordings, load_rooms):
        with pytest.raises(AudioError, match=f"{name}: {reason}"):
            load([good, tmp_path / name])


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        write(tmp_path / f"{name}.wav", 2.0)
    monkeypatch.setattr(recorded, "_LONGEST", 1.5)
    assert [len(one) for one in load_recordings([tmp_path])] == [1.5 * RATE] * 2
    monkeypatch.setattr(recorded, "_MOST", 1.0)
    assert [len(one) for one in load_recordings([tmp_path])] == [0.5 * RATE] * 2


def test_a_response_begins_with_its_direct_sound(tmp_path: Path) -> None:
    response = np.zeros(3 * RATE)
    response[1600:] = 0.01 * np.random.default_rng(0).normal(size=3 * RATE - 1600)
    response[1600] = -0.5
    soundfile.write(tmp_path / "hall.wav", response, RATE, subtype="FLOAT")
    (room,) = load_rooms([tmp_path])
    assert len(room) == 1.5 * RATE
    assert int(np.abs(room).argmax()) == 16
    assert room[16] == -1
