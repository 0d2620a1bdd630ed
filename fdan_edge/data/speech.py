"""Labelled speech of corpora, its classes, and which of it belongs to a part of a run."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace

import numpy as np

from fdan_edge.data.corpora import Item, Source, get_corpus, read, recording_key, unique
from fdan_edge.data.corpora.own_labels import speaker_mistakes
from fdan_edge.data.labels import training_class
from fdan_edge.errors import DataError, unknown_choice

log = logging.getLogger(__name__)

PARTS = ("test", "val", "train", "all")


def read_labelled_speech(sources: list[Source], *, calm_as_neutral: bool, boredom: bool = False) -> list[Item]:
    """Read all speech of the sources, each recording once, with the classes that a model is trained on.

    Args:
        sources: labelled corpora.
        calm_as_neutral: whether calm is called neutral.
        boredom: whether a publisher's recordings of boredom stay. Among a user's own classes it always stays.

    Raises:
        DataError: a source has no labels or cannot be read, or tables spell a speaker in two ways.
    """
    for source in sources:
        if not get_corpus(source.corpus).labelled:
            raise DataError(f"{source}: unlabelled speech cannot be learnt from; give it as --adapt-to")
    speech = [item for source in sources for item in read(source, "speech")]
    own = Counter(i.speaker for i in speech if i.speaker and get_corpus(i.corpus).user_classes)
    if mistakes := speaker_mistakes(own, {}):  # of two tables: each alone was checked when it was read
        raise DataError(f"{', '.join(map(str, sources))}: {mistakes[0]}")
    kept = [i for i in speech if boredom or i.emotion != "boredom" or get_corpus(i.corpus).user_classes]
    if len(kept) < len(speech):
        count = f"{len(speech) - len(kept)} of {len(speech)} recordings"
        log.warning(f"left out: {count}, which are of boredom; --set boredom=true trains on them")
    items = [replace(item, emotion=training_class(item.emotion, calm_as_neutral=calm_as_neutral)) for item in kept]
    return unique(items, "the given speech")


def class_names(items: list[Item]) -> list[str]:
    """List the classes of the items, sorted.

    Raises:
        DataError: fewer than two classes.
    """
    counts = Counter(item.emotion for item in items)
    if len(counts) < 2:
        raise DataError(f"speech of one class only ({', '.join(counts)}): there is nothing to tell apart")
    return sorted(counts)


def choose_part(items: list[Item], split: dict[str, list[str]], part: str) -> tuple[list[Item], str]:
    """Choose the items to score, and describe them for people.

    `test` is what the run held out; speech of other corpora is test as a whole. Never in it are recordings that
    the run saw in training or validation. Where speakers or sentences were held out, other recordings of those
    that it saw are not in it either. The corpus that it adapted to, without labels, is. `all` takes everything,
    and the description says so.

    Args:
        items: labelled speech.
        split: of the run's split.json.
        part: one of PARTS.

    Raises:
        DataError: there is no such part, or nothing of it is among the items.
    """
    if part not in PARTS:
        raise DataError(unknown_choice("part", part, PARTS))
    if part == "all":
        return items, "all given speech, training speech included where it is among it"
    parts = {name: {recording_key(key) for key in split[name]} for name in ("train", "val", "test")}
    if part != "test":
        chosen = [item for item in items if recording_key(item.key) in parts[part]]
        if not chosen:
            raise DataError(f"none of this speech is in the run's {part} part")
        return chosen, f"the run's {part} part"
    chosen = _unseen(items, parts["train"] | parts["val"], split)
    if not chosen:
        what = "sentences" if split["texts"] else "speakers"
        raise DataError(
            f"all of this speech, or its {what}, was used in training or validation; --part all scores it anyway"
        )
    known = sum(recording_key(item.key) in parts["test"] for item in chosen)
    adapted = _adapted(chosen, split)
    if known == len(chosen):
        whole = "" if known == len(parts["test"]) else f"{known} of {len(parts['test'])} recordings of "
        return chosen, f"{whole}the run's test part{adapted}"
    return chosen, f"speech unseen in training{adapted}"


def _adapted(items: list[Item], split: dict[str, list[str]]) -> str:
    """Describe how many recordings the training was given without labels; nothing where it was given none."""
    target = {recording_key(key) for key in split["target"]}
    count = sum(recording_key(item.key) in target for item in items)
    how = "" if count == len(items) else f"{count} of {len(items)} "
    return f", {how}given to the training without labels" if count else ""


def _unseen(items: list[Item], recordings: set[str], split: dict[str, list[str]]) -> list[Item]:
    """Leave out these recordings and, where speakers or sentences were held out, others of those seen."""
    speakers, texts = set(split["speakers"]), set(split["texts"])
    kept = [item for item in items if recording_key(item.key) not in recordings]
    return [item for item in kept if item.speaker_key not in speakers and item.text_key not in texts]


def pick(items: list[Item], count: int) -> list[Item]:
    """Pick at most `count` items, spread evenly over the list sorted by class, so that every class is there."""
    ordered = sorted(items, key=lambda item: (item.emotion, item.key))
    if len(ordered) <= count:
        return ordered
    return [ordered[int(i)] for i in np.linspace(0, len(ordered) - 1, count)]
