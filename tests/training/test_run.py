"""One whole training on small trees: what a run folder holds, and how it is taken up again."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile
import tomllib
import torch
import torchvision
from torch import Tensor

from fdan_edge.config import Config, method_name
from fdan_edge.data.corpora import Item, Source
from fdan_edge.data.splits import Split, split
from fdan_edge.errors import CheckpointError, ConfigError, DataError, TrainingError
from fdan_edge.evaluation.predictions import load_predictions
from fdan_edge.evaluation.score_model import evaluate
from fdan_edge.runs.run_folder import load_run, load_split, load_tensors
from fdan_edge.runs.torch_runner import TorchRunner
from fdan_edge.training.features import TrainingFeatures, extract_features
from fdan_edge.training.history import EpochMetrics
from fdan_edge.training.run import train
from fdan_edge.training.trainer import Trainer
from tests.conftest import TINY

FILES = {
    "calibration.json",
    "checkpoint.safetensors",
    "config.toml",
    "confusion.png",
    "confusion.svg",
    "epochs.jsonl",
    "last.safetensors",
    "metrics.json",
    "predictions.json",
    "provenance.json",
    "reliability.png",
    "reliability.svg",
    "run.toml",
    "split.json",
    "tensorboard",
}


def interrupt(_: object) -> None:
    raise KeyboardInterrupt


def test_a_run_folder_holds_everything(run_folder: Path, ravdess_tree: Path, fer_tree: Path) -> None:
    assert {p.name for p in run_folder.iterdir()} == FILES
    config, info = load_run(run_folder)
    assert config == Config.load(None, list(TINY))
    assert info.classes == ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]
    assert (info.speech, info.faces) == ([f"ravdess:{ravdess_tree}"], [f"fer2013:{fer_tree}"])
    assert info.protocol == "speaker-independent, speakers 04 held out"
    assert {"torch", "torchvision", "python", "fdan_edge"} <= info.versions.keys()
    assert (run_folder / "confusion.png").read_bytes()[:4] == b"\x89PNG"


def test_the_config_in_a_run_is_usable_as_a_config(run_folder: Path) -> None:
    assert Config.load(run_folder / "config.toml", []) == Config.load(None, list(TINY))
    assert tomllib.loads((run_folder / "config.toml").read_text())["epochs"] == 2


def test_metrics_are_of_the_test_part(run_folder: Path) -> None:
    values = json.loads((run_folder / "metrics.json").read_text())
    parts = load_split(run_folder)
    assert {key.split("/")[0] for key in parts["test"]} == {"ravdess:Actor_04"}
    assert [len(parts[name]) for name in ("train", "val", "test")] == [16, 8, 8]
    assert values["method"] == "FDAN"
    assert values["test"]["n"] == len(parts["test"])
    assert values["val"]["n"] == len(parts["val"])
    assert sum(map(sum, values["test"]["confusion"])) == 8
    assert values["test"]["labels"][4] == "neutral"
    assert sum(values["test"]["confusion"][4]) == 2  # neutral, and calm counted as neutral


def test_the_audit_travels_with_the_scores(run_folder: Path) -> None:
    verdict = "clean for speakers; 1 of 1 test sentences also in training; no duplicates"
    values = json.loads((run_folder / "metrics.json").read_text())
    assert values["audit"]["verdict"] == values["test"]["audit"] == load_run(run_folder)[1].audit == verdict
    assert values["audit"]["sentences"] == {"crossing": 1, "of": 1, "names": ["ravdess:01"], "unknown": 0}


def test_the_predictions_of_the_test_are_kept(run_folder: Path) -> None:
    values = json.loads((run_folder / "metrics.json").read_text())
    kept = load_predictions(run_folder / "predictions.json")
    assert [recording.key for recording in kept.recordings] == load_split(run_folder)["test"]
    assert kept.scores().to_dict().items() <= values["test"].items()
    assert "predictions" not in values["test"]


def test_a_split_that_breaks_its_promise_is_not_trained(
    tmp_path: Path, ravdess_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leaking(items: list[Item], config: Config) -> Split:
        parts = split(items, config)
        return replace(parts, train=[*parts.train, parts.test[0]], test=parts.test[1:])

    monkeypatch.setattr("fdan_edge.training.corpora.split", leaking)
    with pytest.raises(DataError, match=r"audit: speakers in training and test, .* rules out: ravdess:04; "):
        train(Config.load(None, list(TINY)), [Source("ravdess", ravdess_tree)], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_sentence_is_held_out_also_when_the_run_goes_on(
    tmp_path: Path, ravdess_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = Path(shutil.copytree(ravdess_tree, tmp_path / "ravdess"))
    for path in sorted(tree.rglob("03-01-0[345]-*.wav")):
        shutil.copy(path, path.with_name(path.name.replace("-01-01-01-", "-01-02-01-")))
        samples, rate = soundfile.read(path)
        soundfile.write(path, 0.9 * samples, rate)
    folder, config = tmp_path / "run", Config.load(None, [*TINY, "epochs=1", "protocol=text"])
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(config, [Source("ravdess", tree)], folder)
    info = load_run(folder)[1]
    assert info.audit == "4 of 4 test speakers also in training; clean for sentences; no duplicates"
    result = train(config, [Source("ravdess", tree)], folder, resume=True)
    assert result.metrics["test"]["audit"] == load_run(folder)[1].audit == info.audit
    assert result.metrics["test"]["n"] == 12
    assert evaluate(folder, [Source("ravdess", tree)], "test").scores.n == 12


def test_scores_say_how_sure_they_are(run_folder: Path) -> None:
    test = json.loads((run_folder / "metrics.json").read_text())["test"]
    made = test["intervals"]
    for name in ("uar", "war", "wf1"):
        low, high = made[name]
        assert 0 <= low <= test[name] <= high <= 1
    assert made["recall"].keys() == test["recall"].keys()
    assert (made["unit"], made["units"], made["speakers"]) == ("recording", 8, 1)  # one speaker is held out
    assert 0 <= test["calibration"]["ece"] <= 1


def test_the_temperature_is_fitted_on_validation_and_kept(run_folder: Path) -> None:
    values = json.loads((run_folder / "metrics.json").read_text())
    stored = json.loads((run_folder / "calibration.json").read_text())
    assert stored == {**values["calibration"], "epoch": values["best_epoch"]}
    assert stored["n"] == values["val"]["n"]
    assert stored["nll_before"] == pytest.approx(values["val"]["loss"], abs=1e-4)  # the loss of the best epoch
    assert stored["nll_after"] <= stored["nll_before"]
    with TorchRunner(run_folder) as runner:
        assert runner.path.temperature == stored["temperature"] != 1
        assert runner.spec.info["calibration"] == stored


def test_the_epoch_is_chosen_on_validation(run_folder: Path) -> None:
    history = [json.loads(line) for line in (run_folder / "epochs.jsonl").read_text().splitlines()]
    values = json.loads((run_folder / "metrics.json").read_text())
    best = min(history, key=lambda e: float(e["val_loss"]))
    assert values["best_epoch"] == best["epoch"]
    assert values["val"]["uar"] == best["val_uar"]
    assert not any(name.startswith("test") for epoch in history for name in epoch)
    assert load_tensors(run_folder / "checkpoint.safetensors")[1]["epoch"] == best["epoch"]
    assert all(math.isfinite(epoch["loss"]) for epoch in history)


def test_a_finished_run_is_not_overwritten(run_folder: Path, ravdess_tree: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in run_folder.iterdir()}
    with pytest.raises(CheckpointError, match="holds a run already; --resume continues it, --out NAME"):
        train(Config.load(None, list(TINY)), [Source("ravdess", ravdess_tree)], run_folder)
    assert {p: p.stat().st_mtime_ns for p in run_folder.iterdir()} == before


def test_an_interrupted_run_is_resumed(
    tmp_path: Path, ravdess_tree: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config, speech = Config.load(None, list(TINY)), [Source("ravdess", ravdess_tree)]
    with pytest.raises(KeyboardInterrupt):
        train(config, speech, tmp_path / "run", on_epoch=interrupt)
    assert "1 whole epochs are kept" in " ".join(capfd.readouterr().err.split())
    assert not (tmp_path / "run" / "metrics.json").exists()
    result = train(config, speech, tmp_path / "run", resume=True)
    assert result.metrics["method"] == "plain backbone"
    history = (tmp_path / "run" / "epochs.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in history] == [1, 2]
    assert "resuming after epoch 1 of 2" in capfd.readouterr().err


@pytest.mark.parametrize("now", ["changed", "gone"])
def test_a_resumed_run_hears_with_its_own_frozen_stages(
    tmp_path: Path, ravdess_tree: Path, monkeypatch: pytest.MonkeyPatch, now: str
) -> None:
    """Not with what the file of weights holds by then."""
    torch.manual_seed(0)
    weights = tmp_path / "w.pth"
    torch.save(torchvision.models.mobilenet_v2().state_dict(), weights)
    words = [*TINY, "backbone=mobilenet_v2_tiny", f"weights={weights}", "frozen_stages=7"]
    config, speech = Config.load(None, words), [Source("ravdess", ravdess_tree)]
    features: list[Tensor] = []

    def watched(*arguments: Any) -> TrainingFeatures:
        extracted = extract_features(*arguments)
        features.append(extracted.train.decibel[...])
        if len(features) == 1:
            raise KeyboardInterrupt
        return extracted

    trained = train(config, speech, tmp_path / "trained")
    monkeypatch.setattr("fdan_edge.training.run.extract_features", watched)
    with pytest.raises(KeyboardInterrupt):
        train(config, speech, tmp_path / "other")
    weights.unlink()
    if now == "changed":
        torch.save(torchvision.models.mobilenet_v2().state_dict(), weights)
    monkeypatch.setenv("FDAN_EDGE_CACHE", str(tmp_path / "cache"))  # nothing is known of before
    resumed = train(config, speech, tmp_path / "trained", resume=True)
    assert features[0].shape[2:] == (32, 4, 4)
    assert torch.equal(features[1], features[0])
    assert resumed.metrics["test"] == trained.metrics["test"]


def test_resuming_keeps_the_split_when_files_have_come(
    tmp_path: Path, ravdess_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A split made anew over one file more would move training recordings into the test part."""
    tree = Path(shutil.copytree(ravdess_tree, tmp_path / "ravdess"))
    config = Config.load(None, [*TINY, "protocol=random", "test_fraction=0.3"])
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(config, [Source("ravdess", tree)], tmp_path / "run")
    before = (tmp_path / "run" / "split.json").read_bytes()
    shutil.copy(tree / "Actor_01/03-01-04-01-01-01-01.wav", tree / "Actor_01/03-01-04-01-01-02-01.wav")
    result = train(config, [Source("ravdess", tree)], tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "split.json").read_bytes() == before
    assert result.metrics["test"]["n"] == len(json.loads(before)["test"])


def test_a_training_that_diverges_leaves_the_scores_of_its_best_epoch(tmp_path: Path, ravdess_tree: Path) -> None:
    def diverge(_: EpochMetrics) -> None:
        raise TrainingError("the loss is nan")

    with pytest.raises(TrainingError):
        train(Config.load(None, list(TINY)), [Source("ravdess", ravdess_tree)], tmp_path / "run", on_epoch=diverge)
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["best_epoch"] == 1


def test_missing_weights_fail_before_the_decoding(tmp_path: Path, ravdess_tree: Path) -> None:
    config = Config.load(None, [*TINY, "weights=/nowhere.pth"])
    with pytest.raises(ConfigError, match="no such file"):
        train(config, [Source("ravdess", ravdess_tree)], tmp_path / "run")
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    config = replace(config, weights=str(tmp_path / "other.pth"))
    with pytest.raises(ConfigError, match="the weights do not fit"):
        train(config, [Source("ravdess", ravdess_tree)], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_faces_of_no_class_of_the_speech(tmp_path: Path, ravdess_tree: Path, fer_tree: Path) -> None:
    config = Config.load(None, [*TINY, "calm_as_neutral=false"])
    speech = tmp_path / "speech"
    for name in ("01", "03"):  # neutral and happy
        for path in ravdess_tree.glob(f"*/03-01-{name}-*.wav"):
            (speech / path.parent.name).mkdir(parents=True, exist_ok=True)
            (speech / path.parent.name / path.name).symlink_to(path)
    face = tmp_path / "fer" / "train" / "calm" / "0.png"
    face.parent.mkdir(parents=True)
    face.symlink_to(fer_tree / "train" / "sad" / "0.png")
    with pytest.raises(DataError, match="none of 1 faces is of a class that the speech has: happy, neutral"):
        train(config, [Source("ravdess", speech)], tmp_path / "run", faces=[Source("fer2013", tmp_path / "fer")])


@pytest.mark.parametrize(
    ("changes", "faces", "name"),
    [
        ({}, False, "plain backbone"),
        ({}, True, "FDAN"),
        ({"attention_layers": 0}, True, "FDAN_1 (no cross-attention)"),
        ({"alpha": 0.0}, True, "FDAN_2 (no LMMD)"),
        ({"attention_layers": 0, "alpha": 0.0}, True, "two backbones, neither attention nor LMMD"),
    ],
)
def test_the_papers_names(changes: dict[str, float], faces: bool, name: str) -> None:
    assert method_name(Config(**changes), faces=faces) == name  # type: ignore[arg-type]
