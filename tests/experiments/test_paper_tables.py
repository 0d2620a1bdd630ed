"""`fdan-edge reproduce`: which trainings a table is made of, and what becomes of those that fail or are cut."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fdan_edge.config import Config
from fdan_edge.data.corpora import Source
from fdan_edge.errors import CheckpointError, ConfigError, DataError, TrainingError
from fdan_edge.experiments import paper_report, paper_tables
from fdan_edge.experiments.paper_tables import Outcomes, Request, carry_out, plan, row_names
from fdan_edge.runs.run_folder import RunInfo, load_run, save_run
from fdan_edge.utils.files import write_json, write_text
from tests.conftest import TINY

Run = Callable[..., tuple[int, str, str]]


class FakeTrain:
    """In place of `train`: leaves a run folder with made-up scores at once, or fails as it is told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, bool]] = []
        self.errors: dict[str, BaseException] = {}  # part of a folder's name -> what happens there
        self.epochs: int | None = None  # lines of epochs.jsonl; None: all

    def __call__(
        self,
        config: Config,
        speech: list[Source],
        folder: Path,
        faces: list[Source] = [],  # noqa: B006
        *,
        target: Sequence[Source] = (),
        resume: bool = False,
    ) -> None:
        assert not target
        assert resume == (folder / "run.toml").exists()
        self.calls.append((folder.name, resume))
        error = next((error for part, error in self.errors.items() if part in folder.name), None)
        if error and not isinstance(error, (KeyboardInterrupt, TrainingError)):
            raise error
        voices, images = ([str(Source(s.corpus, s.path and s.path.resolve())) for s in g] for g in (speech, faces))
        info = RunInfo(["angry", "sad"], voices, images, "some split", {"fdan_edge": "0.1"})
        save_run(folder, config, info)
        if isinstance(error, KeyboardInterrupt):
            raise error
        lines = [json.dumps({"epoch": n + 1, "seconds": 60}) for n in range(self.epochs or config.epochs)]
        write_text(folder / "epochs.jsonl", "\n".join(lines))
        write_json(folder / "metrics.json", scores(0.5 + config.seed / 10))
        if error:
            raise error


def scores(uar: float) -> dict[str, Any]:
    """What metrics.json holds of one run."""
    made = {"uar": [uar - 0.1, uar + 0.1], "note": "2000 resamples of 4 speakers; few: likely too narrow"}
    test = {"war": uar + 0.01, "uar": uar, "wf1": uar - 0.01, "n": 96, "recall": {}, "intervals": made}
    return {"protocol": "some split", "best_epoch": 1, "val": {"n": 38}, "test": test}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeTrain:
    made = FakeTrain()
    monkeypatch.setattr(paper_tables, "train", made)
    return made


@pytest.fixture
def savee(tmp_path: Path) -> Path:
    (tmp_path / "SAVEE").mkdir()
    return tmp_path / "SAVEE"


@pytest.fixture
def request_(tmp_path: Path, savee: Path) -> Request:
    """Table 1 on SAVEE."""
    return Request("table1", [Source("savee", savee)], [Source("savee", savee)], tmp_path / "out")


def nothing(_: Outcomes) -> None:
    """No one looks at what there is after each run."""


# --- which trainings ---


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
    (one,) = plan(replace(request_, rows=["fdan"], protocols=["speaker"]))
    *_, other = plan(replace(request_, table="table4", protocols=["speaker"]))
    assert one == other


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


# --- finished, unfinished and failed runs ---


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


# --- the command ---


def command(request: Request, *words: str) -> list[str]:
    """`reproduce` with the corpora and the folder of a request."""
    corpora = [word for source in request.speech for word in ("--speech", str(source))]
    corpora += [word for source in request.faces for word in ("--faces", str(source))]
    return ["reproduce", request.table, *corpora, "--out", str(request.out), *words]


def test_the_command_prints_what_it_writes(run: Run, request_: Request, fake: FakeTrain, tmp_path: Path) -> None:
    code, out, err = run(*command(request_, "--seeds", "0,1", "--markdown", str(tmp_path / "t.md")))
    assert code == 0
    assert len(fake.calls) == 2 * 2 * 6
    written = (request_.out / "table1-savee.md").read_text()
    assert out == written + "\n"
    assert (tmp_path / "t.md").read_text() == written
    assert err.splitlines()[-1] == f"written: {request_.out}/table1-savee.md and .json"
    code, out, _ = run(*command(request_, "--seeds", "0,1", "--json"))
    assert code == 0
    assert json.loads(out) == json.loads((request_.out / "table1-savee.json").read_text())
    assert len(fake.calls) == 24


def test_the_command_in_the_table_makes_the_table(run: Run, request_: Request, fake: FakeTrain) -> None:
    import shlex

    words = ["--protocol", "speaker", "--rows", "plain,fdan", "--backbone", "vgg19", "--set", "epochs=3"]
    run(*command(request_, *words, "--paper-recipe"))
    made = json.loads((request_.out / "table1-savee.json").read_text())
    again = shlex.split(made["command"])
    assert again[0] == "fdan-edge"
    assert run(*again[1:])[0] == 0
    assert json.loads((request_.out / "table1-savee.json").read_text()) == made
    assert len(fake.calls) == 2


def test_exit_code_1_where_a_row_cannot_be_run(run: Run, request_: Request, fake: FakeTrain) -> None:
    fake.errors = {"vgg": ConfigError("no such weights")}
    code, out, _ = run(*command(request_, "--protocol", "random"))
    assert code == 1
    assert "(1) no such weights" in out


def test_after_an_interruption_the_table_holds_what_there_is(run: Run, request_: Request, fake: FakeTrain) -> None:
    fake.errors = {"resnet18": KeyboardInterrupt()}
    code, out, err = run(*command(request_))
    assert (code, out) == (130, "")
    assert "table1-savee.md holds what there is; the same command goes on" in " ".join(err.split())
    rows = [line for line in (request_.out / "table1-savee.md").read_text().splitlines() if "| VGG" in line]
    assert "51.0" in rows[0]
    states = [row["state"] for row in json.loads((request_.out / "table1-savee.json").read_text())["rows"]]
    assert states == ["finished"] * 2 + ["not run yet"] * 10


def test_mistakes_are_one_line(fails: Callable[..., str], request_: Request, fake: FakeTrain) -> None:
    assert fails(*command(request_, "--seeds", "0,x")) == (
        "--seeds '0,x' is not whole numbers separated by commas, e.g. 0,1,2"
    )
    assert fails("reproduce", "table1").startswith("no speech given; write --speech corpus:path")
    assert fails(*command(replace(request_, table="tabel1"))).startswith("unknown table 'tabel1' (did you mean")
    assert not fake.calls
    assert not request_.out.exists()


# --- a real training ---


def test_rows_on_a_tree_in_savees_layout(run: Run, tmp_path: Path, fer_tree: Path) -> None:
    """Readers, split, training, scores, and the paper's column beside them."""
    import soundfile

    from fdan_edge.data.corpora.savee import CORPUS, SPEAKERS
    from fdan_edge.data.corpora.synthetic.voices import SAMPLE_RATE, voice

    for index, speaker in enumerate(SPEAKERS):
        (tmp_path / "AudioData" / speaker).mkdir(parents=True)
        for letters, emotion in CORPUS.emotions.items():
            path = tmp_path / "AudioData" / speaker / f"{letters}01.wav"
            soundfile.write(path, voice(emotion, index, 1), SAMPLE_RATE)
    settings = [word for value in (*TINY[1:], "epochs=1") for word in ("--set", value)]
    sources = ("--speech", f"savee:{tmp_path}", "--faces", f"fer2013:{fer_tree}", "--out", str(tmp_path / "out"))
    code, out, _ = run(
        *("reproduce", "table1", *sources, "--backbone", "mobilenet_v2", "--rows", "plain,fdan"),
        *("--protocol", "speaker", *settings),
    )
    assert code == 0
    rows = {line.split("|")[1].strip(): line for line in out.splitlines() if line.startswith("|")}
    assert "86.7 / 86.2 / 87.0" in rows["FDAN, mobilenet_v2 (1)"]
    assert rows["plain backbone, mobilenet_v2"].replace(" ", "").endswith("|-|7|")
    assert "(1) the paper's row saw the faces of SAVEE, this one those of fer2013" in out
    assert "speaker-independent, speakers KL held out; 7 recordings to choose the epoch, 7 to test" in out
    config, info = load_run(tmp_path / "out" / "savee-speaker-fdan-mobilenet_v2-s0")
    assert config == Config.load(None, [*TINY, "epochs=1"])
    assert info.faces == [f"fer2013:{fer_tree}"]


# --- protocols of several trainings ---


class FakeCrossval:
    """In place of `crossval`: two folds and their scores together, unless the second fold fails."""

    def __init__(self, train: FakeTrain) -> None:
        self.train, self.error = train, False

    def __call__(self, config: Config, speech: list[Source], faces: list[Source], folder: Path) -> None:
        for number in (1, 2):
            if number == 2 and self.error:
                raise DataError("the second fold failed")
            fold = folder / f"fold-{number}"
            self.train(replace(config, fold=number), speech, fold, faces, resume=(fold / "run.toml").exists())
        one = scores(0.7)
        folds = [{"best_epoch": 5 - number, "val": one["val"]} for number in (1, 2)]
        values = {"protocol": "2 folds", "audit": "clean for speakers", "pooled": one["test"], "folds": folds}
        write_json(folder / "crossval.json", values)


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


def test_a_backbone_brings_its_settings_to_its_own_rows_only(request_: Request) -> None:
    runs = {run.name: run.config for run in plan(replace(request_, backbone="whisper_tiny"))}
    assert (runs["fdan"].hop, runs["plain"].n_mels) == (160, 80)
    assert (runs["resnet18"].hop, runs["resnet18"].n_mels) == (256, 128)


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
