"""The probabilities that a model gave each recording, saved so that scores of several runs can be pooled."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fdan_edge.errors import CheckpointError, one_line, shown
from fdan_edge.evaluation.calibration import Calibration, measure
from fdan_edge.evaluation.confidence_intervals import Intervals, intervals
from fdan_edge.evaluation.metrics import Scores, score
from fdan_edge.utils.files import write_text
from fdan_edge.utils.small_files import MOST_OF_A_LIST, read_json

FILE = "predictions.json"


@dataclass(frozen=True)
class Prediction:
    """One recording, its true class and the probabilities that the model gave it."""

    key: str
    emotion: str
    speaker: str | None  # unique across corpora
    probabilities: list[float]  # in the order of the labels


@dataclass(frozen=True)
class Predictions:
    """Predictions of one set of recordings, at least one."""

    labels: list[str]
    recordings: list[Prediction]

    @property
    def true(self) -> list[int]:
        """List the class index of each recording."""
        return [self.labels.index(prediction.emotion) for prediction in self.recordings]

    @property
    def recognized(self) -> list[int]:
        """List the index of the most probable class of each recording."""
        return [int(np.argmax(prediction.probabilities)) for prediction in self.recordings]

    def scores(self) -> Scores:
        """Compute WAR, UAR, w-F1, recalls and confusion matrix."""
        return score(self.true, self.recognized, self.labels)

    def intervals(self) -> Intervals:
        """Bootstrap intervals of the scores, by speaker where all are known."""
        speakers = [prediction.speaker for prediction in self.recordings]
        return intervals(self.true, self.recognized, self.labels, speakers)

    def calibration(self) -> Calibration:
        """Measure how far the probabilities can be believed."""
        return measure(np.array([prediction.probabilities for prediction in self.recordings]), np.array(self.true))

    def merged(self, gone: str, into: str) -> Predictions:
        """Count the class `gone` as `into`: its probability is added to that of `into`."""
        labels = [name for name in self.labels if name != gone]
        source, target = self.labels.index(gone), labels.index(into)
        predictions = []
        for prediction in self.recordings:
            probabilities = [p for index, p in enumerate(prediction.probabilities) if index != source]
            probabilities[target] += prediction.probabilities[source]
            predictions.append(
                Prediction(
                    prediction.key,
                    into if prediction.emotion == gone else prediction.emotion,
                    prediction.speaker,
                    probabilities,
                )
            )
        return Predictions(labels, predictions)

    def among(self, labels: Sequence[str]) -> Predictions:
        """Return what the model would say if it knew these classes alone: their probabilities, made to sum to 1.

        Args:
            labels: those of all recordings among them, and others that the model need not know.
        """
        places = [self.labels.index(name) if name in self.labels else None for name in labels]
        recordings = []
        for prediction in self.recordings:
            chosen = [0.0 if place is None else prediction.probabilities[place] for place in places]
            total = sum(chosen)
            shares = [p / total for p in chosen] if total > 0 else [1 / len(chosen)] * len(chosen)
            recordings.append(replace(prediction, probabilities=shares))
        return Predictions(list(labels), recordings)

    def corpus_row(self, name: str) -> dict[str, Any]:
        """Return the scores as a row of a table by corpus: plain values for JSON."""
        scores = self.scores().to_dict()
        chosen = {key: scores[key] for key in ("n", "uar", "war", "wf1")}
        intervals = self.intervals().to_dict()
        return {"corpus": name, "classes": sorted(scores["recall"]), **chosen, "intervals": intervals}

    def by_corpus(self) -> dict[str, Predictions]:
        """Divide the recordings by their corpora, sorted; the labels stay."""
        corpora: dict[str, list[Prediction]] = {}
        for prediction in self.recordings:
            corpora.setdefault(prediction.key.partition(":")[0], []).append(prediction)
        return {name: Predictions(self.labels, corpora[name]) for name in sorted(corpora)}

    def save(self, path: Path) -> None:
        """Write JSON, a recording on each line."""
        rows = ",\n".join(json.dumps(asdict(prediction), ensure_ascii=False) for prediction in self.recordings)
        labels = json.dumps(self.labels, ensure_ascii=False)
        write_text(path, f'{{"labels": {labels}, "recordings": [\n{rows}\n]}}\n')


def load_predictions(path: Path) -> Predictions:
    """Read what `Predictions.save` wrote.

    Raises:
        CheckpointError: missing or damaged.
    """
    try:
        values = read_json(path, MOST_OF_A_LIST)
        labels = [str(name) for name in values["labels"]]
        predictions = Predictions(labels, [_prediction(row) for row in values["recordings"]])
        if {len(row.probabilities) for row in predictions.recordings} != {len(labels)}:
            raise ValueError("not a probability for each class")
        if unknown := {prediction.emotion for prediction in predictions.recordings} - set(labels):
            raise ValueError(f"emotion {sorted(unknown)[0]!r} is none of the labels")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: missing or damaged: {one_line(error)}") from None
    return predictions


def _prediction(row: Any) -> Prediction:
    """Read one recording; TypeError where a value is of another type."""
    prediction = Prediction(**row)
    texts, numbers = (prediction.key, prediction.emotion, prediction.speaker or ""), prediction.probabilities
    if not all(isinstance(text, str) for text in texts) or not isinstance(numbers, list):
        raise TypeError(f"{shown(row)} is not a recording")
    if not all(type(number) in (int, float) for number in numbers):
        raise TypeError(f"{shown(numbers)} are not probabilities")
    return prediction
