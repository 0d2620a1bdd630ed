"""`fdan-edge reproduce didan`: which trainings it is made of, and how the weight of the alignment is chosen."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fdan_edge.config import Config
from fdan_edge.data.corpora import Source
from fdan_edge.errors import CheckpointError, ConfigError, DataError
from fdan_edge.evaluation.predictions import Prediction, Predictions
from fdan_edge.experiments import paper_tables
from fdan_edge.experiments.cross_corpus import ROWS, TableLine, TaskRequest, carry_out, plan, row_names
from fdan_edge.runs.run_folder import RunInfo, save_run
from fdan_edge.training.run_records import absolute
from fdan_edge.utils.files import write_json, write_text

CLASSES = ["angry", "sad"]
SPEAKERS, EACH = 12, 8  # of the target: recordings of each speaker, half of each class


class FakeTraining:
    """In place of `train`: leaves a run folder whose scores and information are as they are told to be."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.errors: dict[str, BaseException] = {}  # part of a folder's name -> what happens there
        self.right: Callable[[Config], int] = lambda _: 4  # of each speaker's recordings, so many are right
        self.information: Callable[[Config], float] = lambda config: config.transfer_weight
        self.short: set[str] = set()  # parts of folders' names: these diverged

    def __call__(
        self,
        config: Config,
        speech: list[Source],
        folder: Path,
        faces: list[Source] = [],  # noqa: B006
        *,
        target: list[Source],
        resume: bool = False,
    ) -> None:
        assert resume == (folder / "run.toml").exists()
        self.calls.append(folder.name)
        error = next((error for part, error in self.errors.items() if part in folder.name), None)
        if error and not isinstance(error, KeyboardInterrupt):
            raise error
        voices, images, unlabelled = (
            [absolute(source) for source in sources] for sources in (speech, faces, target)
        )
        info = RunInfo(CLASSES, voices, images, "all of the target", {"torch": "2.14"}, target=unlabelled)
        save_run(folder, config, info)
        if error:
            raise error
        epochs = 1 if any(part in folder.name for part in self.short) else config.epochs
        write_text(folder / "epochs.jsonl", "\n".join([json.dumps({"seconds": 60})] * epochs))
        predictions = predicted(self.right(config), target[0].corpus)
        predictions.save(folder / "predictions.json")
        write_json(folder / "split.json", {"train": ["a"] * 30, "val": ["b"] * 6, "test": []})
        write_json(folder / "metrics.json", scores(predictions, self.information(config)))


def predicted(right: int, corpus: str = "emodb") -> Predictions:
    """What a model says of which `right` of each speaker's EACH recordings are recognised."""
    recordings = []
    for number in range(SPEAKERS * EACH):
        speaker, index = divmod(number, EACH)
        true = index % 2
        # Of some speakers one more is right, so that draws of speakers differ.
        recognized = true if index < right + speaker % 2 else 1 - true
        recordings.append(
            Prediction(
                f"{corpus}:{number:03}",
                CLASSES[true],
                f"{corpus}:{speaker}",
                [1.0 - recognized, float(recognized)],
            )
        )
    return Predictions(CLASSES, recordings)


def scores(predictions: Predictions, information: float) -> dict[str, Any]:
    """What metrics.json holds of one run."""
    test = {**predictions.scores().to_dict(), "intervals": predictions.intervals().to_dict()}
    target = {"information": information, "n": len(predictions.recordings)}
    return {"protocol": "all of the target", "best_epoch": 1, "val": {"n": 6}, "target": target, "test": test}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeTraining:
    monkeypatch.setattr(
        "fdan_edge.experiments.paper_tables.machine_info", lambda: {"processor": "x"}
    )  # a real one's load changes
    fake_training = FakeTraining()
    monkeypatch.setattr(paper_tables, "train", fake_training)
    return fake_training


@pytest.fixture
def wanted(tmp_path: Path) -> TaskRequest:
    """EMO-DB and RAVDESS, without faces."""
    for name in ("emodb", "ravdess"):
        (tmp_path / name).mkdir()
    speech = [Source(name, tmp_path / name) for name in ("emodb", "ravdess")]
    return TaskRequest(speech, [], tmp_path / "out")


def nothing(_: list[TableLine]) -> None:
    """No one looks at what there is after each run."""


def line_of(lines: list[TableLine], name: str, task: str = "emodb to ravdess") -> TableLine:
    return next(line for line in lines if (line.name, str(line.task)) == (name, task))


def weight(lines: list[TableLine], name: str, task: str = "emodb to ravdess") -> float | None:
    choice = line_of(lines, name, task).choice
    return choice.weight if choice else None


# --- which trainings ---


def test_the_six_tasks_of_three_corpora(wanted: TaskRequest, tmp_path: Path) -> None:
    speech = [Source(name, tmp_path) for name in ("emodb", "enterface", "casia")]
    tasks = [str(task) for task in replace(wanted, speech=speech).tasks]
    assert tasks == [
        "emodb to enterface",
        "enterface to emodb",
        "emodb to casia",
        "casia to emodb",
        "enterface to casia",
        "casia to enterface",
    ]


def test_rows_of_faces_are_left_out_without_faces_unless_asked_for(wanted: TaskRequest) -> None:
    assert row_names(wanted) == ["source", "joint", "mmd", "lmmd", "coral", "dann", "didan", "didan_layers"]
    assert row_names(replace(wanted, faces=wanted.speech)) == list(ROWS)
    assert row_names(replace(wanted, rows=["bridge", "source"])) == ["source", "bridge"]


def test_what_is_trained_in_each_row(wanted: TaskRequest) -> None:
    faces = [Source("fer2013", wanted.out.parent)]
    asked = replace(wanted, faces=faces, lambdas=[3.0], backbone="vgg8", settings=["fc_layers=3"])
    runs = {line.name: line.trials[0].run for line in plan(asked) if str(line.task) == "emodb to ravdess"}
    common = Config.load(None, ["backbone=vgg8", "fc_layers=3"])
    for name in ("mmd", "lmmd", "coral", "dann", "didan"):
        assert runs[name].config == replace(common, method=name, transfer_weight=3.0)
    assert runs["source"].config == replace(common, method="source")
    assert runs["joint"].config == replace(common, method="didan", transfer_weight=0.0)
    layers = ("1", "2", "3", "output")
    assert runs["didan_layers"].config == replace(runs["didan"].config, aligned_layers=layers)
    assert runs["bridge"].config == replace(common, method="fdan", alpha=3.0)
    assert runs["didan_faces"].config == replace(common, method="didan", alpha=0.1, transfer_weight=3.0)
    assert {name for name, run in runs.items() if run.faces} == {"bridge", "didan_faces"}
    assert {(run.speech[0].corpus, run.target[0].corpus) for run in runs.values()} == {("emodb", "ravdess")}
    assert runs["didan"].folder.name == "emodb-to-ravdess-didan-vgg8-l3-s0"
    assert runs["source"].folder.name == "emodb-to-ravdess-source-vgg8-s0"


def test_all_layers_are_the_output_too(wanted: TaskRequest) -> None:
    layers = {line.name: line.trials[0].run.config.aligned_layers for line in plan(wanted)}
    assert layers["didan_layers"] == ("1", "output")
    assert {layers[name] for name in layers if name != "didan_layers"} == {()}


def test_all_weights_with_the_first_seed_and_the_chosen_one_with_the_others(
    wanted: TaskRequest, fake: FakeTraining
) -> None:
    fake.information = lambda config: -abs(config.transfer_weight - 1.0)
    asked = replace(wanted, rows=["source", "didan"], seeds=[4, 2])
    lines = carry_out(plan(asked), nothing)
    first = [name for name in fake.calls if name.startswith("emodb")]
    assert first == [
        "emodb-to-ravdess-source-resnet34-s4",
        *(f"emodb-to-ravdess-didan-resnet34-l{value}-s4" for value in ("0.1", "1", "10")),
        "emodb-to-ravdess-source-resnet34-s2",
        "emodb-to-ravdess-didan-resnet34-l1-s2",
    ]
    assert all(name.endswith("-s4") for name in fake.calls[:8])  # the table of one seed is complete first
    chosen = line_of(lines, "didan").chosen
    assert [(trial.weight, trial.seed, bool(trial.metrics)) for trial in chosen] == [(1, 4, True), (1, 2, True)]


# --- how the weight is chosen ---


@pytest.mark.parametrize("reverse", [False, True])
def test_the_choice_follows_the_information_and_never_the_test(
    wanted: TaskRequest, fake: FakeTraining, reverse: bool
) -> None:
    """The scores of the test rise or fall with the weight; what is chosen is the same."""
    fake.information = lambda config: {0.1: 0.2, 1.0: 0.9, 10.0: 0.4}[config.transfer_weight]
    right = dict(zip((0.1, 1.0, 10.0), (7, 4, 1) if reverse else (1, 4, 7), strict=True))
    fake.right = lambda config: right[config.transfer_weight]
    lines = carry_out(plan(replace(wanted, rows=["didan"])), nothing)
    assert weight(lines, "didan") == 1.0


def test_each_task_and_row_has_a_choice_of_its_own(wanted: TaskRequest, fake: FakeTraining) -> None:
    fake.information = lambda config: config.transfer_weight * (1 if config.method == "mmd" else -1)
    lines = carry_out(plan(replace(wanted, rows=["mmd", "coral"])), nothing)
    assert (weight(lines, "mmd"), weight(lines, "coral")) == (10.0, 1.0)


def test_of_equal_information_the_smaller_weight(wanted: TaskRequest, fake: FakeTraining) -> None:
    fake.information = lambda _: 0.5
    lines = carry_out(plan(replace(wanted, rows=["didan"], lambdas=[5.0, 0.5, 2.0])), nothing)
    assert weight(lines, "didan") == 0.5


def test_no_choice_before_all_weights_are_trained(wanted: TaskRequest, fake: FakeTraining) -> None:
    asked = replace(wanted, rows=["didan"], seeds=[0, 1])
    fake.errors = {"emodb-to-ravdess-didan-resnet34-l10": KeyboardInterrupt()}
    seen: list[list[TableLine]] = []
    with pytest.raises(KeyboardInterrupt):
        carry_out(plan(asked), seen.append)
    line = line_of(seen[-1], "didan")
    assert [bool(trial.metrics) for trial in line.grid] == [True, True, False]
    assert (line.choice, line.chosen, line.wanted) == (None, [], line.grid)


def test_a_single_weight_is_no_choice(wanted: TaskRequest, fake: FakeTraining) -> None:
    asked = replace(wanted, rows=["didan"], lambdas=[2.0], seeds=[0, 1])
    assert [len(line.wanted) for line in plan(asked)] == [2, 2]
    carry_out(plan(asked), nothing)
    assert len(fake.calls) == 4


def test_a_weight_that_failed_or_diverged_is_not_taken(wanted: TaskRequest, fake: FakeTraining) -> None:
    fake.errors, fake.short = {"ravdess-didan-resnet34-l10-": DataError("no memory")}, {"didan-resnet34-l1-"}
    lines = carry_out(plan(replace(wanted, rows=["didan"])), nothing)
    assert weight(lines, "didan") == 0.1
    assert weight(lines, "didan", "ravdess to emodb") == 10.0
    fake.errors, fake.short = {}, {"resnet34"}
    other = replace(wanted, rows=["didan"], out=wanted.out / "other")
    assert weight(carry_out(plan(other), nothing), "didan") == 10.0  # all diverged


# --- finished, unfinished and failed runs ---


def test_finished_runs_are_read_and_the_others_taken_up(wanted: TaskRequest, fake: FakeTraining) -> None:
    asked = replace(wanted, rows=["source", "didan"], seeds=[0, 1])
    whole = carry_out(plan(asked), nothing)
    count = len(fake.calls)
    assert count == 2 * (1 + 3 + 1 + 1)
    seen: list[list[TableLine]] = []
    assert carry_out(plan(asked), seen.append) == whole == seen[0]
    assert len(fake.calls) == count
    (line_of(whole, "didan").chosen[1].run.folder / "metrics.json").unlink()
    assert carry_out(plan(asked), nothing) == whole
    assert fake.calls[count:] == ["emodb-to-ravdess-didan-resnet34-l10-s1"]


def test_what_fails_is_tried_once_and_stops_no_other(wanted: TaskRequest, fake: FakeTraining) -> None:
    text = "emodb and ravdess share one class (sad); a task needs two"
    fake.errors = {"emodb-to-ravdess": DataError(text)}
    asked = replace(wanted, rows=["source", "didan"], seeds=[0, 1])
    lines = carry_out(plan(asked), nothing)
    assert [trial.outcome and trial.outcome.problem for trial in line_of(lines, "didan").wanted] == [text] * 3
    assert all(trial.metrics for trial in line_of(lines, "didan", "ravdess to emodb").wanted)
    assert len(fake.calls) == len(set(fake.calls)) == 5 + 6


@pytest.mark.usefixtures("fake")
def test_rows_of_faces_that_were_asked_for_without_any(wanted: TaskRequest) -> None:
    lines = carry_out(plan(replace(wanted, rows=["source", "bridge"])), nothing)
    problems = {trial.outcome.problem for trial in line_of(lines, "bridge").wanted if trial.outcome}
    assert problems == {"FDAN needs faces: --faces corpus:path"}
    assert line_of(lines, "source").chosen[0].metrics


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("damage", ["predictions", "information"])
def test_damaged_scores(wanted: TaskRequest, damage: str) -> None:
    asked = replace(wanted, rows=["source"])
    folder = line_of(carry_out(plan(asked), nothing), "source").trials[0].run.folder
    if damage == "predictions":
        (folder / "predictions.json").unlink()
    else:
        write_json(folder / "metrics.json", scores(predicted(4), math.nan))
    outcome = line_of(carry_out(plan(asked), nothing), "source").trials[0].outcome
    assert outcome is not None
    assert outcome.metrics is None
    assert "damaged" in outcome.problem


def test_a_run_of_another_target_or_setting_is_not_mixed_in(wanted: TaskRequest, fake: FakeTraining) -> None:
    asked = replace(wanted, rows=["didan"], seeds=[0, 1])
    carry_out(plan(asked), nothing)
    fake.calls = []
    moved = wanted.out.parent / "moved"
    moved.mkdir()
    text = r"ravdess-didan-resnet34-l0.1-s0: holds a run with target = ravdess:.*, not ravdess:.*moved; --out"
    with pytest.raises(CheckpointError, match=text):
        plan(replace(asked, speech=[wanted.speech[0], Source("ravdess", moved)]))
    with pytest.raises(CheckpointError, match="holds a run with epochs = 20, not 5"):
        plan(replace(asked, settings=["epochs=5"]))
    with pytest.raises(CheckpointError, match="l10-s1: holds a run with epochs"):  # also one of a later seed
        plan(replace(asked, seeds=[1], lambdas=[10.0], settings=["epochs=5"]))
    assert not fake.calls


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"rows": ["didam"]}, r"unknown row of didan 'didam' \(did you mean didan\?\); valid: source, joint, mmd"),
        ({"backbone": "vgg"}, "unknown backbone 'vgg'"),
        ({"settings": ["method=mmd"]}, "--set method=mmd: rows differ in it; use --rows"),
        ({"settings": ["transfer_weight=3"]}, "rows differ in it; use --lambdas"),
        ({"settings": ["seed=1"]}, "use --seeds"),
        ({"settings": ["protocol=loso"]}, "--set protocol=loso: didan tests on the whole target corpus"),
        ({"settings": ["epoch=1"]}, r"unknown setting 'epoch'"),
        ({"lambdas": [1e9]}, r"transfer_weight = 1000000000.0 is out of range"),
    ],
)
def test_mistakes_are_found_before_anything_is_trained(
    wanted: TaskRequest, changes: dict[str, Any], error: str
) -> None:
    with pytest.raises(ConfigError, match=error):
        plan(replace(wanted, **changes))


def test_corpora_that_make_no_task(wanted: TaskRequest) -> None:
    with pytest.raises(ConfigError, match=r"didan needs two corpora of speech; given: emodb:.*; repeat --speech"):
        plan(replace(wanted, speech=wanted.speech[:1]))
    with pytest.raises(ConfigError, match="didan takes every corpus once; given: emodb:"):
        plan(replace(wanted, speech=[*wanted.speech, wanted.speech[0]]))
    with pytest.raises(ConfigError, match="didan scores every corpus, for which it needs labels; given: "):
        plan(replace(wanted, speech=[*wanted.speech, Source("unlabelled", wanted.out.parent)]))
    with pytest.raises(DataError, match="no such folder"):
        plan(replace(wanted, speech=[wanted.speech[0], Source("casia", Path("/nowhere"))]))
