"""Names that a person may have meant as one: those of speakers, of classes and of a table's columns."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from difflib import SequenceMatcher

_NEAR = 0.8  # of difflib's ratio: of five letters one is another


def spelling_key(name: str) -> str:
    """Return a text that all spellings of a name share: P02, `p 02`, p-02 and P2 have the same.

    Case, blanks and punctuation are left out, and zeros before a number. Between two digits something stays:
    1-2 is not 12.
    """
    plain = unicodedata.normalize("NFKC", name).casefold()
    parted = re.sub(r"(?<=\d)[\W_]+(?=\d)", "-", plain)
    joined = re.sub(r"[^\w-]|_|(?<!\d)-|-(?!\d)", "", parted)
    return re.sub(r"(?<!\d)0+(?=\d)", "", joined) or plain


def same_names(names: Iterable[str]) -> list[list[str]]:
    """Group the names that are spellings of one, where there are several."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys(names):
        groups[spelling_key(name)].append(name)
    return [group for group in groups.values() if len(group) > 1]


def nearest(name: str, others: Iterable[str]) -> str | None:
    """Return the one of `others` that `name` is most likely a slip for; None where it looks like none of them."""
    near = {other: ratio for other in others if (ratio := _likeness(name, other)) >= _NEAR}
    return max(near, key=lambda other: near[other]) if near else None


def _likeness(name: str, other: str) -> float:
    """Return 0 to 1. Slips rarely change the first letter (unhappy, happy) or a number (day1, day2)."""
    if name == other or re.findall(r"\d+", name) != re.findall(r"\d+", other):
        return 0.0
    if sorted(name) == sorted(other):
        return 1.0
    return SequenceMatcher(None, name, other, autojunk=False).ratio() if name[:1] == other[:1] else 0.0
