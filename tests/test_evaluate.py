"""Which recordings are scored, and how `evaluate` treats what it cannot use."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fdan_edge import bundle
from fdan_edge.checkpoint import load_split
from fdan_edge.corpora import Item, Source
from fdan_edge.errors import CheckpointError, DataError
from fdan_edge.evaluate import choose_part, evaluate, read_speech
from fdan_edge.scoring import Drawing, score_target
from fdan_edge.spec import ModelSpec

DRAWN = {f"{name}.{ending}" for name in ("confusion", "reliability") for ending in ("png", "svg")}
SPLIT = {
    "train": ["r:1.wav", "r:2.wav"],
    "val": ["r:3.wav"],
    "test": ["r:4.wav", "r:5.wav"],
    "speakers": ["r:seen"],
}


def items(names: Sequence[str], corpus: str = "r") -> list[Item]:
    return [Item(corpus, name, Path(name), "sad") for name in names]


def chosen(given: list[Item], part: str) -> tuple[list[str], str]:
    found, description = choose_part(given, SPLIT, part)
    return [item.id for item in found], description


def test_parts() -> None:
    given = items([f"{n}.wav" for n in range(1, 6)])
    assert chosen(given, "train") == (["1.wav", "2.wav"], "the run's train part")
    assert chosen(given, "val") == (["3.wav"], "the run's val part")
    assert chosen(given, "test") == (["4.wav", "5.wav"], "the run's test part")
    found, description = chosen(given, "all")
    assert len(found) == 5
    assert "training speech included" in description


def test_speech_of_elsewhere_is_unseen_but_training_speech_never_is() -> None:
    found, description = choose_part(
        [*items(["1.wav", "4.wav"]), *items(["1.wav"], corpus="other")], SPLIT, "test"
    )
    assert [item.key for item in found] == ["r:4.wav", "other:1.wav"]
    assert description == "speech unseen in training"


def test_another_file_format_does_not_make_training_speech_unseen() -> None:
    found, description = chosen(items(["1.flac", "3.flac", "4.flac"]), "test")
    assert (found, description) == (["4.flac"], "1 of 2 recordings of the run's test part")


def test_new_recordings_of_a_training_speaker_are_no_test() -> None:
    new = [
        replace(item, speaker=name) for item, name in zip(items(["8.wav", "9.wav"]), ("seen", "new"), strict=True)
    ]
    assert [item.id for item in choose_part(new, SPLIT, "test")[0]] == ["9.wav"]
    assert len(choose_part(new, {**SPLIT, "speakers": []}, "test")[0]) == 2  # a random split holds no speaker out


def test_sentences_of_the_training_are_no_test_where_sentences_are_held_out() -> None:
    new = [
        replace(item, speaker="seen", text=text)
        for item, text in zip(items(["8.wav", "9.wav"]), ("met", "new"), strict=True)
    ]
    split = {**SPLIT, "speakers": [], "texts": ["r:met"]}
    assert [item.id for item in choose_part(new, split, "test")[0]] == ["9.wav"]
    with pytest.raises(DataError, match="all of this speech, or its sentences, was used in training"):
        choose_part(new[:1], split, "test")
    # A sentence may be called as a speaker is: in RAVDESS both are numbers.
    speakers = {**SPLIT, "speakers": ["r:new"], "texts": []}
    assert [item.id for item in choose_part(new, speakers, "test")[0]] == ["8.wav", "9.wav"]


def test_the_verdict_is_of_the_runs_own_test(run_folder: Path, ravdess_tree: Path) -> None:
    speech = [Source("ravdess", ravdess_tree)]
    verdict = "clean for speakers; 1 of 1 test sentences also in training; no duplicates"
    assert score_target(run_folder, speech, "test").audit == verdict
    assert score_target(run_folder, speech, "val").audit == "not audited: not the run's test part"


def test_a_part_that_the_speech_has_nothing_of() -> None:
    with pytest.raises(DataError, match="none of this speech is in the run's val part"):
        choose_part(items(["1.wav"]), SPLIT, "val")


def test_only_training_speech_is_refused() -> None:
    with pytest.raises(
        DataError, match="all of this speech, or its speakers, was used in training or validation; --part all"
    ):
        choose_part(items(["1.wav", "3.wav"]), SPLIT, "test")
    with pytest.raises(DataError, match=r"unknown part 'tst' \(did you mean test\?\)"):
        choose_part(items(["1.wav"]), SPLIT, "tst")


def test_read_speech(ravdess_tree: Path) -> None:
    source = Source("ravdess", ravdess_tree)
    assert "calm" in {item.emotion for item in read_speech([source], calm_as_neutral=False)}
    merged = read_speech([source], calm_as_neutral=True)
    assert sum(item.emotion == "neutral" for item in merged) == 8
    overlapping = [source, Source("ravdess", ravdess_tree / "Actor_01")]
    assert [i.key for i in read_speech(overlapping, calm_as_neutral=True)] == [i.key for i in merged]


class Loud:
    """Says that loud windows are angry."""

    name = "loud"
    spec = ModelSpec(("angry", "sad"), 16000, 16000, 8000, 0.0)

    def predict(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        angry = (np.abs(waveforms).max(axis=1) > 0.5).astype(np.float32)
        return np.stack([angry, 1 - angry], axis=1)

    def __enter__(self) -> Loud:
        return self

    def __exit__(self, *_: object) -> None:
        return None


@pytest.fixture
def recordings(tmp_path: Path) -> list[Item]:
    import soundfile

    made = []
    for name, peak, emotion in (("a", 0.9, "angry"), ("b", 0.2, "sad"), ("c", 0.2, "angry"), ("d", 0.2, "happy")):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, peak * np.sin(np.arange(20000) / 5), 16000)
        made.append(Item("x", path.name, path, emotion))
    (tmp_path / "e.wav").write_bytes(b"RIFF")
    return [*made, Item("x", "e.wav", tmp_path / "e.wav", "sad")]


def test_evaluate_scores_what_it_can(recordings: list[Item]) -> None:
    done = evaluate(Loud(), recordings, "here")
    assert done.scores.confusion == [[1, 1], [0, 1]]
    assert done.scores.n == 3
    assert done.skipped == 1  # happy is no class of the model
    assert len(done.broken) == 1
    assert "e.wav" in done.broken[0]
    values = json.loads(json.dumps(done.to_dict()))
    assert (values["part"], values["war"], values["skipped_unknown_class"]) == ("here", pytest.approx(2 / 3), 1)


def test_evaluate_says_how_sure_it_is(recordings: list[Item]) -> None:
    speakers = [replace(item, speaker=name) for item, name in zip(recordings, "pqqqq", strict=True)]
    done = evaluate(Loud(), speakers, "here")
    # Speaker p: angry, right. Speaker q: sad, right, and angry, not heard.
    assert (done.intervals.unit, done.intervals.units) == ("speaker", 2)
    assert done.intervals.war == (0.5, 1)
    assert done.calibration.ece == pytest.approx(1 / 3)  # sure of all three, right about two
    values = json.loads(json.dumps(done.to_dict()))
    assert values["intervals"]["war"] == [0.5, 1]
    assert values["recall"].keys() == values["intervals"]["recall"].keys() == {"angry", "sad"}
    assert values["calibration"]["nll"] == pytest.approx(done.calibration.nll)
    assert evaluate(Loud(), recordings, "here").intervals.unit == "recording"  # no speaker is known


def test_nothing_to_score(recordings: list[Item]) -> None:
    with pytest.raises(DataError, match="none of 2 recordings could be scored; the model knows angry, sad"):
        evaluate(Loud(), recordings[3:], "here")


def test_a_run_repeats_its_own_test_scores(run_folder: Path, ravdess_tree: Path, tmp_path: Path) -> None:
    drawing = Drawing(tmp_path)
    done = score_target(run_folder, [Source("ravdess", ravdess_tree)], "test", drawing=drawing)
    metrics = json.loads((run_folder / "metrics.json").read_text())["test"]
    assert done.to_dict() == metrics
    assert done.part == "the run's test part"
    assert {p.name for p in tmp_path.iterdir()} == DRAWN


def test_tsne_is_of_run_folders(bundle_folder: Path, run_folder: Path, ravdess_tree: Path, tmp_path: Path) -> None:
    speech = [Source("ravdess", ravdess_tree)]
    with pytest.raises(CheckpointError, match="not a run folder; only one holds the features that --tsne draws"):
        score_target(bundle_folder, speech, "test", drawing=Drawing(tmp_path, tsne=True))
    assert not list(tmp_path.iterdir())
    score_target(run_folder, speech, "test", drawing=Drawing(tmp_path, tsne=True))
    assert {p.name for p in tmp_path.iterdir()} == {*DRAWN, "tsne.png", "tsne.svg"}


def test_a_bundle_knows_its_run(bundle_folder: Path, run_folder: Path, ravdess_tree: Path) -> None:
    done = score_target(bundle_folder, [Source("ravdess", ravdess_tree)], "test")
    assert done.scores.n == len(load_split(run_folder)["test"]) == 8
    assert score_target(bundle_folder, [Source("ravdess", ravdess_tree)], "all").scores.n == 32


def test_a_bundle_is_not_scored_with_the_split_of_another_run(
    bundle_folder: Path, run_folder: Path, ravdess_tree: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(run_folder, tmp_path / "other"))
    parts = json.loads((other / "split.json").read_text())
    (other / "split.json").write_text(json.dumps({**parts, "train": parts["test"], "test": parts["train"]}))
    with pytest.raises(CheckpointError, match=r"is not the run that .* was exported from"):
        score_target(bundle_folder, [Source("ravdess", ravdess_tree)], "test", run=other)


def test_training_speech_is_not_scored_by_naming_a_part_of_it(run_folder: Path, ravdess_tree: Path) -> None:
    with pytest.raises(DataError, match="used in training or validation"):
        score_target(run_folder, [Source("ravdess", ravdess_tree / "Actor_01")], "test")


def test_a_moved_bundle_needs_its_run(
    bundle_folder: Path, run_folder: Path, ravdess_tree: Path, tmp_path: Path
) -> None:
    speech = [Source("ravdess", ravdess_tree)]
    moved = Path(shutil.copytree(bundle_folder, tmp_path / "moved"))
    manifest = bundle.read_manifest(moved)
    (moved / bundle.MANIFEST).write_text(json.dumps({**manifest, "run": "/no/longer/there"}))
    with pytest.raises(
        CheckpointError, match=r"its run folder is not known.*--run, or score everything with --part all"
    ):
        score_target(moved, speech, "test")
    assert score_target(moved, speech, "test", run=run_folder).scores.n == 8
    with pytest.raises(CheckpointError, match="no such run"):
        score_target(moved, speech, "test", run=tmp_path / "none")
    with pytest.raises(CheckpointError, match="its run folder is not known"):
        score_target(moved / "model.onnx", speech, "test")
