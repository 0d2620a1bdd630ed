"""Labelled speech of the given corpora, its classes, and which of it belongs to a part of a run."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from fdan_edge.data.corpora import Item, Source, read, recording, unique
from fdan_edge.data.labels import merged
from fdan_edge.errors import DataError, choose
from fdan_edge.utils.progress import say

PARTS = ("test", "val", "train", "all")


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


def class_names(items: list[Item]) -> list[str]:
    """The sorted emotions of the items.

    Raises:
        DataError: fewer than two classes.
    """
    counts = Counter(item.emotion for item in items)
    if len(counts) < 2:
        raise DataError(f"speech of one class only ({', '.join(counts)}): there is nothing to tell apart")
    return sorted(counts)


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
