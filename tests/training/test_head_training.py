"""The default training of a few recordings: a head, its run folder, honest scores, an end where it is useless."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from fdan_edge.config import Config
from fdan_edge.data.corpora import Source
from fdan_edge.data.corpora.synthetic.voices import SAMPLE_RATE, voice
from fdan_edge.data.speech import read_labelled_speech
from fdan_edge.errors import DataError
from fdan_edge.evaluation.predictions import load_predictions
from fdan_edge.evaluation.score_model import evaluate
from fdan_edge.runs.index import read_run
from fdan_edge.runs.run_folder import load_run, load_split, load_tensors
from fdan_edge.runs.torch_runner import TorchRunner
from fdan_edge.runtime.recognition import recognize_file
from fdan_edge.training.run import train

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def head_run(tmp_path_factory: pytest.TempPathFactory, ravdess_tree: Path) -> tuple[Path, dict[str, Any]]:
    """What the defaults leave of 32 recordings of 4 speakers. Read only."""
    folder = tmp_path_factory.mktemp("head") / "run"
    return folder, train(Config(), [Source("ravdess", ravdess_tree)], folder).metrics


def test_everything_is_fitted_on_and_cross_validated(head_run: tuple[Path, dict[str, Any]]) -> None:
    folder, metrics = head_run
    config, info = load_run(folder)
    assert (config.recipe, config.protocol, config.backbone) == ("head", "all", "whisper_tiny")
    split = load_split(folder)
    assert [len(split[part]) for part in ("train", "val", "test")] == [32, 0, 0]
    assert metrics["test"]["n"] == metrics["val"]["n"] == 32
    assert metrics["test"]["part"].startswith("cross-validated: each speaker by a head that was fitted on the ot")
    assert metrics["test"]["part"].endswith("; 4 speakers")
    assert metrics["scores_of"] == "models like this one; it is fitted on all recordings"
    assert metrics["same_speakers"]["n"] == 32
    assert metrics["epoch_choice"] == "none: the head is fitted in closed form"
    assert info.protocol == "every recording is trained on, and the scores are cross-validated"
    predictions = load_predictions(folder / "predictions.json")
    assert {row.key for row in predictions.recordings} == {*split["train"]}
    assert predictions.scores().uar == metrics["test"]["uar"]


def test_runs_and_resume_know_it(head_run: tuple[Path, dict[str, Any]], ravdess_tree: Path) -> None:
    folder, metrics = head_run
    row = read_run(folder, "run")
    assert (row.state, row.method, row.test_uar) == ("finished", "head on frozen features", metrics["test"]["uar"])
    before, _ = load_tensors(folder / "checkpoint.safetensors")
    again = train(load_run(folder)[0], [Source("ravdess", ravdess_tree)], folder, resume=True).metrics
    after, _ = load_tensors(folder / "checkpoint.safetensors")
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert again == metrics


def test_the_kept_model_knows_what_it_was_fitted_on(
    head_run: tuple[Path, dict[str, Any]], ravdess_tree: Path
) -> None:
    """The features that were cached and what the model computes of the files are the same."""
    folder, _ = head_run
    scored = evaluate(folder, [Source("ravdess", ravdess_tree)], "train")
    assert scored.scores.uar == 1
    with pytest.raises(DataError, match="was used in training or validation"):
        evaluate(folder, [Source("ravdess", ravdess_tree)], "test")


def test_a_fold_is_tested_by_the_model_of_the_others(tmp_path: Path, ravdess_tree: Path) -> None:
    config = Config.load(None, ["protocol=loso", "fold=2"])
    metrics = train(config, [Source("ravdess", ravdess_tree)], tmp_path / "run").metrics
    split = load_split(tmp_path / "run")
    assert (metrics["test"]["n"], metrics["scores_of"], metrics["val"]["n"]) == (8, "this model", 24)
    assert {key.rpartition("-")[2][:2] for key in split["test"]} == {"02"}
    speech = read_labelled_speech([Source("ravdess", ravdess_tree)], calm_as_neutral=True, boredom=False)
    items = {item.key: item for item in speech}
    rows = load_predictions(tmp_path / "run" / "predictions.json").recordings
    with TorchRunner(tmp_path / "run") as runner:
        answer = recognize_file(runner, items[rows[0].key].path)
    np.testing.assert_allclose(list(answer.probabilities.values()), rows[0].probabilities, atol=1e-5)


def write_table(folder: Path, labels: list[str], *, speakers: bool = True) -> Path:
    """Recordings of three speakers and a table of these labels."""
    rows = []
    for index, label in enumerate(labels):
        path = folder / f"{index}.wav"
        soundfile.write(path, voice(("angry", "happy", "sad")[index % 3], index % 4, index), SAMPLE_RATE)
        rows.append([path.name, label, *([f"p{index % 4}"] if speakers else [])])
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "emotion", *(["speaker"] if speakers else [])], *rows])
    return folder / "labels.csv"


def test_labels_that_mean_nothing_end_with_exit_code_1(run: Run, tmp_path: Path) -> None:
    labels = ["angry", "happy", "sad"] * 8
    random.Random(3).shuffle(labels)
    table = write_table(tmp_path, labels)
    code, out, _ = run("train", "--speech", f"folder:{table}", "--out", tmp_path / "run")
    assert code == 1
    assert "do not use this model: UAR " in out
    assert "next: " not in out


def test_without_speakers_it_says_whose_scores_these_are(run: Run, tmp_path: Path) -> None:
    table = write_table(tmp_path, ["angry", "happy", "sad"] * 5 + ["angry"], speakers=False)
    (tmp_path / "copy.wav").write_bytes((tmp_path / "0.wav").read_bytes())
    with table.open("a") as file:
        file.write("copy.wav,angry\n")
    code, out, err = run("train", "--speech", f"folder:{table}", "--out", tmp_path / "run", "--json")
    metrics = json.loads(out)
    assert code == 0
    assert "speakers are not known, so expect less on new ones" in metrics["test"]["part"]
    assert "same_speakers" not in metrics
    assert metrics["test"]["n"] == 16  # the copy would have scored its original
    assert "1 recording is there under another name too: left out" in err
    assert "encoding 16 recordings takes about " in err


def test_one_class_is_left(tmp_path: Path) -> None:
    table = write_table(tmp_path, ["angry", "happy"] * 3)
    for index in (1, 3, 5):
        (tmp_path / f"{index}.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match="no recording of happy can be used; usable are those of angry"):
        train(Config(), [Source("folder", table)], tmp_path / "run")
