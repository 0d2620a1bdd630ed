"""Scores of any runner on labelled speech, without the recordings that it was trained on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fdan_edge.audit import NOT_AUDITED
from fdan_edge.bootstrap import Intervals
from fdan_edge.calibration import Calibration
from fdan_edge.corpora import Item, Source, read, recording, unique
from fdan_edge.emotions import merged
from fdan_edge.errors import AudioError, DataError, choose
from fdan_edge.infer import recognise
from fdan_edge.metrics import Scores
from fdan_edge.predictions import Prediction, Predictions
from fdan_edge.progress import say, track
from fdan_edge.runners import Runner

PARTS = ("test", "val", "train", "all")


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
        """Plain values for JSON."""
        return {
            "part": self.part,
            "audit": self.audit,
            **self.scores.to_dict(),
            "intervals": self.intervals.to_dict(),
            "calibration": self.calibration.to_dict(),
            "broken": self.broken,
            "skipped_unknown_class": self.skipped,
        }


def read_speech(sources: list[Source], *, calm_as_neutral: bool, boredom: bool = False) -> list[Item]:
    """All speech of the sources, with the class names that a model was trained on.

    Without `boredom` a publisher's recordings of it are left out; in a user's own folder it is a class as others.

    Raises:
        DataError: a source has no labels or cannot be read.
    """
    for source in sources:
        if source.corpus == "unlabelled":
            raise DataError(f"{source}: unlabelled speech cannot be learnt from; give it as --target")
    found = [item for source in sources for item in read(source, "speech")]
    kept = [item for item in found if boredom or item.emotion != "boredom" or item.corpus == "folder"]
    if len(kept) < len(found):
        count = f"{len(found) - len(kept)} of {len(found)} recordings"
        say(f"left out: {count}, which are of boredom; --set boredom=true trains on them")
    items = [replace(item, emotion=merged(item.emotion, calm_as_neutral=calm_as_neutral)) for item in kept]
    return unique(items, "the given speech")


def choose_part(items: list[Item], split: dict[str, list[str]], part: str) -> tuple[list[Item], str]:
    """The items to score, and how to call them.

    `test` is what the run held out; speech of other corpora counts as test as a whole. Recordings that the
    run saw in training or validation never do, nor, where speakers or sentences were held out, do further
    recordings of those that it saw; a target, heard without labels, does. `all` takes everything and says so.
    """
    if part not in PARTS:
        raise DataError(choose("part", part, PARTS))
    if part == "all":
        return items, "all given speech, training speech included where it is among it"
    parts = {name: {recording(key) for key in split[name]} for name in ("train", "val", "test")}
    if part != "test":
        chosen = [item for item in items if recording(item.key) in parts[part]]
        if not chosen:
            raise DataError(f"none of this speech is in the run's {part} part")
        return chosen, f"the run's {part} part"
    chosen = _unseen(items, parts["train"] | parts["val"], split)
    if not chosen:
        what = "sentences" if split.get("texts") else "speakers"
        raise DataError(
            f"all of this speech, or its {what}, was used in training or validation; --part all scores it anyway"
        )
    known = sum(recording(item.key) in parts["test"] for item in chosen)
    heard = _heard(chosen, split)
    if known == len(chosen):
        whole = "" if known == len(parts["test"]) else f"{known} of {len(parts['test'])} recordings of "
        return chosen, f"{whole}the run's test part{heard}"
    return chosen, f"speech unseen in training{heard}"


def _heard(items: list[Item], split: dict[str, list[str]]) -> str:
    """What to say of recordings that the training heard without labels: none of it where it heard none."""
    target = {recording(key) for key in split.get("target", [])}
    count = sum(recording(item.key) in target for item in items)
    how = "" if count == len(items) else f"{count} of {len(items)} "
    return f", {how}given to the training without labels" if count else ""


def _unseen(items: list[Item], recordings: set[str], split: dict[str, list[str]]) -> list[Item]:
    """Neither the recordings nor, where speakers or sentences were held out, others of those that were met."""
    speakers, texts = set(split["speakers"]), set(split.get("texts", []))
    kept = [item for item in items if recording(item.key) not in recordings]
    return [item for item in kept if item.speaker_key not in speakers and item.text_key not in texts]


def pick(items: list[Item], count: int) -> list[Item]:
    """`count` items at most, spread evenly over the list sorted by class, so that every class is there."""
    ordered = sorted(items, key=lambda item: (item.emotion, item.key))
    if len(ordered) <= count:
        return ordered
    return [ordered[int(i)] for i in np.linspace(0, len(ordered) - 1, count)]


def evaluate(runner: Runner, items: list[Item], part: str) -> Evaluation:
    """Run a model over labelled recordings, file to label as `infer` does, and score it.

    Raises:
        DataError: no recording could be scored.
    """
    labels = list(runner.spec.labels)
    heard: list[Prediction] = []
    broken = []
    known = [item for item in items if item.emotion in labels]
    for item in track(known, "evaluate"):
        try:
            made = list(recognise(runner, item.path).probabilities.values())
        except AudioError as error:
            broken.append(str(error))
            continue
        heard.append(Prediction(item.key, item.emotion, item.speaker_key, made))
    if not heard:
        raise DataError(f"none of {len(items)} recordings could be scored; the model knows {', '.join(labels)}")
    predictions = Predictions(labels, heard)
    return Evaluation(
        scores=predictions.scores(),
        intervals=predictions.intervals(),
        calibration=predictions.calibration(),
        part=part,
        broken=broken,
        skipped=len(items) - len(known),
        predictions=predictions,
    )
