"""`infer --windows`: what a stream would tell of a recording. That they agree is in test_stream_engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fdan_edge.audio import sndfile
from fdan_edge.streaming import StreamSettings, offline
from fdan_edge.streaming.events import Result
from fdan_edge.streaming.offline import recording_events
from tests.helpers.stream_parts import RATE, Fake, babble, by_loudness

Run = Callable[..., tuple[int, str, str]]


def test_windows_go_to_the_model_by_the_batch() -> None:
    sizes: list[int] = []

    class Batched(Fake):
        def predict(self, waveforms: np.ndarray) -> np.ndarray:
            sizes.append(len(waveforms))
            return super().predict(waveforms)

    events = recording_events(Batched(by_loudness), babble((10.0, 0.3)), StreamSettings(vad="none"))
    results = [one for one in events if isinstance(one, Result)]
    assert sum(sizes) == len(results) > 32
    assert max(sizes) == 16


def test_a_recording_without_speech() -> None:
    assert [one.type for one in recording_events(Fake(), babble((2.0, 0.0)), StreamSettings(vad="energy"))] == [
        "ended"
    ]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    talk, quiet = tmp_path / "talk.wav", tmp_path / "quiet.wav"
    voice = pytest.importorskip("fdan_edge.data.corpora.synthetic.voices").voice("angry", 1, 0)
    soundfile.write(talk, np.concatenate([babble((1.0, 0.0)), voice, babble((1.0, 0.0))]), RATE)
    soundfile.write(quiet, babble((2.0, 0.0)), RATE)
    return talk, quiet


def test_infer_prints_a_row_for_each_segment(run: Run, bundle_folder: Path, files: tuple[Path, Path]) -> None:
    code, out, err = run("infer", bundle_folder, *files, "--windows")
    assert (code, err) == (0, "")
    _, head, *rows = out.splitlines()
    assert head.split() == ["file", "emotion", "confidence", "start", "end"]
    talk = [row.split() for row in rows if row.startswith("talk.wav")]
    assert float(talk[0][-2]) < 1.2
    assert 2.5 < float(talk[-1][-1]) < 3.8
    assert [row.split() for row in rows if row.startswith("quiet.wav")] == [["quiet.wav", "no", "speech"]]


def test_infer_json_has_all_events(run: Run, bundle_folder: Path, files: tuple[Path, Path]) -> None:
    code, out, err = run("infer", bundle_folder, *files, "--windows", "--json")
    assert (code, err) == (0, "")
    talk, quiet = (json.loads(line) for line in out.splitlines())
    kinds = [event["type"] for event in talk["events"]]
    assert kinds[-1] == "ended"
    assert [event["type"] for event in quiet["events"]] == ["ended"]
    assert kinds[0] == "speech"
    assert {"result", "segment", "silence"} <= set(kinds)


def test_files_that_cannot_be_used(
    run: Run, bundle_folder: Path, files: tuple[Path, Path], tmp_path: Path
) -> None:
    code, out, err = run("infer", bundle_folder, files[0], tmp_path / "none.wav", "--windows")
    assert code == 1
    assert err.endswith("none.wav: no such file\n")
    assert "talk.wav" in out


@pytest.mark.parametrize("kept", [300.0, 1.0])
def test_a_long_file_has_the_events_of_a_short_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: float
) -> None:
    monkeypatch.setattr(offline, "MOST_KEPT", kept)
    monkeypatch.setattr(sndfile, "BLOCK_VALUES", 30_001)
    talk = babble((2.0, 0.3), (1.0, 0.0), (2.0, 0.3), (1.0, 0.0))
    soundfile.write(tmp_path / "a.wav", talk, RATE, subtype="FLOAT")
    events = offline.file_events(Fake(by_loudness), tmp_path / "a.wav")
    expected = recording_events(Fake(by_loudness), talk)
    assert [event.type for event in events] == [event.type for event in expected]
    assert events[-1] == expected[-1]
