"""Labels that people write themselves: which class a word means, and which words are likely slips."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from functools import cache, lru_cache

from fdan_edge.data.labels import EMOTIONS, find_emotion, nearest_emotion
from fdan_edge.data.similar_names import nearest, same_names
from fdan_edge.errors import printable

log = logging.getLogger(__name__)

#: Files that a class needs at least if its name is nearly that of a known emotion.
RARE = 5
_MUCH_LARGER = 10  # times as many files, of another class of the user's own
_MEANT = "!"  # at the end of a class: it is no slip
_DIFFERENCE = "differ only in case, blanks, punctuation or zeros before a number"

#: Name -> the lines of a table that it stands on; of folders there are none.
Lines = Mapping[str, Sequence[int]]


@lru_cache(maxsize=10_000)
def own_class(word: str) -> tuple[str, bool]:
    """Return the class that a word means, and whether a `!` at its end says that it is no slip."""
    name = word.strip()
    meant = name.endswith(_MEANT) and name != _MEANT
    name = name.removesuffix(_MEANT).rstrip() if meant else name
    return find_emotion(name) or name.lower(), meant


def written_class(name: str, counts: Mapping[str, int]) -> str:
    """Return the word of which `own_class` makes this class: with a `!` where it would pass as a slip."""
    return f"{name}{_MEANT}" if name in class_slips(counts) else name


def class_slips(counts: Mapping[str, int], meant: Collection[str] = ()) -> dict[str, str]:
    """Find the classes whose names are likely slips for others.

    That is a class that is named nearly as a known emotion and has fewer than 5 files, or fewer than half as many
    as that emotion; or nearly as another class that has ten times as many.

    Args:
        counts: class -> files.
        meant: classes that are no slips.

    Returns:
        Class -> the class that was probably meant.
    """
    slips = {}
    for name in counts.keys() - {*EMOTIONS, *meant}:
        emotion = nearest_emotion(name)
        if emotion and (counts[name] < RARE or 2 * counts[name] < counts.get(emotion, 0)):
            slips[name] = emotion
        elif larger := nearest(name, [other for other in counts if counts[other] >= _MUCH_LARGER * counts[name]]):
            slips[name] = larger
    return slips


def tell_own_classes(source: str, counts: Mapping[str, int], meant: Collection[str]) -> None:
    """Log which classes of a source are no known emotions, and which of them are named nearly as one."""
    named = []
    for name in sorted(counts.keys() - {*EMOTIONS}):
        near = None if name in meant else nearest_emotion(name)
        named.append(f"{printable(name)} ({counts[name]}{f'; did you mean {near}?' if near else ''})")
    if named:
        tell_once(logging.INFO, f"{source}: classes of your own, beside the known emotions: {', '.join(named)}")


@cache
def tell_once(level: int, text: str) -> None:
    """Log a text once in a process: a folder is read for its sounds, for its images and for its videos."""
    log.log(level, text)


def class_mistakes(counts: Mapping[str, int], meant: Collection[str], lines: Lines) -> list[str]:
    """Describe in a line each the classes that are likely slips, and those that are two spellings of one."""
    slips = class_slips(counts, meant)
    mistakes = [
        f"class {_where(name, counts[name], lines)}: did you mean {printable(other)}? "
        f"If it is a class of its own, write {printable(name)}{_MEANT}"
        for name, other in sorted(slips.items())
    ]
    own = [name for name in counts if name not in EMOTIONS and name not in meant and name not in slips]
    for group in same_names(sorted(own)):
        mistakes.append(f"classes {_listed(group, counts, lines)} {_DIFFERENCE}: write one name")
    return mistakes


def speaker_mistakes(counts: Mapping[str, int], lines: Lines) -> list[str]:
    """Describe in a line each the speakers that are spelled in several ways.

    One person under two names ends up on both sides of a split, and the audit calls it clean.
    """
    return [
        f"speakers {_listed(group, counts, lines)} {_DIFFERENCE}: one person under two names would be in training "
        "and test alike; write one name, or names that differ more"
        for group in same_names(counts)
    ]


def line_list(lines: Sequence[int], most: int = 5) -> str:
    """Write the lines of a table: `line 5`, or `lines 5, 7 to 9`; after `most` such runs only a number."""
    runs: list[list[int]] = []
    for line in lines:
        if runs and line == runs[-1][-1] + 1:
            runs[-1].append(line)
        else:
            runs.append([line])
    texts = [f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs[:most]]
    more = sum(len(run) for run in runs[most:])
    return f"line{'s' if len(lines) > 1 else ''} {', '.join(texts)}{f' and {more} more' if more else ''}"


def _listed(names: Sequence[str], counts: Mapping[str, int], lines: Lines) -> str:
    ordered = sorted(names, key=lambda name: -counts[name])
    return " and ".join(_where(name, counts[name], lines) for name in ordered)


def _where(name: str, count: int, lines: Lines) -> str:
    """Write a name with how often, and on which lines, it is there."""
    where = f", {line_list(lines[name])}" if lines.get(name) else ""
    return f"{printable(name)!r} ({count} file{'s' if count > 1 else ''}{where})"
