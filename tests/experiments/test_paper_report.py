"""The table that `fdan-edge reproduce` writes: its numbers, its footnotes, and what stands beneath it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fdan_edge.data.corpora import Source
from fdan_edge.experiments.paper_report import markdown, to_dict
from fdan_edge.experiments.paper_tables import Outcome, Request, plan
from tests.helpers.reproduce_fake import scores

MACHINE = {"cores": 2, "processor": "a processor", "system": "Linux"}


@pytest.fixture
def table1(tmp_path: Path) -> Request:
    """Table 1 on SAVEE, one protocol."""
    savee = [Source("savee", tmp_path)]
    return Request("table1", savee, savee, tmp_path / "out", protocols=["speaker"])


def outcome(uar: float, **changes: Any) -> Outcome:
    return replace(Outcome(scores(uar), "", 60.0, {"torch": "2.14"}, MACHINE), **changes)


def text_of(request: Request, *outcomes: Outcome | None) -> str:
    return markdown(request, plan(request), list(outcomes), "fdan-edge reproduce table1")


def cells(text: str, model: str) -> list[str]:
    """The cells of the first row whose model begins so."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {model}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_our_numbers_beside_the_published(table1: Request) -> None:
    text = text_of(table1, *[outcome(0.5)] * 5, outcome(0.61))
    assert cells(text, "model") == [
        "model",
        "WAR %",
        "UAR %",
        "w-F1 %",
        "UAR: 95 % interval",
        "published WAR / UAR / w-F1 %",
        "n test",
    ]
    assert cells(text, "VGG-16") == ["VGG-16", "51.0", "50.0", "49.0", "40.0 to 60.0", "64.6 / 63.3 / 64.3", "96"]
    assert cells(text, "FDAN") == ["FDAN", "62.0", "61.0", "60.0", "51.0 to 71.0", "86.7 / 86.2 / 87.0", "96"]
    assert cells(text, "GM-TCNet") == ["GM-TCNet", "-", "-", "-", "-", "84.8 / 83.3 / -", "-"]
    models = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    assert models[5:] == ["ResNet-50", "INCA", "GM-TCNet", "TF-Mix", "FDAN"]


def test_lines_of_a_table_are_of_one_width(table1: Request) -> None:
    text = text_of(table1, *[outcome(0.5)] * 5, None)
    assert len({len(line) for line in text.splitlines() if line.startswith("|")}) == 1
    assert not any(line != line.rstrip() and not line.startswith("(") for line in text.splitlines())


def test_several_seeds(table1: Request) -> None:
    wanted = replace(table1, rows=["fdan"], seeds=[0, 1, 2])
    text = text_of(wanted, outcome(0.5), outcome(0.6), outcome(0.55))
    row = cells(text, "FDAN")
    assert row[2] == "55.0 (50.0 / 60.0 / 55.0)"
    assert row[4] == "40.0 to 60.0 (seed 0); seeds 50.0 to 60.0"
    text = text_of(wanted, outcome(0.5), outcome(0.6), None)
    assert cells(text, "FDAN (1)")[2] == "55.0 (50.0 / 60.0)"
    assert "\n(1) seed 2: not run yet" in text


def test_protocols_are_never_mixed(table1: Request) -> None:
    wanted = replace(table1, rows=["fdan"], protocols=["random", "speaker"])
    random, speaker = text_of(wanted, outcome(0.8), outcome(0.4)).split("## Protocol: speaker")
    assert cells(random, "FDAN")[2] == "80.0"
    assert cells(speaker, "FDAN")[2] == "40.0"


def test_equal_reasons_share_a_footnote(table1: Request) -> None:
    missing = Outcome(problem="no weights <no internet>")
    text = text_of(
        table1, missing, missing, Outcome(problem="too little memory"), outcome(0.5), outcome(0.5), None
    )
    assert cells(text, "VGG-16 (1)")[1] == cells(text, "VGG-19 (1)")[1] == "not run"
    assert cells(text, "ResNet-18 (2)")[2] == "-"
    assert cells(text, "FDAN")[1] == "not run yet"
    assert "(1) no weights \\<no internet>  \n(2) too little memory  \n\n" in text


def test_scores_with_a_remark(table1: Request) -> None:
    wanted = replace(table1, rows=["fdan"])
    text = text_of(wanted, outcome(0.5, problem="the training diverged"))
    assert cells(text, "FDAN (1)")[2] == "50.0"
    assert "(1) the training diverged" in text


def test_no_published_column_for_other_corpora(table1: Request, tmp_path: Path) -> None:
    wanted = replace(table1, speech=[Source("ravdess", tmp_path)], rows=["resnet34", "fdan"])
    text = text_of(wanted, outcome(0.5), outcome(0.5))
    assert "published WAR" not in text
    assert "published figures" not in text
    assert "No published column: the paper's table is of SAVEE." in text
    assert len(cells(text, "FDAN")) == 6
    assert to_dict(wanted, plan(wanted), [outcome(0.5), None], "x")["published"] == []


def test_faces_and_backbone_unlike_the_papers_are_named(table1: Request, tmp_path: Path) -> None:
    faces = [Source("fer2013", tmp_path)]
    wanted = replace(table1, faces=faces, rows=["resnet34", "fdan"], backbone="resnet18")
    text = text_of(wanted, outcome(0.5), outcome(0.5))
    assert cells(text, "ResNet-34")[0] == "ResNet-34"
    assert cells(text, "FDAN, resnet18 (1)")
    assert "(1) the paper's row saw the faces of SAVEE, this one those of fer2013" in text
    assert "Backbone of FDAN: resnet18 (the paper's: resnet34)." in text
    multi = replace(wanted, table="table3", rows=[], faces=[*faces, Source("meld", tmp_path)], backbone="resnet34")
    text = text_of(multi, outcome(0.5))
    assert cells(text, "SAVEE{S_v, M_v, S_a} (1)")[5] == "87.5 / 87.1 / 87.7"
    assert "the faces of MELD and SAVEE, this one those of fer2013 and MELD" in text
    both = replace(multi, faces=[Source("meld", tmp_path), Source("savee", tmp_path)])
    assert cells(text_of(both, outcome(0.5)), "SAVEE{")[0] == "SAVEE{S_v, M_v, S_a}"


def test_what_stands_beneath(table1: Request) -> None:
    wanted = replace(table1, rows=["fdan"], paper_recipe=True, settings=["face_size=64"])
    text = text_of(wanted, outcome(0.5))
    assert "- Split: some split; 38 recordings to choose the epoch, 96 to test." in text
    assert "- Intervals: bootstrap, 2000 resamples of 4 speakers; few: likely too narrow." in text
    assert "- Seeds of the training: 0. " in text
    assert "- Epochs: 300." in text
    changed = "face_size = 64, epochs = 300, optimizer = sgd, momentum = 0.99, weight_decay = 0.001"
    assert f"- Settings that differ from the defaults: {changed}." in text
    assert "- Versions: torch 2.14." in text
    assert "- Machine: 2 cores of a processor, Linux." in text
    assert "the same speakers and sentences are in train and test" in text
    assert text.endswith("```\nfdan-edge reproduce table1\n```\n")


def test_json(table1: Request) -> None:
    wanted = replace(table1, rows=["vgg16", "resnet34", "fdan"])
    values = to_dict(wanted, plan(wanted), [Outcome(problem="no weights"), outcome(0.5), None], "the command")
    assert [row["state"] for row in values["rows"]] == ["cannot be run", "finished", "not run yet"]
    failed, done, _ = values["rows"]
    assert failed["problem"] == "no weights"
    assert (done["test"]["uar"], done["seconds"], done["split"]) == (0.5, 60, "some split")
    assert done["settings"]["backbone"] == "resnet34"
    assert values["published"][-1] == {"row": "fdan", "title": "FDAN", "war": 86.66, "uar": 86.19, "wf1": 86.96}
