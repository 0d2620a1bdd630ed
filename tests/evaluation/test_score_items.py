"""Which recordings are scored, and how `evaluate` treats what it cannot use."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fdan_edge.data.corpora import Item, Source
from fdan_edge.errors import DataError
from fdan_edge.evaluation.score_items import score_items
from fdan_edge.evaluation.score_model import evaluate
from fdan_edge.runtime.model_spec import ModelSpec


def test_the_verdict_is_of_the_runs_own_test(run_folder: Path, ravdess_tree: Path) -> None:
    speech = [Source("ravdess", ravdess_tree)]
    verdict = "clean for speakers; 1 of 1 test sentences also in training; no duplicates"
    assert evaluate(run_folder, speech, "test").audit == verdict
    assert evaluate(run_folder, speech, "val").audit == "not audited: not the run's test part"


class Loud:
    """Says that loud windows are angry."""

    name = "loud"
    spec = ModelSpec(("angry", "sad"), 16000, 16000, 8000, 0.0)

    def predict(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        angry = (np.abs(waveforms).max(axis=1) > 0.5).astype(np.float32)
        return np.stack([angry, 1 - angry], axis=1)

    def __enter__(self) -> Loud:
        return self

    def __exit__(self, *_: object) -> None:
        return None


@pytest.fixture
def recordings(tmp_path: Path) -> list[Item]:
    import soundfile

    made = []
    for name, peak, emotion in (("a", 0.9, "angry"), ("b", 0.2, "sad"), ("c", 0.2, "angry"), ("d", 0.2, "happy")):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, peak * np.sin(np.arange(20000) / 5), 16000)
        made.append(Item("x", path.name, path, emotion))
    (tmp_path / "e.wav").write_bytes(b"RIFF")
    return [*made, Item("x", "e.wav", tmp_path / "e.wav", "sad")]


def test_evaluate_scores_what_it_can(recordings: list[Item]) -> None:
    done = score_items(Loud(), recordings, "here")
    assert done.scores.confusion == [[1, 1], [0, 1]]
    assert done.scores.n == 3
    assert done.skipped == 1  # happy is no class of the model
    assert len(done.broken) == 1
    assert "e.wav" in done.broken[0]
    values = json.loads(json.dumps(done.to_dict()))
    assert (values["part"], values["war"], values["skipped_unknown_class"]) == ("here", pytest.approx(2 / 3), 1)


def test_evaluate_says_how_sure_it_is(recordings: list[Item]) -> None:
    speakers = [replace(item, speaker=name) for item, name in zip(recordings, "pqqqq", strict=True)]
    done = score_items(Loud(), speakers, "here")
    # Speaker p: angry, right. Speaker q: sad, right, and angry, not heard.
    assert (done.intervals.unit, done.intervals.units) == ("speaker", 2)
    assert done.intervals.war == (0.5, 1)
    assert done.calibration.ece == pytest.approx(1 / 3)  # sure of all three, right about two
    values = json.loads(json.dumps(done.to_dict()))
    assert values["intervals"]["war"] == [0.5, 1]
    assert values["recall"].keys() == values["intervals"]["recall"].keys() == {"angry", "sad"}
    assert values["calibration"]["nll"] == pytest.approx(done.calibration.nll)
    assert score_items(Loud(), recordings, "here").intervals.unit == "recording"  # no speaker is known


def test_nothing_to_score(recordings: list[Item]) -> None:
    with pytest.raises(DataError, match="none of 2 recordings could be scored; the model knows angry, sad"):
        score_items(Loud(), recordings[3:], "here")
