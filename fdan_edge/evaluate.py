"""Scores of any runner on labelled speech, without the recordings that it was trained on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from fdan_edge.corpora import Item, Source, read, recording, unique
from fdan_edge.emotions import canonical
from fdan_edge.errors import AudioError, DataError, choose
from fdan_edge.infer import recognise
from fdan_edge.metrics import Scores, score
from fdan_edge.progress import track
from fdan_edge.runners import Runner

PARTS = ("test", "val", "train", "all")


@dataclass(frozen=True)
class Evaluation:
    """Scores, and which recordings they are of."""

    scores: Scores
    part: str  # for people
    broken: list[str]  # one line per recording that could not be used
    skipped: int  # recordings of classes that the model does not know

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "part": self.part,
            **self.scores.to_dict(),
            "broken": self.broken,
            "skipped_unknown_class": self.skipped,
        }


def read_speech(sources: list[Source], *, calm_as_neutral: bool) -> list[Item]:
    """All speech of the sources, with the class names that a model was trained on."""
    items = [
        replace(item, emotion=canonical(item.emotion, calm_as_neutral=calm_as_neutral))
        for source in sources
        for item in read(source, "speech")
    ]
    return unique(items, "the given speech")


def choose_part(items: list[Item], split: dict[str, list[str]], part: str) -> tuple[list[Item], str]:
    """The items to score, and how to call them.

    `test` is what the run held out; speech of other corpora counts as test as a whole, and recordings
    that the run saw in training or validation never do. `all` takes everything and says so.
    """
    if part not in PARTS:
        raise DataError(choose("part", part, PARTS))
    if part == "all":
        return items, "all given speech, training speech included where it is among it"
    parts = {name: {recording(key) for key in keys} for name, keys in split.items()}
    if part != "test":
        return [item for item in items if recording(item.key) in parts[part]], f"the run's {part} part"
    chosen = [item for item in items if recording(item.key) not in parts["train"] | parts["val"]]
    if not chosen:
        raise DataError("all of this speech was used in training or validation; --part all scores it anyway")
    if all(recording(item.key) in parts["test"] for item in chosen):
        return chosen, "the run's test part"
    return chosen, "speech unseen in training"


def evaluate(runner: Runner, items: list[Item], part: str) -> Evaluation:
    """Run a model over labelled recordings, file to label as `infer` does, and score it.

    Raises:
        DataError: no recording could be scored.
    """
    labels = list(runner.spec.labels)
    true, predicted, broken = [], [], []
    known = [item for item in items if item.emotion in labels]
    for item in track(known, "evaluate"):
        try:
            heard = recognise(runner, item.path)
        except AudioError as error:
            broken.append(str(error))
            continue
        true.append(labels.index(item.emotion))
        predicted.append(labels.index(heard.emotion))
    if not true:
        raise DataError(f"none of {len(items)} recordings could be scored; the model knows {', '.join(labels)}")
    return Evaluation(score(true, predicted, labels), part, broken, len(items) - len(known))
