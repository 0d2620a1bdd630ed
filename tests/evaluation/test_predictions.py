"""Kept predictions: written, read, merged and scored again."""

from __future__ import annotations

from pathlib import Path

import pytest

from fdan_edge.errors import CheckpointError
from fdan_edge.evaluation.predictions import Prediction, Predictions, load_predictions

LABELS = ["angry", "calm", "neutral"]


def predictions() -> Predictions:
    return Predictions(
        LABELS,
        [
            Prediction("r:1", "angry", "r:ä", [0.4, 0.3, 0.3]),
            Prediction("r:2", "calm", "r:b", [0.1, 0.2, 0.7]),
            Prediction("r:3", "neutral", None, [0.1, 0.1 + 0.2, 0.6]),
        ],
    )


def test_there_and_back(tmp_path: Path) -> None:
    predictions().save(tmp_path / "p.json")
    assert load_predictions(tmp_path / "p.json") == predictions()  # to the last bit
    assert len((tmp_path / "p.json").read_text().splitlines()) == 5


def test_scores() -> None:
    assert predictions().scores().confusion == [[1, 0, 0], [0, 0, 1], [0, 0, 1]]
    assert predictions().intervals().unit == "recording"  # a speaker is not known
    assert predictions().calibration().n == 3


def test_merged_probabilities_are_summed_before_the_choice() -> None:
    made = predictions().merged("calm", "neutral")
    assert made.labels == ["angry", "neutral"]
    assert [one.emotion for one in made.recordings] == ["angry", "neutral", "neutral"]
    assert made.recordings[0].probabilities == pytest.approx([0.4, 0.6])
    assert made.scores().confusion == [[0, 1], [0, 2]]  # the first was angry alone; calm and neutral outweigh it


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "[]",
        '{"labels": ["a", "b"], "recordings": []}',
        '{"labels": ["a"], "recordings": [{"key": "k"}]}',
        '{"labels": ["a", "b"], "recordings": [{"key": "", "emotion": "a", "speaker": "", "probabilities": [1]}]}',
        '{"labels": ["a"], "recordings": [{"key": "k", "emotion": "b", "speaker": null, "probabilities": [1]}]}',
    ],
)
def test_damaged_files(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "p.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(CheckpointError, match=r"p\.json: missing or damaged: "):
        load_predictions(path)


def test_among_some_classes_the_others_are_not_chosen() -> None:
    rows = [Prediction("x:1", "sad", None, [0.6, 0.3, 0.1]), Prediction("x:2", "calm", None, [1.0, 0.0, 0.0])]
    among = Predictions(["happy", "sad", "calm"], rows).among(["calm", "fear", "sad"])
    assert among.labels == ["calm", "fear", "sad"]
    assert [row.probabilities for row in among.recordings] == [
        pytest.approx([0.25, 0.0, 0.75]),
        pytest.approx([1 / 3] * 3),  # it is sure of a class that cannot be: nothing is left to choose by
    ]
    assert among.recognized[0] == 2


def test_rows_by_corpus() -> None:
    rows = [
        Prediction("y:1", "sad", "y:a", [0.1, 0.9]),
        Prediction("x#z:1", "sad", "x#z:a", [0.9, 0.1]),
        Prediction("y:2", "happy", "y:b", [0.9, 0.1]),
    ]
    by_corpus = Predictions(["happy", "sad"], rows).by_corpus()
    assert {name: [row.key for row in part.recordings] for name, part in by_corpus.items()} == {
        "x#z": ["x#z:1"],
        "y": ["y:1", "y:2"],
    }
    row = by_corpus["y"].corpus_row("y")
    assert (row["corpus"], row["n"], row["uar"], row["classes"]) == ("y", 2, 1.0, ["happy", "sad"])
