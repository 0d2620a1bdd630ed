"""The table that `fdan-edge reproduce didan` writes: its numbers, how sure they are, what stands beneath."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fdan_edge.config import Config
from fdan_edge.data.corpora import Source
from fdan_edge.data.corpora.synthetic.voices import SAMPLE_RATE, voice
from fdan_edge.errors import DataError
from fdan_edge.evaluation.confidence_intervals import percentiles, uar_draws
from fdan_edge.evaluation.predictions import Predictions
from fdan_edge.experiments import paper_tables
from fdan_edge.experiments.cross_corpus import TableLine, TaskRequest, carry_out, plan
from fdan_edge.experiments.cross_corpus_report import markdown, to_dict
from fdan_edge.experiments.cross_corpus_scores import row_scores
from fdan_edge.runs.run_folder import load_run
from fdan_edge.utils.files import write_json
from tests.conftest import TINY
from tests.experiments.test_cross_corpus import CLASSES, FakeTraining, line_of, nothing, predicted, scores

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeTraining:
    fake_training = FakeTraining()
    monkeypatch.setattr(paper_tables, "train", fake_training)
    return fake_training


@pytest.fixture
def wanted(tmp_path: Path) -> TaskRequest:
    """`source` and DIDAN with one lambda on EMO-DB and RAVDESS."""
    for name in ("emodb", "ravdess"):
        (tmp_path / name).mkdir()
    speech = [Source(name, tmp_path / name) for name in ("emodb", "ravdess")]
    return TaskRequest(speech, [], tmp_path / "out", rows=["source", "didan"], lambdas=[1.0])


def trained(request: TaskRequest) -> list[TableLine]:
    return carry_out(plan(request), nothing)


def text_of(request: TaskRequest) -> str:
    return markdown(request, trained(request), "fdan-edge reproduce didan")


def cells(text: str, row: str, section: str = "emodb to ravdess") -> list[str]:
    """The cells of a row in the table of a task, or of all of them."""
    part = text.split(f"## {section}")[1]
    line = next(line for line in part.splitlines() if line.startswith(f"| {row}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def uar(right: int) -> float:
    """In percent, of what `predicted` makes."""
    return 100 * predicted(right).scores().uar


# --- numbers ---


def test_scores_beside_those_of_the_source_alone(wanted: TaskRequest, fake: FakeTraining) -> None:
    fake.right = lambda config: 6 if config.method == "didan" else 4
    text = text_of(wanted)
    head = ["method", "lambda", "UAR %", "95 % interval", "minus source", "minus joint", "WAR %"]
    assert cells(text, "method") == head
    source, didan = cells(text, "source only"), cells(text, "DIDAN")
    assert source[:3] == ["source only", "-", f"{uar(4):.1f}"]
    assert source[4] == "-"
    low, high = predicted(4).intervals().uar
    assert source[3] == f"{100 * low:.1f} to {100 * high:.1f}"
    assert didan[:3] == ["DIDAN", "1", f"{uar(6):.1f}"]
    assert didan[4] == "+25.0 (+25.0 to +25.0) *"  # of every speaker two more of eight are right
    assert didan[5] == "-"  # that row was not asked for
    assert didan[6] == f"{100 * predicted(6).scores().war:.1f}"


def test_what_the_term_does_beside_what_hearing_the_target_does(wanted: TaskRequest, fake: FakeTraining) -> None:
    fake.right = lambda config: 3 if config.method == "source" else 4 + 2 * (config.transfer_weight > 0)
    text = text_of(replace(wanted, rows=["source", "joint", "didan"]))
    assert [cells(text, row)[5] for row in ("source only", "joint, no term", "DIDAN")] == [
        "-",
        "-",
        "+25.0 *",
    ]
    assert cells(text, "joint, no term")[4] == "+12.5 (+12.5 to +12.5) *"
    assert cells(text, "DIDAN")[4] == "+37.5 (+37.5 to +37.5) *"


def test_a_choice_at_the_edge_of_what_was_tried_is_marked(wanted: TaskRequest, fake: FakeTraining) -> None:
    asked = replace(wanted, lambdas=[0.1, 1.0, 10.0])
    assert cells(text_of(asked), "DIDAN")[1] == "10 ↑"
    fake.information = lambda config: -abs(config.transfer_weight - 1)
    assert cells(text_of(replace(asked, out=wanted.out / "b")), "DIDAN")[1] == "1"
    fake.information = lambda config: -config.transfer_weight
    assert cells(text_of(replace(asked, out=wanted.out / "c")), "DIDAN")[1] == "0.1 ↓"


def test_a_difference_of_nothing_is_not_clear(wanted: TaskRequest, fake: FakeTraining) -> None:
    """Whatever the order in which equal shares are added up."""
    fake.right = lambda config: 1 + (config.seed + (config.method == "didan")) % 3
    text = text_of(replace(wanted, seeds=[0, 1, 2]))
    assert cells(text, "DIDAN")[4] == "+0.0 (+0.0 to +0.0)"


def test_the_interval_is_of_the_mean_over_seeds_on_the_same_speakers(
    wanted: TaskRequest, fake: FakeTraining
) -> None:
    fake.right = lambda config: (1, 4, 7)[config.seed]
    lines = trained(replace(wanted, rows=["source"], seeds=[2, 0, 1]))
    scores_of_row = row_scores(line_of(lines, "source"), None)
    assert scores_of_row is not None
    assert scores_of_row.uar == [uar(right) / 100 for right in (7, 1, 4)]
    draws = []
    for right in (1, 4, 7):
        predictions = predicted(right)
        speakers = [recording.speaker for recording in predictions.recordings]
        draws.append(uar_draws(predictions.true, predictions.recognized, predictions.labels, speakers))
    assert scores_of_row.interval == pytest.approx(percentiles(np.mean(draws, axis=0)))


def test_pairing_is_by_recording_whatever_the_order_of_the_files(wanted: TaskRequest, fake: FakeTraining) -> None:
    fake.right = lambda config: 6 if config.method == "didan" else 4
    lines = trained(wanted)
    trial = line_of(lines, "didan").trials[0]
    predictions = predicted(6, "ravdess")
    Predictions(predictions.labels, predictions.recordings[::-1]).save(trial.run.folder / "predictions.json")
    assert cells(text_of(wanted), "DIDAN")[4] == "+25.0 (+25.0 to +25.0) *"


def test_no_difference_where_other_recordings_were_tested(wanted: TaskRequest, fake: FakeTraining) -> None:
    fake.right = lambda config: 6 if config.method == "didan" else 4
    trial = line_of(trained(wanted), "didan").trials[0]
    predictions = Predictions(CLASSES, predicted(6, "ravdess").recordings[1:])
    predictions.save(trial.run.folder / "predictions.json")
    write_json(trial.run.folder / "metrics.json", scores(predictions, 1.0))
    row = cells(text_of(wanted), "DIDAN")
    assert row[4] == "-"
    assert row[2] == f"{100 * predictions.scores().uar:.1f}"


def test_seeds(wanted: TaskRequest, fake: FakeTraining) -> None:
    fake.right = lambda config: (1, 4, 7, 7)[config.seed]
    own = [uar(right) for right in (1, 4, 7, 7)]
    row = cells(text_of(replace(wanted, seeds=[0, 1])), "DIDAN")
    assert row[2] == f"{np.mean(own[:2]):.1f} ({own[0]:.1f} / {own[1]:.1f})"
    row = cells(text_of(replace(wanted, seeds=[0, 1, 2, 3])), "DIDAN")
    assert row[2] == f"{np.mean(own):.1f} ({own[0]:.1f} to {own[2]:.1f})"


def test_all_tasks_side_by_side(wanted: TaskRequest, fake: FakeTraining) -> None:
    fake.right = lambda config: 4 if config.method == "source" else 6 if config.transfer_weight == 1 else 1
    text = text_of(replace(wanted, rows=["source", "didan", "mmd"], lambdas=[]))
    assert cells(text, "UAR", "All tasks") == ["UAR %", "B-R", "R-B", "mean"]
    assert cells(text, "source", "All tasks") == ["source only", *[f"{uar(4):.1f}"] * 3]
    assert cells(text, "DIDAN", "All tasks")[1:3] == [f"{uar(1):.1f} (-)"] * 2  # lambda 10 was chosen
    assert cells(text_of(wanted), "DIDAN", "All tasks")[1:3] == [f"{uar(6):.1f} (+)"] * 2
    assert "B emodb, R ravdess; source before target." in text


# --- what is shown of the choice, and of what went wrong ---


def test_which_weight_was_chosen_and_why(wanted: TaskRequest, fake: FakeTraining) -> None:
    def information(config: Config) -> float:
        return {0.1: 0.2, 1.0: 0.6, 10.0: 0.4}.get(config.transfer_weight, 0.3)

    fake.information = information
    asked = replace(wanted, rows=["didan", "bridge"], lambdas=[], faces=[Source("fer2013", wanted.out.parent)])
    text = text_of(asked)
    assert cells(text, "DIDAN")[1] == "1"
    assert cells(text, "FDAN, faces as bridge")[1] == "alpha 0.1 ↓"
    assert "- Information about the target in nats, at most 0.69, " in text
    assert "  - DIDAN: 0.1: 0.200, 1: 0.600, 10: 0.400\n" in text


def test_a_task_of_too_few_classes_is_a_problem_of_its_cells(wanted: TaskRequest, fake: FakeTraining) -> None:
    fake.errors = {"ravdess-to-emodb": DataError("one class <sad> in common")}
    text = text_of(wanted)
    other = text.split("## ravdess to emodb")[1]
    assert cells(text, "DIDAN (1)", "ravdess to emodb")[1:] == ["-", "not run", "-", "-", "-", "-"]
    assert "\n(1) one class \\<sad> in common  \n\n" in other
    assert "(2)" not in other
    assert cells(text, "DIDAN", "All tasks")[1:] == [f"{uar(4):.1f}", "not run", "-"]
    assert "Information" not in other


def test_a_weight_that_failed_is_named(wanted: TaskRequest, fake: FakeTraining) -> None:
    fake.errors = {"didan-resnet34-l10-": DataError("the loss is nan")}
    text = text_of(replace(wanted, lambdas=[1.0, 10.0]))
    assert cells(text, "DIDAN (1)")[1] == "1 ↓"
    assert "(1) lambda 10, seed 0: the loss is nan" in text
    assert "  - DIDAN: 1: 1.000, 10: -\n" in text


def test_what_is_not_there_yet(wanted: TaskRequest, fake: FakeTraining) -> None:
    asked = replace(wanted, lambdas=[1.0, 10.0], seeds=[0, 1])
    empty = markdown(asked, plan(asked), "command")
    assert cells(empty, "DIDAN")[:3] == ["DIDAN", "-", "not run yet"]
    fake.errors = {"emodb-to-ravdess-didan-resnet34-l10-s1": KeyboardInterrupt()}
    seen: list[list[TableLine]] = []
    with pytest.raises(KeyboardInterrupt):
        carry_out(plan(asked), seen.append)
    text = markdown(asked, seen[-1], "command")
    assert cells(text, "DIDAN (1)")[1:3] == ["10 ↑", f"{uar(4):.1f}"]
    assert "(1) seed 1: not run yet" in text


@pytest.mark.usefixtures("fake")
def test_what_stands_beneath(wanted: TaskRequest) -> None:
    text = text_of(replace(wanted, settings=["epochs=3"]))
    assert "- Classes: angry, sad; a guess has a UAR of 50.0 %." in text
    assert "- Recordings: 30 of the source to train, 6 to calibrate the probabilities; 96 of the target." in text
    assert "- Intervals: bootstrap, 2000 resamples of 12 speakers." in text
    assert "- Settings that differ from the defaults: epochs = 3." in text
    assert "- Versions: torch 2.14." in text
    assert "(transductive)" in text
    assert "H(mean p) - mean H(p)" in text
    assert text.endswith("```\nfdan-edge reproduce didan\n```\n")


def test_lines_fit_a_terminal(wanted: TaskRequest, fake: FakeTraining) -> None:
    """A wide one, of 132 columns, with three seeds and footnotes."""
    fake.short = {"bridge"}
    fake.right = lambda config: 1 if config.method == "source" else 6
    faces = [Source("fer2013", wanted.out.parent)]
    asked = replace(wanted, rows=["source", "didan_layers", "bridge"], faces=faces, seeds=[0, 1, 2])
    lines = [line for line in text_of(asked).splitlines() if not line.startswith("- Speech")]
    assert [line for line in lines if len(line) > 132] == []


def test_json(wanted: TaskRequest, fake: FakeTraining) -> None:
    fake.right = lambda config: 6 if config.method == "didan" else 4
    asked = replace(wanted, lambdas=[1.0, 10.0])
    values = json.loads(json.dumps(to_dict(asked, trained(asked), "the command")))
    source, didan = values["tasks"][0]["rows"]
    assert (values["tasks"][0]["source"], values["tasks"][0]["target"]) == ("emodb", "ravdess")
    assert source["less_source"] is None
    assert didan["weight"] == {
        "setting": "transfer_weight",
        "chosen": 10.0,
        "information": {"1": 1.0, "10": 10.0},
    }
    assert didan["less_source"]["uar"] == pytest.approx(0.25)
    assert didan["less_source"]["excludes_0"] is True
    assert didan["mean_uar"] == predicted(6).scores().uar
    runs = [(run["task"], run["row"], run["weight"], run["state"]) for run in values["runs"]]
    assert runs[:3] == [
        ("emodb to ravdess", "source", None, "finished"),
        ("emodb to ravdess", "didan", 1.0, "finished"),
        ("emodb to ravdess", "didan", 10.0, "finished"),
    ]
    assert values["runs"][0]["split"] == "all of the target"


# --- the command ---


def command(request: TaskRequest, *words: str) -> list[str]:
    emodb, ravdess = (str(source.path) for source in request.speech)
    given = ["--emodb", emodb, "--ravdess", ravdess, "--rows", "source,didan"]
    return ["reproduce", "didan", *given, "--out", str(request.out), *words]


def test_the_command_prints_what_it_writes_and_can_be_given_again(
    run: Run, wanted: TaskRequest, fake: FakeTraining, tmp_path: Path
) -> None:
    words = ["--lambdas", "0.5,2", "--seeds", "0,1", "--set", "epochs=3", "--markdown", str(tmp_path / "t.md")]
    code, out, err = run(*command(wanted, *words))
    assert code == 0
    assert len(fake.calls) == 2 * (1 + 2 + 1 + 1)
    written = (wanted.out / "didan-emodb+ravdess.md").read_text()
    assert out == written + "\n"
    assert (tmp_path / "t.md").read_text() == written
    assert err.splitlines()[-1] == f"written: {wanted.out}/didan-emodb+ravdess.md and .json"
    values = json.loads((wanted.out / "didan-emodb+ravdess.json").read_text())
    code, out, _ = run(*shlex.split(values["command"])[1:], "--json")
    assert (code, json.loads(out)) == (0, values)
    assert len(fake.calls) == 10


def test_exit_code_1_where_a_row_cannot_be_run(run: Run, wanted: TaskRequest, fake: FakeTraining) -> None:
    fake.errors = {"emodb-to": DataError("one class in common")}
    code, out, _ = run(*command(wanted))
    assert code == 1
    assert "(1) one class in common" in out


def test_after_an_interruption_the_table_holds_what_there_is(
    run: Run, wanted: TaskRequest, fake: FakeTraining
) -> None:
    fake.errors = {"ravdess-to-emodb-didan": KeyboardInterrupt()}
    code, out, err = run(*command(wanted, "--lambdas", "1"))
    assert (code, out) == (130, "")
    assert "didan-emodb+ravdess.md holds what there is; the same command goes on" in " ".join(err.split())
    text = (wanted.out / "didan-emodb+ravdess.md").read_text()
    assert cells(text, "DIDAN", "All tasks") == ["DIDAN", f"{uar(4):.1f}", "not run yet", "-"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--protocol", "speaker"], "--protocol goes with table1, table2, table3, table4, not didan"),
        (["--paper-recipe"], "--paper-recipe goes with table1, table2, table3, table4, not didan"),
        (["--lambdas", "1,x"], "--lambdas '1,x' is not numbers separated by commas, e.g. 0.1,1,10"),
        (["--lambdas", "0,1"], "--lambdas 0,1: a weight is above 0; at 0 a row would be `joint`"),
        (["--lambdas", "nan"], "--lambdas nan: a weight is above 0; at 0 a row would be `joint`"),
    ],
)
def test_mistakes_are_one_line(
    fails: Callable[..., str], wanted: TaskRequest, fake: FakeTraining, words: list[str], error: str
) -> None:
    assert fails(*command(wanted, *words)) == error
    assert not fake.calls
    assert not wanted.out.exists()


def test_lambdas_go_with_didan_only(fails: Callable[..., str], wanted: TaskRequest) -> None:
    words = ["--speech", str(wanted.speech[0]), "--lambdas", "1"]
    assert fails("reproduce", "table1", *words) == "--lambdas goes with didan, not table1"


# --- real trainings ---


@pytest.mark.slow
def test_tasks_on_trees_in_the_publishers_layouts(run: Run, tmp_path: Path, ravdess_tree: Path) -> None:
    """Shared classes, trainings towards the target, scores."""
    (tmp_path / "emodb").mkdir()
    for speaker, (letter, emotion) in product((3, 8, 9), {"W": "angry", "F": "happy", "L": "boredom"}.items()):
        path = tmp_path / "emodb" / f"{speaker:02}a01{letter}a.wav"
        soundfile.write(path, voice("sad" if emotion == "boredom" else emotion, speaker, ord(letter)), SAMPLE_RATE)
    settings = [word for value in (*TINY[1:], "epochs=1") for word in ("--set", value)]
    words = ["--rows", "source,didan", "--lambdas", "0.1", "--backbone", "vgg8", *settings]
    corpora = ["--emodb", tmp_path / "emodb", "--ravdess", ravdess_tree, "--out", tmp_path / "out"]
    code, out, _ = run("reproduce", "didan", *map(str, corpora), *words)
    assert code == 0
    folder = tmp_path / "out" / "emodb-to-ravdess-didan-vgg8-l0.1-s0"
    config, info = load_run(folder)
    assert (config.method, config.transfer_weight, info.classes) == ("didan", 0.1, ["angry", "happy"])
    assert info.target == [f"ravdess:{ravdess_tree}"]
    assert "; 6 of the target." in out.split("## ravdess to emodb")[1]
    assert "; 8 of the target." in out.split("## emodb to ravdess")[1]
