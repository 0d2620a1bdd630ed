"""Scores of any runner on labelled speech, without the recordings that it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fdan_edge.data.corpora import Item
from fdan_edge.data.leak_audit import NOT_AUDITED
from fdan_edge.errors import AudioError, DataError
from fdan_edge.evaluation.calibration import Calibration
from fdan_edge.evaluation.confidence_intervals import Intervals
from fdan_edge.evaluation.metrics import Scores
from fdan_edge.evaluation.predictions import Prediction, Predictions
from fdan_edge.runtime.recognition import recognize_file
from fdan_edge.runtime.runner import Runner
from fdan_edge.utils.progress import track


@dataclass(frozen=True)
class Evaluation:
    """Scores, and which recordings they are of."""

    scores: Scores
    intervals: Intervals
    calibration: Calibration
    part: str  # for people
    broken: list[str]  # one line per recording that could not be used
    skipped: int  # recordings of classes that the model does not know
    predictions: Predictions  # what the scores are of; not in `to_dict`
    audit: str = NOT_AUDITED  # the verdict on the split that these recordings are the test of

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        by_corpus = self.predictions.by_corpus()
        rows = [predictions.corpus_row(name) for name, predictions in by_corpus.items()]
        return {
            "part": self.part,
            "audit": self.audit,
            **({"corpora": rows} if len(rows) > 1 else {}),
            **self.scores.to_dict(),
            "intervals": self.intervals.to_dict(),
            "calibration": self.calibration.to_dict(),
            "broken": self.broken,
            "skipped_unknown_class": self.skipped,
        }


def score_items(runner: Runner, items: list[Item], part: str, among: Sequence[str] | None = None) -> Evaluation:
    """Run a model over labelled recordings, file to label as `infer` does, and score it.

    Args:
        runner: the model.
        items: recordings with labels; those of classes that it does not know are counted, and not scored.
        part: which they are, for people.
        among: classes that it chooses from, those of a corpus that has not all; None: all that it knows.

    Raises:
        DataError: no recording could be scored.
    """
    labels = list(runner.spec.labels)
    recordings: list[Prediction] = []
    broken = []
    known = [item for item in items if item.emotion in labels]
    for item in track(known, "evaluate"):
        try:
            probabilities = list(recognize_file(runner, item.path).probabilities.values())
        except AudioError as error:
            broken.append(str(error))
            continue
        recordings.append(Prediction(item.key, item.emotion, item.speaker_key, probabilities))
    if not recordings:
        raise DataError(f"none of {len(items)} recordings could be scored; the model knows {', '.join(labels)}")
    predictions = Predictions(labels, recordings)
    if among is not None:
        predictions = predictions.among(among)
    return Evaluation(
        scores=predictions.scores(),
        intervals=predictions.intervals(),
        calibration=predictions.calibration(),
        part=part,
        broken=broken,
        skipped=len(items) - len(known),
        predictions=predictions,
    )
