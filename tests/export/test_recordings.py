"""Which recordings an export uses for what, and how it answers where there are few."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fdan_edge.data.corpora import Item, Source, recording_key
from fdan_edge.errors import CheckpointError, ExportError
from fdan_edge.evaluation.predictions import FILE, Prediction, Predictions
from fdan_edge.export import recordings
from fdan_edge.export.recordings import ReferenceClips, RunRecordings
from fdan_edge.runs.run_folder import load_split
from fdan_edge.runs.torch_runner import TorchRunner
from fdan_edge.runtime.model_spec import ModelSpec


class Fake:
    """A runner that always gives one answer."""

    def __init__(self, *answer: float) -> None:
        self.name, self.answer = "fake", answer
        self.spec = ModelSpec(("a", "b", "c"), 16000, 10**6, 10**6, 0.0)

    def predict(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.tile(np.asarray(self.answer, np.float32), (len(waveforms), 1))

    def __enter__(self) -> Fake:
        return self

    def __exit__(self, *_: object) -> None:
        return None


def items(tree: Path, *emotions: str) -> list[Item]:
    files = sorted(tree.rglob("*.wav"))
    return [Item("ravdess", p.name, p, e, speaker="1") for p, e in zip(files, emotions, strict=False)]


@pytest.fixture(scope="module")
def reference(run_folder: Path) -> TorchRunner:
    return TorchRunner(run_folder)


@pytest.fixture
def run_with(run_folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """A folder with the run's split, some parts of which are others."""

    def write(**parts: Any) -> Path:
        folder = tmp_path / "run"
        folder.mkdir()
        (folder / "split.json").write_text(json.dumps(load_split(run_folder) | parts))
        return folder

    return write


@pytest.fixture
def trained_on_all(run_folder: Path, run_with: Callable[..., Path]) -> Path:
    """A folder with a split that keeps nothing apart."""
    split = load_split(run_folder)
    return run_with(train=[*split["train"], *split["val"], *split["test"]], val=[], test=[])


def keys(clips: ReferenceClips) -> set[str]:
    return {recording_key(item.key) for item in clips.items}


def test_each_part_has_its_own_use(
    run_folder: Path, reference: TorchRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings, "FEWEST", 1)
    parts = RunRecordings(run_folder, reference)
    split = load_split(run_folder)
    assert keys(parts.compared) == {recording_key(key) for key in split["test"]}
    assert keys(parts.validation) == {recording_key(key) for key in split["val"]}
    assert parts.has_validation
    assert parts.compared.answers.source == "of the test part"
    assert parts.validation.answers.source == "of the validation part"
    assert parts.calibration.shape == (len(split["train"]), reference.spec.window)
    assert parts.cross_validated is None


def test_distances_take_more_recordings_unseen_ones_first(
    run_folder: Path, reference: TorchRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings, "FEWEST", 20)
    monkeypatch.setattr(recordings, "ENOUGH", 20)
    split = load_split(run_folder)
    parts = RunRecordings(run_folder, reference, distances=True)
    answers = parts.compared.answers
    unseen = len(split["test"]) + len(split["val"])
    assert (answers.judged, len(answers.expected)) == (len(split["test"]), 20)
    assert answers.trained_on.tolist() == [False] * unseen + [True] * (20 - unseen)
    assert answers.has_labels
    assert len(parts.validation.items) == 20  # what chooses the layers of int8 is filled up too
    assert parts.validation.answers.judged == len(split["val"])


@pytest.mark.parametrize("unlabelled", [False, True])
def test_too_few_recordings_are_an_answer_of_their_own(
    run_folder: Path, reference: TorchRunner, ravdess_tree: Path, tmp_path: Path, unlabelled: bool
) -> None:
    more = Path(shutil.copytree(ravdess_tree / "Actor_04", tmp_path / "more"))
    for path in sorted(more.glob("*.wav")):
        for copy in "abc":
            shutil.copy(path, more / f"{path.stem}{copy}.wav")
    speech = [Source("unlabelled", more)] if unlabelled else []
    parts = RunRecordings(run_folder, reference, speech, distances=True)
    if unlabelled:
        assert len(parts.compared.items) == 64
        assert parts.compared.answers.source == "of the test part"
        return
    expected = "fp16 and int8 cannot be judged: 32 clips, .* takes 50; name more with --speech .*--precision fp32"
    with pytest.raises(ExportError, match=expected) as caught:
        _ = parts.compared
    assert "\n" not in str(caught.value)


def test_without_the_test_part_only_unheard_speech_serves(
    run_folder: Path, reference: TorchRunner, ravdess_tree: Path, tmp_path: Path
) -> None:
    shutil.copytree(ravdess_tree / "Actor_01", tmp_path / "known" / "Actor_01")
    trained_on = RunRecordings(run_folder, reference, [Source("ravdess", tmp_path / "known")])
    with pytest.raises(ExportError, match="all of the given speech was used in the training"):
        _ = trained_on.compared
    (tmp_path / "mine" / "sad").mkdir(parents=True)
    voice = next((ravdess_tree / "Actor_04").glob("*.wav"))
    (tmp_path / "mine" / "sad" / "1.wav").write_bytes(voice.read_bytes())
    sources = [Source("ravdess", tmp_path / "known"), Source("folder", tmp_path / "mine")]
    clips = RunRecordings(run_folder, reference, sources).compared
    assert ([item.corpus for item in clips.items], clips.answers.source) == (["folder"], "of the given speech")
    # What is calibrated on is read where the training read it.
    assert len(RunRecordings(run_folder, reference, sources[1:]).calibration) == len(
        load_split(run_folder)["train"]
    )


def test_calibration_needs_the_training_part(run_with: Callable[..., Path], reference: TorchRunner) -> None:
    with pytest.raises(ExportError, match="none is in the given speech; name the corpora of the training"):
        _ = RunRecordings(run_with(train=[]), reference).calibration


def test_without_a_validation_part_other_training_speech_serves(
    run_folder: Path, reference: TorchRunner, run_with: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings, "CALIBRATION", 4)
    parts = RunRecordings(run_with(val=[]), reference)
    assert parts.validation.answers.source == "of the training part"
    assert not parts.has_validation
    assert len(parts.validation.items) == len(load_split(run_folder)["train"]) - 4


def test_a_run_that_trained_on_all_is_compared_on_that(trained_on_all: Path, reference: TorchRunner) -> None:
    parts = RunRecordings(trained_on_all, reference)
    answers = parts.compared.answers
    assert (answers.judged, answers.source) == (32, "of the training part, which the model has seen")
    assert answers.trained_on.all()
    assert answers.truth == "what PyTorch recognises"
    assert answers.true == answers.expected.argmax(1).tolist()
    assert not answers.has_labels
    assert not parts.has_validation


def test_given_speech_is_unseen_by_a_run_that_trained_on_all(
    trained_on_all: Path,
    reference: TorchRunner,
    ravdess_tree: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "mine" / "sad").mkdir(parents=True)
    shutil.copy(next((ravdess_tree / "Actor_04").glob("*.wav")), tmp_path / "mine" / "sad" / "1.wav")
    monkeypatch.setattr(recordings, "FEWEST", 1)
    mine = Source("folder", tmp_path / "mine")
    answers = RunRecordings(trained_on_all, reference, [mine], distances=True).compared.answers
    assert (answers.judged, answers.source) == (1, "of the given speech")
    assert answers.has_labels
    assert answers.trained_on.tolist() == [False] + [True] * 32


def test_cross_validated_predictions_are_read(trained_on_all: Path, reference: TorchRunner) -> None:
    parts = RunRecordings(trained_on_all, reference)
    assert parts.cross_validated is None
    written = Predictions(["a", "b"], [Prediction("x:1", "a", None, [0.6, 0.4])])
    written.save(trained_on_all / FILE)
    assert parts.cross_validated == written
    (trained_on_all / FILE).write_text("{")
    with pytest.raises(CheckpointError, match="missing or damaged"):
        _ = parts.cross_validated


def test_without_labels_the_model_is_the_truth(ravdess_tree: Path) -> None:
    clips = ReferenceClips(items(ravdess_tree, "", "", ""), "here", Fake(0.5, 0.3, 0.2))
    assert clips.answers.truth == "what PyTorch recognises"
    assert clips.check(Fake(0.5, 0.3, 0.2), "int8").uar == 1
    assert not clips.check(Fake(0.3, 0.5, 0.2), "int8").passed


def test_a_readable_clip_is_needed(ravdess_tree: Path, tmp_path: Path) -> None:
    broken = Item("x", "b", tmp_path / "none.wav", "a")
    with pytest.raises(ExportError, match="none of the 1 clips"):
        ReferenceClips([broken], "here", Fake(1, 0, 0))
    assert len(ReferenceClips([broken, *items(ravdess_tree, "a", "b")], "here", Fake(1, 0, 0)).items) == 2
