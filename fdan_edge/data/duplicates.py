"""Which files of a corpus are the same recording or face."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

from fdan_edge.audio import decode
from fdan_edge.data.corpora.contents import pointer_of
from fdan_edge.data.corpora.items import Item, preference, recording_key
from fdan_edge.errors import AudioError
from fdan_edge.utils.files import feature_folder, file_state, is_settled, sha256, write_text
from fdan_edge.utils.small_files import MOST_OF_A_TABLE, read_json

HASHES = "sounds.json"  # in the folder of features
_STARTING = 8192  # samples
_VERSION = 1  # of how files are read and hashed here


def same_name(items: Iterable[Item]) -> list[list[Item]]:
    """Group the items that the corpus calls the same; one of each group is used (`corpora.unique`)."""
    return _groups((recording_key(item.key), item) for item in items)


def same_content(items: Iterable[Item]) -> list[list[Item]]:
    """Group the items whose files are equal, byte for byte: one recording under several names.

    Such a group in training and test would be a leak. Only files of equal size are read. Files that cannot be
    read are in no group, nor are those that git-lfs has yet to fetch.
    """
    sized = _groups((size, item) for item in items if (size := _size(item)))
    hashed = ((_content(item), item) for group in sized for item in group)
    return _groups((content, item) for content, item in hashed if content)


def same_sound(items: Iterable[Item]) -> list[list[Item]]:
    """Group the recordings whose samples are equal, whatever their files' names, formats and headers.

    Files of equal length are decoded at their start, and those that start alike to their end. No file is decoded
    twice in this process. Files that libsndfile cannot open, videos among them, are compared byte for byte.
    """
    alike = list(items)
    table = _HashTable(feature_folder() / HASHES)
    others = same_content(item for item in alike if not table.get(_length, item.path))
    with ThreadPoolExecutor() as pool:  # reading and decoding leave Python's lock
        for compute in (_length, _start, _sound):
            hashes = pool.map(partial(table.get, compute), [item.path for item in alike])
            groups = _groups((sound, item) for sound, item in zip(hashes, alike, strict=True) if sound)
            alike = [item for group in groups for item in group]
    table.save()
    return sorted([*groups, *others], key=lambda group: group[0].key)


def forget() -> None:
    """Forget what was decoded in this process; the table on disk stays."""
    for compute in (_length, _start, _sound):
        compute.cache_clear()


class _HashTable:
    """Hashes of what is in files, kept on disk with the files' states: to open a thousand files takes a second.

    A table that is missing or damaged, or that cannot be written, only costs that time.
    """

    def __init__(self, table: Path) -> None:
        self._table, self._new = table, False
        try:
            self._entries: dict[str, list[Any]] = dict(read_json(table, MOST_OF_A_TABLE))
        except (OSError, ValueError, TypeError):
            self._entries = {}

    def get(self, compute: Callable[[Path, int, int], str], path: Path) -> str:
        """Return what a function computes of a file; it is called only where the file has changed."""
        state = file_state(path)
        if state is None:
            return ""
        name = f"{_VERSION} {compute.__name__} {path.absolute()}"
        entry = self._entries.get(name)
        if isinstance(entry, list) and entry[:-1] == [*state] and isinstance(entry[-1], str):
            return entry[-1]
        size, changed, *_ = state
        value = compute(path, changed, size)
        if is_settled(state):
            self._entries[name], self._new = [*state, value], True
        return value

    def save(self) -> None:
        """Write the table, if anything is new in it."""
        if self._new:
            with contextlib.suppress(OSError):
                write_text(self._table, json.dumps(self._entries))


@cache
def _length(path: Path, _changed: int, _size: int) -> str:
    """Return the number of samples and the sample rate, from the header; "" for a file that cannot be opened."""
    import soundfile

    try:
        info = soundfile.info(os.fsencode(path))
    except (soundfile.SoundFileError, RuntimeError, TypeError, OSError):
        return ""
    return f"{info.frames} at {info.samplerate}"


@cache
def _start(path: Path, _changed: int, _size: int) -> str:
    """Hash the length and the first samples: many recordings are of equal length, few start alike."""
    import soundfile

    try:
        block = soundfile.read(os.fsencode(path), _STARTING, dtype="float32", always_2d=True)[0]
    except (soundfile.SoundFileError, RuntimeError, TypeError, OSError):
        return ""
    return _hash(_length(path, _changed, _size).encode() + block.mean(axis=1).tobytes())


@cache
def _sound(path: Path, _changed: int, _size: int) -> str:
    """Hash all samples at their own rate, channels averaged."""
    try:
        rate = int(_length(path, _changed, _size).rpartition(" ")[2])
        digest = hashlib.sha256()
        for block in decode.mono_blocks(path, rate):
            digest.update(block.tobytes())
        return digest.hexdigest()
    except AudioError:
        return ""


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _groups(keyed: Iterable[tuple[object, Item]]) -> list[list[Item]]:
    """Group the items with equal keys, where there are several; sorted."""
    groups: dict[object, list[Item]] = defaultdict(list)
    for key, item in keyed:
        groups[key].append(item)
    several = [sorted(group, key=preference) for group in groups.values() if len(group) > 1]
    return sorted(several, key=lambda group: group[0].key)


def _content(item: Item) -> str:
    try:
        return "" if pointer_of(item.path) else sha256(item.path)
    except OSError:
        return ""


def _size(item: Item) -> int:
    try:
        return item.path.stat().st_size
    except OSError:
        return 0
