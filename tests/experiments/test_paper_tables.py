"""`fdan-edge reproduce`: which trainings a table is made of, and what becomes of those that fail or are cut."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fdan_edge.config import Config
from fdan_edge.data.corpora import Source
from fdan_edge.errors import CheckpointError, ConfigError, DataError, TrainingError
from fdan_edge.experiments import paper_report, paper_tables
from fdan_edge.experiments.paper_tables import Request, carry_out, plan, row_names
from fdan_edge.utils.files import write_json
from tests.helpers.reproduce_fake import FakeCrossval, FakeTrain, install, nothing, savee_request, scores


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeTrain:
    return install(monkeypatch)


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    return savee_request(tmp_path)


def test_the_papers_rows_in_its_order(request_: Request) -> None:
    names = [run.folder.name for run in plan(request_)]
    backbones = ("vgg16", "vgg19", "resnet18", "resnet34", "resnet50")
    expected = [*(f"plain-{name}" for name in backbones), "fdan-resnet34"]
    assert names == [f"savee-{protocol}-{row}-s0" for protocol in ("random", "speaker") for row in expected]


def test_seeds_come_one_after_another_so_that_one_is_complete_first(request_: Request) -> None:
    runs = plan(replace(request_, seeds=[3, 1], rows=["fdan"], protocols=["speaker"]))
    assert [run.config.seed for run in runs] == [3, 1]
    assert len({run.folder for run in runs}) == 2


def test_a_row_of_two_tables_is_one_run(request_: Request) -> None:
    (row,) = plan(replace(request_, rows=["fdan"], protocols=["speaker"]))
    *_, other = plan(replace(request_, table="table4", protocols=["speaker"]))
    assert row == other


@pytest.mark.parametrize(
    ("table", "backbone", "rows", "expected"),
    [
        ("table1", "resnet18", [], ["vgg16", "vgg19", "resnet18", "resnet34", "resnet50", "fdan"]),
        ("table1", "mobilenet_v2", [], ["vgg16", "vgg19", "resnet18", "resnet34", "resnet50", "plain", "fdan"]),
        ("table1", "resnet34", ["fdan", "plain", "resnet34"], ["resnet34", "fdan"]),
        ("table3", "resnet34", [], ["multi"]),
        ("table4", "resnet34", [], ["fdan_1", "fdan_2", "fdan"]),
        ("table4", "resnet34", ["fdan", "plain"], ["plain", "fdan"]),
    ],
)
def test_rows(request_: Request, table: str, backbone: str, rows: list[str], expected: list[str]) -> None:
    assert row_names(replace(request_, table=table, backbone=backbone, rows=rows)) == expected


def test_what_is_trained_in_each_row(request_: Request) -> None:
    wanted = replace(request_, table="table4", backbone="resnet18", protocols=["random"], settings=["alpha=1e-4"])
    runs = {run.name: run for run in plan(replace(wanted, rows=["plain", "fdan_1", "fdan_2", "fdan"]))}
    common = Config.load(None, ["backbone=resnet18", "protocol=random", "alpha=1e-4"])
    assert runs["plain"].config == runs["fdan"].config == common
    assert runs["fdan_1"].config == replace(common, attention_layers=0)
    assert runs["fdan_2"].config == replace(common, alpha=0.0)
    assert [bool(run.faces) for run in runs.values()] == [False, True, True, True]


def test_the_papers_recipe_gives_way_to_set(request_: Request) -> None:
    recipe = replace(request_, paper_recipe=True, settings=["epochs=3"]).recipe()
    expected = ["optimizer=sgd", "momentum=0.99", "alpha=1e-3", "weight_decay=1e-3", "batch_size=32", "epochs=3"]
    assert recipe == Config.load(None, expected)
    assert replace(request_, paper_recipe=True).recipe().epochs == 300


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"table": "table5"}, r"unknown table 'table5' \(did you mean table"),
        ({"rows": ["fadn"]}, r"unknown row of table1 'fadn' \(did you mean fdan\?\); valid: vgg16, "),
        ({"rows": ["fdan_1"]}, "unknown row of table1 'fdan_1'"),
        ({"backbone": "resnet"}, "unknown backbone 'resnet'"),
        ({"protocols": ["speakers"]}, r"unknown protocol 'speakers' \(did you mean speaker\?\)"),
        ({"settings": ["seed=1"]}, "--set seed=1: rows differ in it; use --seeds"),
        ({"settings": ["backbone=vgg16"]}, "use --backbone"),
        ({"settings": ["alpha=0"]}, "--set alpha=0 makes every row of FDAN the row fdan_2; use --rows fdan_2"),
        ({"settings": ["epoch=1"]}, r"unknown setting 'epoch' \(did you mean epochs\?\)"),
        ({"table": "table3"}, "table3 is FDAN with faces of two corpora; given: savee:.*; repeat --faces"),
    ],
)
def test_mistakes_are_found_before_anything_is_trained(
    request_: Request, changes: dict[str, Any], error: str
) -> None:
    with pytest.raises(ConfigError, match=error):
        plan(replace(request_, **changes))


def test_a_path_that_is_not_there(request_: Request) -> None:
    with pytest.raises(DataError, match="no such folder"):
        plan(replace(request_, faces=[Source("fer2013", Path("/nowhere"))]))


def test_a_backbone_brings_its_settings_to_its_own_rows_only(request_: Request) -> None:
    runs = {run.name: run.config for run in plan(replace(request_, backbone="whisper_tiny"))}
    assert (runs["fdan"].hop, runs["plain"].n_mels) == (160, 80)
    assert (runs["resnet18"].hop, runs["resnet18"].n_mels) == (256, 128)


def test_finished_runs_are_read_and_the_unfinished_one_is_resumed(request_: Request, fake: FakeTrain) -> None:
    runs = plan(replace(request_, table="table4", protocols=["speaker"]))
    fake.errors = {"fdan_2": KeyboardInterrupt()}
    seen: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        carry_out(runs, lambda outcomes: seen.append(sum(outcome is not None for outcome in outcomes)))
    assert seen == [0, 1]
    fake.errors, fake.calls = {}, []
    outcomes = carry_out(plan(replace(request_, table="table4", protocols=["speaker"])), nothing)
    resumed, fresh = "savee-speaker-fdan_2-resnet34-s0", "savee-speaker-fdan-resnet34-s0"
    assert fake.calls == [(resumed, True), (fresh, False)]
    assert [outcome.metrics for outcome in outcomes if outcome] == [scores(0.5)] * 3
    assert all(outcome and outcome.machine["cores"] for outcome in outcomes)


def test_a_run_of_other_settings_is_not_mixed_in(request_: Request, fake: FakeTrain) -> None:
    wanted = replace(request_, rows=["resnet18", "fdan"], protocols=["speaker"])
    carry_out(plan(wanted), nothing)
    fake.calls = []
    text = r"savee-speaker-plain-resnet18-s0: holds a run with epochs = 20, not 5; --out NAME keeps others apart"
    with pytest.raises(CheckpointError, match=text):
        plan(replace(wanted, settings=["epochs=5"]))
    faces = [Source("fer2013", request_.out)]
    with pytest.raises(
        CheckpointError, match=r"fdan-resnet34-s0: holds a run with faces = savee:.*, not fer2013:"
    ):
        plan(replace(wanted, faces=faces))
    plan(replace(wanted, rows=["resnet18"], faces=faces))  # without faces it is the same run
    assert not fake.calls


def test_a_row_that_cannot_be_run_stops_no_other(request_: Request, fake: FakeTrain) -> None:
    fake.errors = {
        "vgg16": ConfigError("no weights of vgg16"),
        "vgg19": torch.OutOfMemoryError("CUDA out of memory"),
        "resnet18": DataError("too few speakers"),
    }
    outcomes = carry_out(plan(replace(request_, protocols=["speaker"])), nothing)
    problems = ["no weights of vgg16", "CUDA out of memory", "too few speakers", "", "", ""]
    assert [outcome.problem for outcome in outcomes if outcome] == problems
    assert [bool(outcome and outcome.metrics) for outcome in outcomes] == [False] * 3 + [True] * 3


def test_fdan_without_faces(request_: Request, fake: FakeTrain) -> None:
    wanted = replace(request_, faces=[], rows=["resnet34", "fdan"], protocols=["speaker"])
    plain, fdan = carry_out(plan(wanted), nothing)
    assert plain is not None
    assert plain.problem == ""
    assert fdan is not None
    assert fdan.problem == "FDAN needs faces: --faces corpus:path"
    assert len(fake.calls) == 1


def test_a_training_that_diverged_is_scored_and_says_so_also_later(request_: Request, fake: FakeTrain) -> None:
    wanted = replace(request_, rows=["fdan"], protocols=["speaker"])
    fake.epochs, fake.errors = 7, {"fdan": TrainingError("the loss is nan")}
    for _ in range(2):
        (outcome,) = carry_out(plan(wanted), nothing)
        assert outcome is not None
        assert outcome.metrics == scores(0.5)
        assert outcome.problem == "the training diverged after 7 of 20 epochs; scores of epoch 1"
    assert len(fake.calls) == 1


@pytest.mark.parametrize("text", ["{", "[]", '{"test": {"uar": 1}}', '{"protocol": "x"}'])
def test_damaged_scores(request_: Request, fake: FakeTrain, text: str) -> None:
    wanted = replace(request_, rows=["fdan"], protocols=["speaker"])
    (run,) = plan(wanted)
    carry_out([run], nothing)
    (run.folder / "metrics.json").write_text(text)
    (outcome,) = carry_out(plan(wanted), nothing)
    assert outcome is not None
    assert outcome.metrics is None
    assert "metrics.json, epochs.jsonl or machine.json is damaged" in outcome.problem
    assert len(fake.calls) == 1


def test_the_time_that_is_left(request_: Request, fake: FakeTrain, capfd: pytest.CaptureFixture[str]) -> None:
    carry_out(plan(replace(request_, protocols=["speaker"])), nothing)
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("run ")]
    assert len(lines) == len(fake.calls) == 6
    assert lines[0] == "run 1 of 6: savee-speaker-plain-vgg16-s0"
    assert "run 4 of 6: savee-speaker-plain-resnet34-s0; about 60 min left" in lines[3]  # 3 of 20 epochs of 60 s


def test_folds_are_one_row(request_: Request, fake: FakeTrain, monkeypatch: pytest.MonkeyPatch) -> None:
    crossval = FakeCrossval(fake)
    monkeypatch.setattr(paper_tables, "crossval", crossval)
    words = ["folds=2", "epochs=3"]
    wanted = replace(request_, protocols=["kfold"], rows=["resnet18", "fdan"], settings=words)
    crossval.error = True
    stopped = carry_out(plan(wanted), nothing)
    assert [outcome and outcome.problem for outcome in stopped] == ["the second fold failed"] * 2
    crossval.error = False
    (plain, fdan) = carry_out(plan(wanted), nothing)
    assert plain is not None
    assert plain.metrics is not None
    assert plain.metrics["test"]["uar"] == 0.7
    assert plain.metrics["audit"]["verdict"] == "clean for speakers"
    assert plain.seconds == 2 * 3 * 60
    calls = len(fake.calls)
    assert carry_out(plan(wanted), nothing) == [plain, fdan]
    assert len(fake.calls) == calls
    with pytest.raises(CheckpointError, match=r"fold-1: holds a run with epochs = 3, not 4"):
        plan(replace(wanted, settings=["folds=2", "epochs=4"]))


def test_scores_whose_folds_were_removed_are_no_traceback(
    request_: Request, fake: FakeTrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paper_tables, "crossval", FakeCrossval(fake))
    runs = plan(replace(request_, protocols=["kfold"], rows=["resnet18"], settings=["folds=2", "epochs=3"]))
    carry_out(runs, nothing)
    for fold in runs[0].trainings:
        shutil.rmtree(fold)
    (outcome,) = carry_out(runs, nothing)
    assert outcome is not None
    assert "its folds are not there any more); without the folder the same command trains" in outcome.problem


def test_folds_may_have_validation_parts_of_several_sizes(
    request_: Request, fake: FakeTrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paper_tables, "crossval", FakeCrossval(fake))
    wanted = replace(request_, protocols=["kfold"], rows=["resnet18"], settings=["folds=2", "epochs=3"])
    runs = plan(wanted)
    carry_out(runs, nothing)
    values = json.loads((runs[0].folder / "crossval.json").read_text())
    values["folds"][1]["val"] = {"n": 40}
    write_json(runs[0].folder / "crossval.json", values)
    text = paper_report.markdown(wanted, runs, carry_out(runs, nothing), "command")
    assert "- Split: 2 folds; 38 to 40 recordings of each fold to choose the epoch, 96 to test." in text
