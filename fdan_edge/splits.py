"""Train, validation and test parts of a corpus, without a speaker in two of them by default."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass

from fdan_edge.config import Config
from fdan_edge.corpora import Item, recording
from fdan_edge.errors import DataError
from fdan_edge.progress import say


@dataclass(frozen=True)
class Split:
    """Three disjoint lists of items, and how they were made."""

    train: list[Item]
    val: list[Item]
    test: list[Item]
    description: str  # for people, travels with every score
    by_speaker: bool = True

    def keys(self) -> dict[str, list[str]]:
        """What split.json holds: the keys of each part's items, and the speakers that may not be tested."""
        seen = {item.speaker_key for item in self.train + self.val if item.speaker_key}
        keys = {name: [item.key for item in getattr(self, name)] for name in PARTS}
        return {**keys, "speakers": sorted(seen) if self.by_speaker else []}


PARTS = ("train", "val", "test")


def split(items: list[Item], config: Config) -> Split:
    """Split speech by `config.protocol`.

    `speaker`: whole speakers are held out. `random`: the FDAN paper's 8/2 of each class, in which
    speakers and sentences are in train and test alike, so its scores say nothing about new voices.

    Raises:
        DataError: too few speakers, an unknown one, or a part without items.
    """
    made = _by_speaker(items, config) if config.protocol == "speaker" else _at_random(items, config)
    for name in PARTS:
        if not getattr(made, name):
            raise DataError(
                f"protocol {config.protocol} leaves no speech in the {name} part of {len(items)} files"
            )
    return made


def restore(items: list[Item], keys: dict[str, list[str]], description: str) -> Split:
    """The split that `Split.keys` wrote, of the items that are still there; others belong to no part.

    Raises:
        DataError: nothing of a part is there any more.
    """
    found = {recording(item.key): item for item in items}
    parts = {name: [found[recording(k)] for k in keys[name] if recording(k) in found] for name in PARTS}
    for name in PARTS:
        if not parts[name]:
            raise DataError(f"none of the {len(keys[name])} recordings of the run's {name} part is there any more")
        if missing := len(keys[name]) - len(parts[name]):
            say(f"{missing} of {len(keys[name])} recordings of the run's {name} part are not there any more")
    return Split(parts["train"], parts["val"], parts["test"], description, bool(keys["speakers"]))


def _by_speaker(items: list[Item], config: Config) -> Split:
    speakers = sorted({item.speaker_key for item in items if item.speaker_key})
    if len(speakers) < 3 or any(item.speaker_key is None for item in items):
        raise DataError(
            f"protocol speaker needs at least 3 known speakers, found {len(speakers)}; use --set protocol=random"
        )
    test = _named(config.test_speakers, speakers) or _last_of_each_corpus(speakers, 6)
    rest = [s for s in speakers if s not in test]
    val = _named(config.val_speakers, speakers) or _last_of_each_corpus(rest, 10)
    if both := sorted(set(val) & set(test)):
        raise DataError(f"speakers {', '.join(both)} are in val_speakers and test_speakers")
    parts: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        parts["test" if item.speaker_key in test else "val" if item.speaker_key in val else "train"].append(item)
    one_corpus = len({item.corpus for item in items}) == 1
    names = ", ".join(s.partition(":")[2] if one_corpus else s for s in test)
    description = f"speaker-independent, speakers {names} held out"
    return Split(parts["train"], parts["val"], parts["test"], description)


def _last_of_each_corpus(speakers: list[str], share: int) -> list[str]:
    """The last of every `share` speakers of each corpus, at least one; a corpus of one or two gives none."""
    chosen = []
    for corpus in sorted({s.partition(":")[0] for s in speakers}):
        own = [s for s in speakers if s.partition(":")[0] == corpus]
        if len(own) > 2 or len(own) == len(speakers):
            chosen += own[-max(1, len(own) // share) :]
    return chosen or speakers[-1:]


def _named(wanted: tuple[str, ...], speakers: list[str]) -> list[str]:
    """The speaker keys that the user named, with or without the corpus before the colon."""
    found = []
    for name in wanted:
        matches = [s for s in speakers if name in (s, s.partition(":")[2])]
        if not matches:
            raise DataError(f"unknown speaker {name!r}; speakers: {', '.join(speakers)}")
        found.extend(matches)
    return list(dict.fromkeys(found))


def _at_random(items: list[Item], config: Config) -> Split:
    by_class: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        by_class[item.emotion].append(item)
    train: list[Item] = []
    val: list[Item] = []
    test: list[Item] = []
    chance = random.Random(config.split_seed)
    for emotion in sorted(by_class):
        group = list(by_class[emotion])
        chance.shuffle(group)
        n_test = round(config.test_fraction * len(group))
        n_val = round(config.val_fraction * (len(group) - n_test))
        test += group[:n_test]
        val += group[n_test : n_test + n_val]
        train += group[n_test + n_val :]
    percent = round(100 * config.test_fraction)
    description = f"random {100 - percent}/{percent} of each class: speakers and sentences are in train and test"
    return Split(train, val, test, description, by_speaker=False)
