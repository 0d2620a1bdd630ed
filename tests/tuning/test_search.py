"""A search over settings: folds, samplers, pruners, and what is counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna")

from fdan_edge.config import Config
from fdan_edge.data.corpora import Source
from fdan_edge.data.speech import read_labelled_speech
from fdan_edge.errors import ConfigError, DataError
from fdan_edge.training.run import TrainingResult
from fdan_edge.tuning.results import TuningResult, markdown
from fdan_edge.tuning.search import Search, fold_configs, tune
from tests.conftest import TINY
from tests.helpers.tune_fake import EPOCHS, calls, fake_train, uar, values

TWO = ("trial 1/2", "trial 2/2")


def right(result: TuningResult, ravdess_tree: Path) -> None:
    """Each trial's value is that of its own settings, over its own folds."""
    items = read_labelled_speech([Source("ravdess", ravdess_tree)], calm_as_neutral=True, boredom=False)
    for trial in result.trials:
        folds = fold_configs(Config.load(None, [f"epochs={EPOCHS}", f"alpha={trial.settings['alpha']}"]), items, 3)
        assert trial.uar == pytest.approx(sum(map(uar, folds)) / 3)
        assert trial.folds == [uar(fold) for fold in folds]


def test_folds_are_of_the_speakers_that_are_not_tested(ravdess_tree: Path) -> None:
    items = read_labelled_speech([Source("ravdess", ravdess_tree)], calm_as_neutral=True, boredom=False)
    folds = fold_configs(Config(), items, 3)
    assert {fold.test_speakers for fold in folds} == {("ravdess:04",)}
    assert [fold.val_speakers for fold in folds] == [("ravdess:01",), ("ravdess:02",), ("ravdess:03",)]
    two = fold_configs(Config.load(None, ["protocol=kfold", "folds=4", "fold=2"]), items, 2)
    assert [(fold.protocol, fold.test_speakers) for fold in two] == [("speaker", ("ravdess:02",))] * 2
    assert [fold.val_speakers for fold in two] == [("ravdess:01", "ravdess:03"), ("ravdess:04",)]
    assert fold_configs(Config(protocol="random"), items, 1) == [Config(protocol="random")]


def test_folds_that_cannot_be(ravdess_tree: Path) -> None:
    items = read_labelled_speech([Source("ravdess", ravdess_tree)], calm_as_neutral=True, boredom=False)
    with pytest.raises(ConfigError, match="protocol random holds none out; valid: speaker, loso, kfold, loco"):
        fold_configs(Config(protocol="random"), items, 2)
    with pytest.raises(ConfigError, match="val_speakers goes with --folds 1"):
        fold_configs(Config(val_speakers=("01",)), items, 2)
    with pytest.raises(DataError, match="4 folds need as many speakers that are not tested, found 3"):
        fold_configs(Config(), items, 4)
    few = [item for item in items if item.speaker in ("01", "02")]
    with pytest.raises(DataError, match="at least 3 known speakers; use --folds 1 with --set protocol=random"):
        fold_configs(Config(), few, 2)


@pytest.mark.usefixtures("cheap")
def test_trials_and_their_files(search: Callable[..., TuningResult], ravdess_tree: Path, tmp_path: Path) -> None:
    result = search()
    folder = tmp_path / "t"
    right(result, ravdess_tree)
    assert [trial.state for trial in result.trials] == ["complete"] * 4
    assert result.trials[0].settings == {"alpha": 1e-3}  # the settings' own, to compare with
    assert len({trial.settings["alpha"] for trial in result.trials}) == 4
    assert result.best is not None
    assert result.best.uar == max(trial.uar or 0 for trial in result.trials)
    best = Config.load(folder / "best.toml", [])
    assert (best.alpha, best.val_speakers, best.epochs) == (result.best.settings["alpha"], (), EPOCHS)
    assert json.loads((folder / "tuning.json").read_text()) == json.loads(json.dumps(result.to_dict()))
    table = (folder / "tuning.md").read_text()
    assert table == markdown(result)
    assert "too good" in table
    rows = [line for line in table.splitlines() if line.startswith("| ")][2:]
    assert rows[0].split(" | ")[0] == f"| {result.best.number}"
    weights = {str(path.relative_to(folder)) for path in folder.rglob("*.safetensors")}
    assert weights == {f"trials/{result.best.name}/fold-{n}/checkpoint.safetensors" for n in (1, 2, 3)}


@pytest.mark.usefixtures("cheap")
def test_a_search_is_the_same_again_also_in_pieces(search: Callable[..., TuningResult], tmp_path: Path) -> None:
    whole = search(trials=12, out="whole")
    for trials in (1, 3, 12):
        pieces = search(trials=trials, out="pieces")
        assert len(pieces.trials) == trials
    assert values(pieces) == values(whole)
    assert calls(tmp_path / "pieces") == calls(tmp_path / "whole")
    other = search("seed=1", out="other", trials=3)
    assert values(other)[1:] != values(whole)[1:3]
    assert len(search(trials=2, out="pieces").trials) == 12  # fewer than there are: it only shows


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("sampler", ["tpe", "gp", "qmc", "random"])
def test_samplers(search: Callable[..., TuningResult], sampler: str) -> None:
    space = ("alpha=1e-5..0.1", "attention_layers=0..3", "balanced=true,false")
    result = search(space=space, sampler=sampler, trials=12, folds=2)
    assert len({tuple(trial.settings.values()) for trial in result.trials}) >= 11
    assert all(1e-5 <= trial.settings["alpha"] <= 0.1 for trial in result.trials)


@pytest.mark.usefixtures("cheap")
def test_a_grid_is_tried_once_each(search: Callable[..., TuningResult]) -> None:
    space = ("alpha=1e-4,1e-3", "attention_layers=0..2")
    result = search(space=space, sampler="grid", trials=50, folds=2)
    assert len(result.trials) == 6
    assert len({tuple(trial.settings.values()) for trial in result.trials}) == 6


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_poor_trials_end_early(search: Callable[..., TuningResult], tmp_path: Path, pruner: str) -> None:
    result = search(trials=24, sampler="random", pruner=pruner)
    pruned = [trial for trial in result.trials if trial.state == "pruned"]
    assert pruned
    assert result.best is not None
    for trial in pruned:
        assert trial.step < 3 * EPOCHS
        assert trial.uar is not None
        assert trial.uar < (result.best.uar or 0)
        trained = [
            epoch for run, epochs in calls(tmp_path / "t").items() if run[:4] == trial.name for epoch in epochs
        ]
        assert len(trained) == trial.step


@pytest.mark.usefixtures("cheap")
def test_a_trial_that_diverges_has_failed(search: Callable[..., TuningResult], tmp_path: Path) -> None:
    result = search(space=("alpha=1e-3,1",), sampler="grid", trials=2)
    assert [(trial.state, trial.reason) for trial in result.trials] == [
        ("complete", ""),
        ("failed", "epoch 1: the loss is nan"),
    ]
    assert "failed: epoch 1: the loss is nan" in (tmp_path / "t" / "tuning.md").read_text()


@pytest.mark.usefixtures("cheap")
def test_settings_that_do_not_go_together_fail_alone(search: Callable[..., TuningResult]) -> None:
    result = search("n_fft=512", space=("hop=256,512", "n_fft=256,512"), sampler="grid", folds=2)
    failed = [trial for trial in result.trials if trial.state == "failed"]
    assert [(trial.settings, trial.reason) for trial in failed] == [
        ({"hop": 512, "n_fft": 256}, "hop = 512 is longer than n_fft = 256 samples")
    ]


@pytest.mark.parametrize(
    "error", [MemoryError("no room"), RuntimeError("DefaultCPUAllocator: can't allocate memory"), None]
)
@pytest.mark.usefixtures("cheap")
def test_want_of_memory_fails_a_trial_and_a_mistake_of_ours_the_search(
    search: Callable[..., TuningResult], monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    def train(config: Config, *arguments: Any, **named: Any) -> TrainingResult:
        if config.alpha == 1e-4:
            raise error or RuntimeError("shape mismatch")
        return fake_train(config, *arguments, **named)

    monkeypatch.setattr("fdan_edge.tuning.search.train", train)
    grid: dict[str, Any] = {"space": ("alpha=1e-4,1e-3",), "sampler": "grid", "trials": 2}
    if error is None:
        with pytest.raises(RuntimeError, match="shape mismatch"):
            search(**grid)
        return
    result = search(**grid)
    assert [trial.state for trial in result.trials] == ["failed", "complete"]
    assert result.trials[0].reason == str(error)


@pytest.mark.slow
@pytest.mark.usefixtures("drawn")
def test_a_real_training(ravdess_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*TINY, "backbone=mobilenet_v2_tiny", "epochs=1"]
    source, wanted = [Source("ravdess", ravdess_tree)], Search(("lr=1e-3,1e-2",), 2, 2, "grid")
    result = tune(Config.load(None, words), source, [], tmp_path, wanted)
    assert [trial.state for trial in result.trials] == ["complete"] * 2
    said = capsys.readouterr().err.splitlines()  # a line each, nothing of the four trainings
    assert [line.split("  ")[0] for line in said] == ["2 trials on 2 validation folds: lr=0.001,0.01", *TWO]
    for trial in result.trials:
        folds = [tmp_path / "trials" / trial.name / f"fold-{n}" for n in (1, 2)]
        metrics = [json.loads((fold / "metrics.json").read_text()) for fold in folds]
        assert trial.folds == [values["val"]["uar"] for values in metrics]
        assert all("test" not in values for values in metrics)
        assert not any((fold / "predictions.json").exists() for fold in folds)
        parts = [json.loads((fold / "split.json").read_text()) for fold in folds]
        assert parts[0]["test"] == parts[1]["test"]
        assert not set(parts[0]["val"]) & set(parts[1]["val"])
    assert (tmp_path / "tuning.png").stat().st_size > 10_000
