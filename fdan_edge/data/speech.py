"""Labelled speech of corpora, its classes, and which of it belongs to a part of a run."""

from __future__ import annotations

import logging
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fdan_edge.data.corpora import Item, Source, get_corpus, read, recording_key, unique
from fdan_edge.data.corpora.own_labels import speaker_mistakes
from fdan_edge.data.labels import training_class
from fdan_edge.errors import DataError, printable, unknown_choice

log = logging.getLogger(__name__)

PARTS = ("test", "val", "train", "all")


def read_labelled_speech(
    sources: list[Source], *, calm_as_neutral: bool, boredom: bool = False, classes: Sequence[str] = ()
) -> list[Item]:
    """Read all speech of the sources, each recording once, with the classes that a model is trained on.

    Args:
        sources: labelled corpora.
        calm_as_neutral: whether calm is called neutral.
        boredom: whether a publisher's recordings of boredom stay. Among a user's own classes it always stays.
        classes: those that are wanted; recordings of others are left out; empty: all.

    Raises:
        DataError: a source is given twice, has no labels or cannot be read, two corpora read the same files,
            tables spell a speaker in two ways, or no recording is of one of `classes`.
    """
    for source in sources:
        if not get_corpus(source.corpus).labelled:
            raise DataError(f"{source}: unlabelled speech cannot be learnt from; give it as --adapt-to")
    _check_once(sources)
    speech = [item for source in sources for item in _read(source, sources)]
    _check_files(speech)
    own = Counter(i.speaker for i in speech if i.speaker and get_corpus(i.corpus).user_classes)
    if mistakes := speaker_mistakes(own, {}):  # of two tables: each alone was checked when it was read
        raise DataError(f"{', '.join(map(str, sources))}: {mistakes[0]}")
    kept = [i for i in speech if boredom or i.emotion != "boredom" or get_corpus(i.corpus).user_classes]
    if len(kept) < len(speech):
        count = f"{len(speech) - len(kept)} of {len(speech)} recordings"
        log.warning(f"left out: {count}, which are of boredom; --set boredom=true trains on them")
    items = [replace(item, emotion=training_class(item.emotion, calm_as_neutral=calm_as_neutral)) for item in kept]
    return unique(_of_classes(items, classes), "the given speech")


def corpora_of(items: Iterable[Item]) -> list[str]:
    """List the corpora of recordings, sorted. Folders of the user's own are one corpus."""
    return sorted({item.corpus for item in items})


def known_classes(items: Iterable[Item], classes: Sequence[str]) -> NDArray[np.bool_]:
    """Tell which classes each corpus has, for a loss that does not count others as wrong answers.

    A corpus of one class has all: with no other to tell it from, its recordings would teach nothing.

    Args:
        items: all recordings with labels, of whatever part.
        classes: C names.

    Returns:
        (K, C), a row for each of `corpora_of(items)`.
    """
    items = list(items)
    corpora = corpora_of(items)
    known = np.zeros((len(corpora), len(classes)), bool)
    for item in items:
        if item.emotion in classes:  # a target's recordings have no label
            known[corpora.index(item.corpus), classes.index(item.emotion)] = True
    known[known.sum(axis=1) < 2] = True
    return known


def check_overlap(items: Iterable[Item]) -> None:
    """Check that each of several corpora has a class that another one has too.

    Raises:
        DataError: one has not: with missing classes masked nothing would tell its classes from the others'.
    """
    classes: dict[str, set[str]] = defaultdict(set)
    for item in items:
        classes[item.corpus].add(item.emotion)
    for name, own in classes.items():
        others = set().union(*(theirs for other, theirs in classes.items() if other != name))
        if others and not own & others:
            raise DataError(
                f"corpus {name} has no class of the others: {', '.join(sorted(own))}; they have "
                f"{', '.join(sorted(others))}; --set mask_missing=false lets all classes compete"
            )


def _check_once(sources: list[Source]) -> None:
    """Raise DataError where a source is given twice."""
    places = [(source.name, source.folder.resolve() if source.folder else None) for source in sources]
    for index, source in enumerate(sources):
        if places[index] in places[:index]:
            raise DataError(f"{source} is given twice; give every corpus once")


def _read(source: Source, sources: list[Source]) -> list[Item]:
    """Read a source; of several folders or tables of the user's own each recording gets the name of its own."""
    items = read(source, "speech")
    others = [other for other in sources if other.corpus == source.corpus and other != source]
    if not (others and source.path and get_corpus(source.corpus).user_classes):
        return items
    alike = any(other.path and other.path.name == source.path.name for other in others)
    origin = f"{source.corpus}:{source.path if alike else source.path.name}"
    return [replace(item, source=origin) for item in items]


def _check_files(items: list[Item]) -> None:
    """Raise DataError where two corpora read the same file: it would be in two parts under two names."""
    corpus_of: dict[str, str] = {}
    if len(corpora_of(items)) > 1:
        for item in items:
            other = corpus_of.setdefault(os.path.realpath(item.path), item.corpus)
            if other != item.corpus:
                path = printable(str(item.path))
                raise DataError(f"{other} and {item.corpus} read the same files, e.g. {path}; give one of them")


def _of_classes(items: list[Item], classes: Sequence[str]) -> list[Item]:
    """Choose the recordings of these classes; all where there are none named."""
    there = {item.emotion for item in items}
    for name in classes:
        if name not in there:
            raise DataError(unknown_choice("class", name, sorted(there)))
    kept = [item for item in items if not classes or item.emotion in classes]
    if len(kept) < len(items):
        log.info(f"left out: {len(items) - len(kept)} of {len(items)} recordings, which are of other classes")
    return kept


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
