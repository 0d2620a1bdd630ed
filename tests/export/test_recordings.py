"""Which recordings an export uses for what: never one for two things."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fdan_edge.data.corpora import Source, recording_key
from fdan_edge.errors import ExportError
from fdan_edge.export import recordings
from fdan_edge.export.recordings import RunRecordings
from fdan_edge.runs.run_folder import load_split
from fdan_edge.runs.torch_runner import TorchRunner


@pytest.fixture(scope="module")
def reference(run_folder: Path) -> TorchRunner:
    return TorchRunner(run_folder)


def test_each_part_has_its_own_use(run_folder: Path, reference: TorchRunner) -> None:
    parts = RunRecordings(run_folder, reference)
    split = load_split(run_folder)
    assert {recording_key(item.key) for item in parts.held_out.items} == {
        recording_key(key) for key in split["test"]
    }
    assert {recording_key(item.key) for item in parts.validation.items} == {
        recording_key(key) for key in split["val"]
    }
    assert parts.has_validation
    assert (parts.held_out.source, parts.validation.source) == ("of the test part", "of the validation part")
    assert parts.calibration.shape == (len(split["train"]), reference.spec.window)


def test_without_the_test_part_only_unheard_speech_serves(
    run_folder: Path, reference: TorchRunner, ravdess_tree: Path, tmp_path: Path
) -> None:
    shutil.copytree(ravdess_tree / "Actor_01", tmp_path / "known" / "Actor_01")
    trained_on = RunRecordings(run_folder, reference, [Source("ravdess", tmp_path / "known")])
    with pytest.raises(ExportError, match="all of the given speech was used in the training"):
        _ = trained_on.held_out
    (tmp_path / "mine" / "sad").mkdir(parents=True)
    voice = next((ravdess_tree / "Actor_04").glob("*.wav"))
    (tmp_path / "mine" / "sad" / "1.wav").write_bytes(voice.read_bytes())
    sources = [Source("ravdess", tmp_path / "known"), Source("folder", tmp_path / "mine")]
    held_out = RunRecordings(run_folder, reference, sources).held_out
    assert ([item.corpus for item in held_out.items], held_out.source) == (["folder"], "of the given speech")
    with pytest.raises(ExportError, match="none is in the given speech"):
        _ = RunRecordings(run_folder, reference, sources[1:]).calibration


def test_without_a_validation_part_other_training_speech_serves(
    run_folder: Path, reference: TorchRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = load_split(run_folder)
    (tmp_path / "split.json").write_text(json.dumps(split | {"val": []}))
    monkeypatch.setattr(recordings, "CALIBRATION", 4)
    parts = RunRecordings(tmp_path, reference)
    assert parts.validation.source == "of the training part"
    assert not parts.has_validation
    assert len(parts.validation.items) == len(split["train"]) - 4
