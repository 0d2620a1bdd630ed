"""What a model said of each recording, kept so that scores of several runs can be pooled."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fdan_edge.errors import CheckpointError, one_line
from fdan_edge.evaluation.calibration import Calibration, measure
from fdan_edge.evaluation.confidence_intervals import Intervals, intervals
from fdan_edge.evaluation.metrics import Scores, score
from fdan_edge.utils.files import write_text

FILE = "predictions.json"


@dataclass(frozen=True)
class Prediction:
    """One recording, its true class and what was heard."""

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
        """Class index of each recording."""
        return [self.labels.index(one.emotion) for one in self.recordings]

    @property
    def recognized(self) -> list[int]:
        """Index of the most probable class of each recording."""
        return [int(np.argmax(one.probabilities)) for one in self.recordings]

    def scores(self) -> Scores:
        """WAR, UAR, w-F1, recalls and confusion matrix."""
        return score(self.true, self.recognized, self.labels)

    def intervals(self) -> Intervals:
        """Bootstrap intervals of the scores."""
        speakers = [one.speaker for one in self.recordings]
        return intervals(self.true, self.recognized, self.labels, speakers)

    def calibration(self) -> Calibration:
        """How far the probabilities can be believed."""
        return measure(np.array([one.probabilities for one in self.recordings]), np.array(self.true))

    def merged(self, gone: str, into: str) -> Predictions:
        """The same with the class `gone` counted as `into`: its probability is added to that of `into`."""
        labels = [name for name in self.labels if name != gone]
        source, target = self.labels.index(gone), labels.index(into)
        made = []
        for one in self.recordings:
            kept = [p for index, p in enumerate(one.probabilities) if index != source]
            kept[target] += one.probabilities[source]
            made.append(Prediction(one.key, into if one.emotion == gone else one.emotion, one.speaker, kept))
        return Predictions(labels, made)

    def save(self, path: Path) -> None:
        """Write JSON, a recording on each line."""
        rows = ",\n".join(json.dumps(asdict(one), ensure_ascii=False) for one in self.recordings)
        labels = json.dumps(self.labels, ensure_ascii=False)
        write_text(path, f'{{"labels": {labels}, "recordings": [\n{rows}\n]}}\n')


def load_predictions(path: Path) -> Predictions:
    """What `Predictions.save` wrote.

    Raises:
        CheckpointError: missing or damaged.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        labels = [str(name) for name in values["labels"]]
        made = Predictions(labels, [Prediction(**row) for row in values["recordings"]])
        if not made.recordings or {len(one.probabilities) for one in made.recordings} != {len(labels)}:
            raise ValueError("not a probability for each class")
        if unknown := {one.emotion for one in made.recordings} - set(labels):
            raise ValueError(f"emotion {sorted(unknown)[0]!r} is none of the labels")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: missing or damaged: {one_line(error)}") from None
    return made
