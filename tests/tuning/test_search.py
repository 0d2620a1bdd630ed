"""A search over settings: what is trained and counted, by several processes, killed ones too."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY
from tests.helpers import tune_fake

pytest.importorskip("optuna")

from fdan_edge.config import Config
from fdan_edge.data.corpora import Source
from fdan_edge.data.speech import read_labelled_speech
from fdan_edge.errors import CheckpointError, ConfigError, DataError
from fdan_edge.training.history import EpochMetrics
from fdan_edge.training.run import TrainingResult
from fdan_edge.training.trainer import OnEpoch
from fdan_edge.tuning.results import Tuned, markdown
from fdan_edge.tuning.search import Search, fold_configs, tune
from tests.helpers.tune_fake import EPOCHS, fake_train, uar

FACES = [Source("synthetic", None)]
TWO = ("trial 1/2", "trial 2/2")
ALPHA = ("alpha=1e-5..0.1",)


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings that cost nothing, no pictures, no importance, and no waiting for the disk."""
    monkeypatch.setattr("fdan_edge.tuning.results._importance", lambda *_: {})
    monkeypatch.setattr("os.fsync", lambda _: None)
    monkeypatch.setattr("fdan_edge.tuning.search.train", fake_train)
    monkeypatch.setattr("fdan_edge.tuning.results.plots.tuning", lambda *_: None)


@pytest.fixture
def search(ravdess_tree: Path, tmp_path: Path) -> Callable[..., Tuned]:
    """Tune alpha on `ravdess_tree`, in `tmp_path`/t."""

    def tuned(*settings: str, out: str = "t", space: tuple[str, ...] = ALPHA, **options: Any) -> Tuned:
        config = Config.load(None, [f"epochs={EPOCHS}", *settings])
        wanted = Search(space, **{"trials": 4, "pruner": "none", **options})
        return tune(config, [Source("ravdess", ravdess_tree)], FACES, tmp_path / out, wanted)

    return tuned


def calls(folder: Path) -> dict[str, list[int]]:
    """Every epoch that was trained, by trial and fold."""
    found = sorted(folder.glob("trials/*/fold-*"))
    return {f"{run.parent.name}/{run.name}": list(tune_fake.read(run, "calls.jsonl")) for run in found}  # type: ignore[arg-type]


def values(done: Tuned) -> list[tuple[str, float | None, dict[str, Any]]]:
    return [(one.state, one.uar, one.settings) for one in done.trials]


def right(done: Tuned, ravdess_tree: Path) -> None:
    """Each trial's value is that of its own settings, over its own folds."""
    items = read_labelled_speech([Source("ravdess", ravdess_tree)], calm_as_neutral=True, boredom=False)
    for one in done.trials:
        folds = fold_configs(Config.load(None, [f"epochs={EPOCHS}", f"alpha={one.settings['alpha']}"]), items, 3)
        assert one.uar == pytest.approx(sum(map(uar, folds)) / 3)
        assert one.folds == [uar(fold) for fold in folds]


# --- folds ---


def test_folds_are_of_the_speakers_that_are_not_tested(ravdess_tree: Path) -> None:
    items = read_labelled_speech([Source("ravdess", ravdess_tree)], calm_as_neutral=True, boredom=False)
    made = fold_configs(Config(), items, 3)
    assert {one.test_speakers for one in made} == {("ravdess:04",)}
    assert [one.val_speakers for one in made] == [("ravdess:01",), ("ravdess:02",), ("ravdess:03",)]
    two = fold_configs(Config.load(None, ["protocol=kfold", "folds=4", "fold=2"]), items, 2)
    assert [(one.protocol, one.test_speakers) for one in two] == [("speaker", ("ravdess:02",))] * 2
    assert [one.val_speakers for one in two] == [("ravdess:01", "ravdess:03"), ("ravdess:04",)]
    assert fold_configs(Config(protocol="random"), items, 1) == [Config(protocol="random")]


def test_folds_that_cannot_be(ravdess_tree: Path) -> None:
    items = read_labelled_speech([Source("ravdess", ravdess_tree)], calm_as_neutral=True, boredom=False)
    with pytest.raises(ConfigError, match="protocol random holds none out; valid: speaker, loso, kfold, or --fol"):
        fold_configs(Config(protocol="random"), items, 2)
    with pytest.raises(ConfigError, match="val_speakers goes with --folds 1"):
        fold_configs(Config(val_speakers=("01",)), items, 2)
    with pytest.raises(DataError, match="4 folds need as many speakers that are not tested, found 3"):
        fold_configs(Config(), items, 4)
    few = [item for item in items if item.speaker in ("01", "02")]
    with pytest.raises(DataError, match="at least 3 known speakers; use --folds 1 with --set protocol=random"):
        fold_configs(Config(), few, 2)


# --- one process ---


@pytest.mark.usefixtures("cheap")
def test_trials_and_their_files(search: Callable[..., Tuned], ravdess_tree: Path, tmp_path: Path) -> None:
    done = search()
    folder = tmp_path / "t"
    right(done, ravdess_tree)
    assert [one.state for one in done.trials] == ["complete"] * 4
    assert done.trials[0].settings == {"alpha": 1e-3}  # the settings' own, to compare with
    assert len({one.settings["alpha"] for one in done.trials}) == 4
    assert done.best is not None
    assert done.best.uar == max(one.uar or 0 for one in done.trials)
    best = Config.load(folder / "best.toml", [])
    assert (best.alpha, best.val_speakers, best.epochs) == (done.best.settings["alpha"], (), EPOCHS)
    assert json.loads((folder / "tuning.json").read_text()) == json.loads(json.dumps(done.to_dict()))
    table = (folder / "tuning.md").read_text()
    assert table == markdown(done)
    assert "too good" in table
    rows = [line for line in table.splitlines() if line.startswith("| ")][2:]
    assert rows[0].split(" | ")[0] == f"| {done.best.number}"
    weights = {str(path.relative_to(folder)) for path in folder.rglob("*.safetensors")}
    assert weights == {f"trials/{done.best.name}/fold-{n}/checkpoint.safetensors" for n in (1, 2, 3)}


@pytest.mark.usefixtures("cheap")
def test_a_search_is_the_same_again_also_in_pieces(search: Callable[..., Tuned], tmp_path: Path) -> None:
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
def test_samplers(search: Callable[..., Tuned], sampler: str) -> None:
    space = ("alpha=1e-5..0.1", "attention_layers=0..3", "balanced=true,false")
    done = search(space=space, sampler=sampler, trials=12, folds=2)
    assert len({tuple(one.settings.values()) for one in done.trials}) >= 11
    assert all(1e-5 <= one.settings["alpha"] <= 0.1 for one in done.trials)


@pytest.mark.usefixtures("cheap")
def test_a_grid_is_tried_once_each(search: Callable[..., Tuned]) -> None:
    space = ("alpha=1e-4,1e-3", "attention_layers=0..2")
    done = search(space=space, sampler="grid", trials=50, folds=2)
    assert len(done.trials) == 6
    assert len({tuple(one.settings.values()) for one in done.trials}) == 6


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_poor_trials_end_early(search: Callable[..., Tuned], tmp_path: Path, pruner: str) -> None:
    done = search(trials=24, sampler="random", pruner=pruner)
    pruned = [one for one in done.trials if one.state == "pruned"]
    assert pruned
    assert done.best is not None
    for one in pruned:
        assert one.step < 3 * EPOCHS
        assert one.uar is not None
        assert one.uar < (done.best.uar or 0)
        trained = [
            epoch for run, epochs in calls(tmp_path / "t").items() if run[:4] == one.name for epoch in epochs
        ]
        assert len(trained) == one.step


@pytest.mark.usefixtures("cheap")
def test_a_trial_that_diverges_has_failed(search: Callable[..., Tuned], tmp_path: Path) -> None:
    done = search(space=("alpha=1e-3,1",), sampler="grid", trials=2)
    assert [(one.state, one.reason) for one in done.trials] == [
        ("complete", ""),
        ("failed", "epoch 1: the loss is nan"),
    ]
    assert "failed: epoch 1: the loss is nan" in (tmp_path / "t" / "tuning.md").read_text()


@pytest.mark.usefixtures("cheap")
def test_settings_that_do_not_go_together_fail_alone(search: Callable[..., Tuned]) -> None:
    done = search("n_fft=512", space=("hop=256,512", "n_fft=256,512"), sampler="grid", folds=2)
    failed = [one for one in done.trials if one.state == "failed"]
    assert [(one.settings, one.reason) for one in failed] == [
        ({"hop": 512, "n_fft": 256}, "hop = 512 is longer than n_fft = 256 samples")
    ]


@pytest.mark.parametrize(
    "error", [MemoryError("no room"), RuntimeError("DefaultCPUAllocator: can't allocate memory"), None]
)
@pytest.mark.usefixtures("cheap")
def test_want_of_memory_fails_a_trial_and_a_mistake_of_ours_the_search(
    search: Callable[..., Tuned], monkeypatch: pytest.MonkeyPatch, error: Exception | None
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
    done = search(**grid)
    assert [one.state for one in done.trials] == ["failed", "complete"]
    assert done.trials[0].reason == str(error)


# --- what ends a process ---


def _stopping(error: BaseException, trial: str, fold: str, epoch: int) -> Callable[..., TrainingResult]:
    def train(*arguments: Any, on_epoch: OnEpoch, **named: Any) -> TrainingResult:
        folder = arguments[2]

        def heard(made: EpochMetrics) -> None:
            if (folder.parent.name, folder.name, made.epoch) == (trial, fold, epoch):
                raise error
            on_epoch(made)

        return fake_train(*arguments, on_epoch=heard, **named)

    return train


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device"), DataError("gone")])
def test_an_interrupted_trial_goes_on_from_its_epoch(
    search: Callable[..., Tuned],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
) -> None:
    whole = search(out="whole")
    with monkeypatch.context() as patch:
        patch.setattr("fdan_edge.tuning.search.train", _stopping(error, "0002", "fold-2", 2))
        with pytest.raises(type(error)):
            search()
    if not isinstance(error, DataError):
        assert "the study is kept: the same tune command goes on from here" in capsys.readouterr().err
    done = search()
    assert values(done) == values(whole)
    assert calls(tmp_path / "t") == calls(tmp_path / "whole")  # no epoch twice


@pytest.mark.usefixtures("cheap")
def test_a_trial_that_ends_its_process_each_time_is_given_up(
    search: Callable[..., Tuned], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel kills what takes too much memory; without a bound the study would never get past it."""
    with monkeypatch.context() as patch:
        patch.setattr("fdan_edge.tuning.search.train", _stopping(SystemExit("killed"), "0002", "fold-2", 2))
        for _ in range(4):  # three of them from where the first one ended
            with pytest.raises(SystemExit):
                search()
            epochs = tmp_path / "t" / "trials" / "0002" / "fold-2" / "epochs.jsonl"
            epochs.write_text(epochs.read_text().splitlines(keepends=True)[0])  # killed within the second epoch
    done = search()
    assert [one.state for one in done.trials] == ["complete", "failed", "complete", "complete"]
    assert done.trials[1].reason == "its process ended 3 times before epoch 5 was over"


def process(folder: Path, tree: Path, trials: int, kill: int = 0) -> subprocess.Popen[bytes]:
    words = [str(word) for word in (folder, tree, trials, kill)]
    return subprocess.Popen([sys.executable, tune_fake.__file__, *words])


@pytest.mark.slow
@pytest.mark.usefixtures("cheap")
def test_a_killed_process_loses_nothing_and_two_share_the_rest(
    search: Callable[..., Tuned], ravdess_tree: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "t"
    assert process(folder, ravdess_tree, 8, kill=2).wait(120) == -signal.SIGKILL
    assert calls(folder)["0002/fold-2"] == [1, 2]
    # Half a line, as a process killed within it leaves one.
    with (folder / "journal.log").open("a") as journal:
        journal.write('{"op_code": 4, "wor')
    both = [process(folder, ravdess_tree, 8) for _ in range(2)]
    assert [one.wait(120) for one in both] == [0, 0]
    done = search(pruner="median", trials=8)
    assert len(done.trials) == 8
    assert {one.state for one in done.trials} <= {"complete", "pruned"}
    trained = {"complete": 3 * EPOCHS}
    for one in done.trials:
        own = [epochs for run, epochs in calls(folder).items() if run[:4] == one.name]
        assert sum(map(len, own)) == trained.get(one.state, one.step)  # no epoch twice, none left out
        assert all(epochs == list(range(1, len(epochs) + 1)) for epochs in own)
    workers: dict[str, set[str]] = {}
    for line in (folder / "who.txt").read_text().splitlines():
        pid, trial = line.split()
        workers.setdefault(trial, set()).add(pid)
    assert {len(pids) for trial, pids in workers.items() if trial != "0002"} == {1}
    assert len(workers["0002"]) == 2  # who was killed, and who went on
    assert len(set.union(*workers.values())) == 3
    assert json.loads((folder / "tuning.json").read_text())["trials"] == json.loads(
        json.dumps(done.to_dict()["trials"])
    )


@pytest.mark.usefixtures("cheap")
def test_a_trial_that_lives_is_left_alone(search: Callable[..., Tuned], monkeypatch: pytest.MonkeyPatch) -> None:
    """The second process finds it running, and its folder's lock taken."""
    inner: list[Tuned] = []

    def train(*arguments: Any, **named: Any) -> TrainingResult:
        if not inner:
            inner.append(done)  # only once
            with monkeypatch.context() as patch:
                patch.setattr("fdan_edge.tuning.search.train", fake_train)
                inner.append(search(trials=3))
        return fake_train(*arguments, **named)

    done = Tuned(Path(), None, [], {})  # type: ignore[arg-type]
    monkeypatch.setattr("fdan_edge.tuning.search.train", train)
    last = search(trials=3)
    assert [one.state for one in inner[1].trials] == ["running", "complete", "complete"]
    assert [one.state for one in last.trials] == ["complete"] * 3


# --- other terms ---


@pytest.mark.usefixtures("cheap")
def test_other_terms_are_refused(search: Callable[..., Tuned], ravdess_tree: Path, tmp_path: Path) -> None:
    search(trials=1)
    for change, line in (
        ({"space": ("alpha=1e-5..1",)}, r"--space = \['alpha=1e-05..0.1'\], now it is \['alpha=1e-05..1'\]"),
        ({"folds": 2}, "--folds = 3, now it is 2; repeat the command"),
        ({"sampler": "random"}, "--sampler = 'tpe', now it is 'random'"),
        ({"pruner": "median"}, "--pruner = 'none', now it is 'median'"),
    ):
        with pytest.raises(CheckpointError, match=f"was begun with {line}"):
            search(**change)
    with pytest.raises(CheckpointError, match=r"was begun with lr = 0\.001, now it is 0\.002"):
        search("lr=0.002")
    source, config = [Source("ravdess", ravdess_tree)], Config.load(None, [f"epochs={EPOCHS}"])
    with pytest.raises(CheckpointError, match=r"was begun with --faces = \['synthetic:'\], now it is \[\]"):
        tune(config, source, [], tmp_path / "t", Search(("lr=1e-3..1",), pruner="none"))


@pytest.mark.usefixtures("cheap")
def test_recordings_that_came_are_other_terms(search: Callable[..., Tuned], tmp_path: Path) -> None:
    search(trials=1)
    path = tmp_path / "t" / "study.toml"
    path.write_text(path.read_text().replace('recordings = "32 (', 'recordings = "31 ('))
    with pytest.raises(CheckpointError, match=r"was begun with recordings = '31 \(.*\)', now it is '32 \("):
        search(trials=1)


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("name", ["study.toml", "journal.log"])
def test_a_damaged_study_is_one_line(search: Callable[..., Tuned], tmp_path: Path, name: str) -> None:
    search(trials=1)
    (tmp_path / "t" / name).write_text('format = "fdan-edge study 1"\n' if name == "study.toml" else "{}\n{}\n")
    with pytest.raises(CheckpointError, match=rf"{name}: damaged: "):
        search()


@pytest.mark.usefixtures("cheap")
def test_what_cannot_be_tuned(
    search: Callable[..., Tuned], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="unknown sampler 'cma'"):
        search(sampler="cma")
    with pytest.raises(ConfigError, match="unknown pruner"):
        search(pruner="often")
    with pytest.raises(ConfigError, match="channel = match needs --target"):
        search(space=("channel=none,match",))
    with pytest.raises(ConfigError, match="grid needs values of alpha"):
        search(sampler="grid")
    assert not (tmp_path / "t").exists()
    with monkeypatch.context() as patch:
        patch.setenv("WORLD_SIZE", "2")
        with pytest.raises(ConfigError, match="start it in several terminals, not by torchrun"):
            search()
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "run.toml").touch()
    with pytest.raises(CheckpointError, match="holds one training"):
        search()


# --- a real training ---


@pytest.mark.slow
def test_a_real_training(ravdess_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*TINY, "backbone=mobilenet_v2_tiny", "epochs=1"]
    source, wanted = [Source("ravdess", ravdess_tree)], Search(("lr=1e-3,1e-2",), 2, 2, "grid")
    done = tune(Config.load(None, words), source, [], tmp_path, wanted)
    assert [one.state for one in done.trials] == ["complete"] * 2
    said = capsys.readouterr().err.splitlines()  # a line each, nothing of the four trainings
    assert [line.split("  ")[0] for line in said] == ["2 trials on 2 validation folds: lr=0.001,0.01", *TWO]
    for one in done.trials:
        folds = [tmp_path / "trials" / one.name / f"fold-{n}" for n in (1, 2)]
        made = [json.loads((fold / "metrics.json").read_text()) for fold in folds]
        assert one.folds == [values["val"]["uar"] for values in made]
        assert all("test" not in values for values in made)
        assert not any((fold / "predictions.json").exists() for fold in folds)
        parts = [json.loads((fold / "split.json").read_text()) for fold in folds]
        assert parts[0]["test"] == parts[1]["test"]
        assert not set(parts[0]["val"]) & set(parts[1]["val"])
    assert (tmp_path / "tuning.png").stat().st_size > 10_000
