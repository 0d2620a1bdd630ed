"""Scores of runs and bundles on corpora."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fdan_edge.data.corpora import Source
from fdan_edge.errors import CheckpointError, DataError
from fdan_edge.evaluation.score_model import Drawing, evaluate
from fdan_edge.runs.run_folder import load_split
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
