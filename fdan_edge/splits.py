"""Train, validation and test parts of a corpus, without a speaker in two of them by default."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass

from fdan_edge.config import Config
from fdan_edge.corpora import Item
from fdan_edge.errors import DataError


@dataclass(frozen=True)
class Split:
    """Three disjoint lists of items, and how they were made."""

    train: list[Item]
    val: list[Item]
    test: list[Item]
    description: str  # for people, travels with every score

    def keys(self) -> dict[str, list[str]]:
        """The keys of each part's items, as split.json holds them."""
        return {name: [item.key for item in getattr(self, name)] for name in PARTS}


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


def _by_speaker(items: list[Item], config: Config) -> Split:
    speakers = sorted({item.speaker_key for item in items if item.speaker_key})
    if len(speakers) < 3 or any(item.speaker_key is None for item in items):
        raise DataError(
            f"protocol speaker needs at least 3 known speakers, found {len(speakers)}; use --set protocol=random"
        )
    test = _named(config.test_speakers, speakers) or speakers[-max(1, len(speakers) // 6) :]
    rest = [s for s in speakers if s not in test]
    val = _named(config.val_speakers, speakers) or rest[-max(1, len(rest) // 10) :]
    if both := sorted(set(val) & set(test)):
        raise DataError(f"speakers {', '.join(both)} are in val_speakers and test_speakers")
    parts: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        parts["test" if item.speaker_key in test else "val" if item.speaker_key in val else "train"].append(item)
    names = ", ".join(s.partition(":")[2] for s in test)
    description = f"speaker-independent, speakers {names} held out"
    return Split(parts["train"], parts["val"], parts["test"], description)


def _named(wanted: tuple[str, ...], speakers: list[str]) -> list[str]:
    """The speaker keys that the user named, with or without the corpus before the colon."""
    found = []
    for name in wanted:
        matches = [s for s in speakers if name in (s, s.partition(":")[2])]
        if not matches:
            raise DataError(f"unknown speaker {name!r}; speakers: {', '.join(speakers)}")
        found.extend(matches)
    return found


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
    return Split(train, val, test, description)
