"""Which files of a corpus are the same recording or face."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from fdan_edge.corpora.base import Item, preference, recording
from fdan_edge.files import sha256


def same_name(items: Iterable[Item]) -> list[list[Item]]:
    """Groups of items that the corpus calls the same; only one of each is ever used (`corpora.unique`)."""
    return _groups((recording(item.key), item) for item in items)


def same_content(items: Iterable[Item]) -> list[list[Item]]:
    """Groups of items whose files are equal, byte for byte: one recording under several names.

    Such a group in training and test would be a leak. Only files of equal size are read; files that cannot be
    read are in no group.
    """
    sized = _groups((size, item) for item in items if (size := _size(item)))
    hashed = ((_content(item), item) for group in sized for item in group)
    return _groups((content, item) for content, item in hashed if content)


def _groups(keyed: Iterable[tuple[object, Item]]) -> list[list[Item]]:
    """The items with equal keys, where there are several, sorted."""
    found: dict[object, list[Item]] = defaultdict(list)
    for key, item in keyed:
        found[key].append(item)
    several = [sorted(group, key=preference) for group in found.values() if len(group) > 1]
    return sorted(several, key=lambda group: group[0].key)


def _content(item: Item) -> str:
    try:
        return sha256(item.path)
    except OSError:
        return ""


def _size(item: Item) -> int:
    try:
        return item.path.stat().st_size
    except OSError:
        return 0
