"""A search whose processes are interrupted, killed, or several: it goes on, and trains no epoch twice."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna")

from fdan_edge.errors import DataError
from fdan_edge.training.history import EpochMetrics
from fdan_edge.training.run import TrainingResult
from fdan_edge.training.trainer import OnEpoch
from fdan_edge.tuning.results import TuningResult
from tests.helpers.processes import started
from tests.helpers.tune_fake import EPOCHS, calls, fake_train, tune_slowly, values


def _stopping(error: BaseException, trial: str, fold: str, epoch: int) -> Callable[..., TrainingResult]:
    def train(*arguments: Any, on_epoch: OnEpoch, **named: Any) -> TrainingResult:
        folder = arguments[2]

        def stopping(record: EpochMetrics) -> None:
            if (folder.parent.name, folder.name, record.epoch) == (trial, fold, epoch):
                raise error
            on_epoch(record)

        return fake_train(*arguments, on_epoch=stopping, **named)

    return train


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device"), DataError("gone")])
def test_an_interrupted_trial_goes_on_from_its_epoch(
    search: Callable[..., TuningResult],
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
    result = search()
    assert values(result) == values(whole)
    assert calls(tmp_path / "t") == calls(tmp_path / "whole")  # no epoch twice


@pytest.mark.usefixtures("cheap")
def test_a_trial_that_ends_its_process_each_time_is_given_up(
    search: Callable[..., TuningResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel kills what takes too much memory; without a bound the study would never get past it."""
    with monkeypatch.context() as patch:
        patch.setattr("fdan_edge.tuning.search.train", _stopping(SystemExit("killed"), "0002", "fold-2", 2))
        for _ in range(4):  # three of them from where the first one ended
            with pytest.raises(SystemExit):
                search()
            epochs = tmp_path / "t" / "trials" / "0002" / "fold-2" / "epochs.jsonl"
            epochs.write_text(epochs.read_text().splitlines(keepends=True)[0])  # killed within the second epoch
    result = search()
    assert [trial.state for trial in result.trials] == ["complete", "failed", "complete", "complete"]
    assert result.trials[1].reason == "its process ended 3 times before epoch 5 was over"


def ended(*processes: BaseProcess) -> list[int | None]:
    """Wait for processes; gives their exit codes, None for one that does not end."""
    for process in processes:
        process.join(120)
    return [process.exitcode for process in processes]


@pytest.mark.slow
@pytest.mark.usefixtures("cheap")
def test_a_killed_process_loses_nothing_and_two_share_the_rest(
    search: Callable[..., TuningResult], ravdess_tree: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "t"
    assert ended(started(tune_slowly, folder, ravdess_tree, 8, 2)) == [-signal.SIGKILL]
    assert calls(folder)["0002/fold-2"] == [1, 2]
    # Half a line, as a process killed within it leaves one.
    with (folder / "journal.log").open("a") as journal:
        journal.write('{"op_code": 4, "wor')
    assert ended(*(started(tune_slowly, folder, ravdess_tree, 8, 0) for _ in range(2))) == [0, 0]
    result = search(pruner="median", trials=8)
    assert len(result.trials) == 8
    assert {trial.state for trial in result.trials} <= {"complete", "pruned"}
    trained = {"complete": 3 * EPOCHS}
    for trial in result.trials:
        own = [epochs for run, epochs in calls(folder).items() if run[:4] == trial.name]
        assert sum(map(len, own)) == trained.get(trial.state, trial.step)  # no epoch twice, none left out
        assert all(epochs == list(range(1, len(epochs) + 1)) for epochs in own)
    workers: dict[str, set[str]] = {}
    for line in (folder / "who.txt").read_text().splitlines():
        pid, name = line.split()
        workers.setdefault(name, set()).add(pid)
    assert {len(pids) for trial, pids in workers.items() if trial != "0002"} == {1}
    assert len(workers["0002"]) == 2  # who was killed, and who went on
    assert len(set.union(*workers.values())) == 3
    assert json.loads((folder / "tuning.json").read_text())["trials"] == json.loads(
        json.dumps(result.to_dict()["trials"])
    )


@pytest.mark.usefixtures("cheap")
def test_a_trial_that_lives_is_left_alone(
    search: Callable[..., TuningResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second process finds it running, and its folder's lock taken."""
    inner: list[TuningResult] = []

    def train(*arguments: Any, **named: Any) -> TrainingResult:
        if not inner:
            inner.append(result)  # only once
            with monkeypatch.context() as patch:
                patch.setattr("fdan_edge.tuning.search.train", fake_train)
                inner.append(search(trials=3))
        return fake_train(*arguments, **named)

    result = TuningResult(Path(), None, [], {})  # type: ignore[arg-type]
    monkeypatch.setattr("fdan_edge.tuning.search.train", train)
    last = search(trials=3)
    assert [trial.state for trial in inner[1].trials] == ["running", "complete", "complete"]
    assert [trial.state for trial in last.trials] == ["complete"] * 3
