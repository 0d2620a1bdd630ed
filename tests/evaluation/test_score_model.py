"""Scores of runs and bundles on corpora."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fdan_edge.audio.conditions.named import conditions
from fdan_edge.data.corpora import Source
from fdan_edge.errors import AudioError, CheckpointError, DataError
from fdan_edge.evaluation import robustness
from fdan_edge.evaluation.score_model import Drawing, evaluate, evaluate_robustness
from fdan_edge.runs.run_folder import load_split
from fdan_edge.utils.files import sha256
from tests.helpers.bundles import edit

DRAWN = {f"{name}.{ending}" for name in ("confusion", "reliability") for ending in ("png", "svg")}


def test_a_run_repeats_its_own_test_scores(run_folder: Path, ravdess_tree: Path, tmp_path: Path) -> None:
    drawing = Drawing(tmp_path)
    done = evaluate(run_folder, [Source("ravdess", ravdess_tree)], "test", drawing=drawing, threads=1)
    metrics = json.loads((run_folder / "metrics.json").read_text())["test"]
    assert done.to_dict() == metrics
    assert done.part == "the run's test part"
    assert {p.name for p in tmp_path.iterdir()} == DRAWN


def test_tsne_is_of_run_folders(bundle_folder: Path, run_folder: Path, ravdess_tree: Path, tmp_path: Path) -> None:
    speech = [Source("ravdess", ravdess_tree)]
    with pytest.raises(CheckpointError, match="not a run folder; only one holds the features that --tsne draws"):
        evaluate(bundle_folder, speech, "test", drawing=Drawing(tmp_path, tsne=True))
    assert not list(tmp_path.iterdir())
    evaluate(run_folder, speech, "test", drawing=Drawing(tmp_path, tsne=True))
    assert {p.name for p in tmp_path.iterdir()} == {*DRAWN, "tsne.png", "tsne.svg"}


def test_a_bundle_knows_its_run(bundle_folder: Path, run_folder: Path, ravdess_tree: Path) -> None:
    done = evaluate(bundle_folder, [Source("ravdess", ravdess_tree)], "test")
    assert done.scores.n == len(load_split(run_folder)["test"]) == 8
    assert evaluate(bundle_folder, [Source("ravdess", ravdess_tree)], "all").scores.n == 32


def test_a_bundle_is_not_scored_with_the_split_of_another_run(
    bundle_folder: Path, run_folder: Path, ravdess_tree: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(run_folder, tmp_path / "other"))
    parts = json.loads((other / "split.json").read_text())
    (other / "split.json").write_text(json.dumps({**parts, "train": parts["test"], "test": parts["train"]}))
    with pytest.raises(CheckpointError, match=r"is not the run that .* was exported from"):
        evaluate(bundle_folder, [Source("ravdess", ravdess_tree)], "test", run=other)


def test_training_speech_is_not_scored_by_naming_a_part_of_it(run_folder: Path, ravdess_tree: Path) -> None:
    with pytest.raises(DataError, match="used in training or validation"):
        evaluate(run_folder, [Source("ravdess", ravdess_tree / "Actor_01")], "test")


def test_a_moved_bundle_needs_its_run(
    bundle_folder: Path, run_folder: Path, ravdess_tree: Path, tmp_path: Path
) -> None:
    speech = [Source("ravdess", ravdess_tree)]
    moved = Path(shutil.copytree(bundle_folder, tmp_path / "moved"))
    edit(moved, lambda values: values.update(run="/no/longer/there"))
    with pytest.raises(
        CheckpointError, match=r"its run folder is not known.*--run, or score everything with --part all"
    ):
        evaluate(moved, speech, "test")
    assert evaluate(moved, speech, "test", run=run_folder).scores.n == 8
    with pytest.raises(CheckpointError, match="no such run"):
        evaluate(moved, speech, "test", run=tmp_path / "none")
    with pytest.raises(CheckpointError, match="its run folder is not known"):
        evaluate(moved / "model.onnx", speech, "test")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of the conditions: all of them take seconds."""
    monkeypatch.setattr(robustness, "conditions", lambda noises=(): conditions(noises)[:2])


@pytest.mark.usefixtures("few")
def test_scores_in_noise_are_of_the_same_recordings(run_folder: Path, ravdess_tree: Path, tmp_path: Path) -> None:
    speech, run = [Source("ravdess", ravdess_tree)], Path(shutil.copytree(run_folder, tmp_path / "run"))
    plain, scored = evaluate(run, speech), evaluate_robustness(run, speech, threads=1)
    assert [row.condition for row in scored.rows] == ["clean", "white noise, 20 dB"]
    assert scored.rows[0].uar == plain.scores.uar
    assert scored.rows[0].interval == plain.intervals.uar
    assert (scored.n, scored.part, scored.audit) == (plain.scores.n, plain.part, plain.audit)
    assert scored.unseen
    assert scored.checkpoint_sha256 == sha256(run / "checkpoint.safetensors")
    assert scored.folder == str(run)
    assert {f"robustness.{ending}" for ending in ("json", "md", "png", "svg")} <= {p.name for p in run.iterdir()}


@pytest.mark.usefixtures("few")
def test_what_was_trained_on_is_not_left_in_the_run(run_folder: Path, ravdess_tree: Path, tmp_path: Path) -> None:
    speech = [Source("ravdess", ravdess_tree)]
    scored = evaluate_robustness(run_folder, speech, "all", limit=4, threads=1)
    assert (scored.n, scored.unseen, scored.folder) == (4, False, "")
    assert scored.part == "4 of 32, all given speech, training speech included where it is among it"
    assert not (run_folder / "robustness.json").exists()
    named = evaluate_robustness(run_folder, speech, "train", limit=2, out=tmp_path / "out", threads=1)
    assert named.folder == str(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "robustness.json").read_text())["unseen"] is False


def test_noise_that_is_not_there_is_told_before_minutes_of_scoring(run_folder: Path, ravdess_tree: Path) -> None:
    with pytest.raises(AudioError, match="/none: no such file or folder"):
        evaluate_robustness(run_folder, [Source("ravdess", ravdess_tree)], noise=["/none"])
    with pytest.raises(DataError, match="used in training or validation"):
        evaluate_robustness(run_folder, [Source("ravdess", ravdess_tree / "Actor_01")])
