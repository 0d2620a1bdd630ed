"""A user's own recordings or faces: one folder per class, or a table that names files and their labels."""

from __future__ import annotations

import logging
import os
from collections import Counter
from pathlib import Path

from fdan_edge.data.corpora import IMAGES, SOUNDS, VIDEOS, Corpus, Item, files_below, tables
from fdan_edge.data.labels import EMOTIONS, find_emotion
from fdan_edge.errors import DataError

log = logging.getLogger(__name__)

_PARTS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


def read_speech(root: Path) -> list[Item]:
    """List the recordings of all classes; where no sound file is there, the videos.

    A name that means a known emotion is that class (anger is angry). Any other name is a class of the user's own,
    in lower case. Folders name no speakers; a table may.

    Raises:
        DataError: a table lacks a column or a value, or labels a file twice; the message names the line.
    """
    return _items(root, SOUNDS) or _items(root, VIDEOS)


def read_faces(root: Path) -> list[Item]:
    """List the images, as `read_speech` lists recordings."""
    return _items(root, IMAGES)


def read_videos(root: Path) -> list[Item]:
    """List the videos, as `read_speech` lists recordings."""
    return _items(root, VIDEOS)


def _items(root: Path, suffixes: tuple[str, ...]) -> list[Item]:
    items = _of_table(root, suffixes) if root.is_file() else _of_folders(root, suffixes)
    own = Counter(item.emotion for item in items if item.emotion not in EMOTIONS)
    if own:
        named = ", ".join(f"{name} ({count})" for name, count in sorted(own.items()))
        log.info(f"folder:{root}: classes of your own, beside the known emotions: {named}")
    return items


def _of_folders(root: Path, suffixes: tuple[str, ...]) -> list[Item]:
    items = []
    for name, path in files_below(root, suffixes):
        folders = Path(name).parts[:-1]
        split = _PARTS.get(folders[0].lower()) if len(folders) > 1 else None
        if folders:
            word = folders[1] if split else folders[0]
            items.append(Item("folder", _identity(root, name), path, _class(word), split=split))
    return items


def _of_table(table: Path, suffixes: tuple[str, ...]) -> list[Item]:
    items: list[Item] = []
    seen: dict[str, int] = {}  # id -> line
    for line, values in tables.rows(table, ("path", "emotion")):
        try:
            item = _item(table, values)
        except ValueError as error:
            raise DataError(f"{table}, line {line}: {error}") from None
        if item.id in seen:
            raise DataError(f"{table}, line {line}: {values['path']} is on line {seen[item.id]} already")
        seen[item.id] = line
        if item.path.suffix.lower() in suffixes:
            items.append(item)
    return items


def _item(table: Path, values: dict[str, str]) -> Item:
    """Make an item of one row; ValueError says what is wrong with it."""
    for column in ("path", "emotion", "speaker"):
        if not values.get(column, "-"):
            raise ValueError(f"no {column}")
    part = values.get("split", "").lower()
    if part and part not in _PARTS:
        raise ValueError(f"split {values['split']!r} is none of train, val, test")
    if not values["emotion"].isprintable():
        raise ValueError(f"emotion {values['emotion']!r} is no name")
    path = Path(os.path.normpath(table.parent / Path(values["path"].replace("\\", "/")).expanduser()))
    if path.suffix.lower() not in (*SOUNDS, *IMAGES, *VIDEOS):
        raise ValueError(f"{values['path']} is not named as a sound, image or video file")
    below = Path(os.path.relpath(path, table.parent)).as_posix()
    speaker, text = values.get("speaker"), values.get("text")
    emotion = _class(values["emotion"])
    return Item("folder", _identity(table.parent, below), path, emotion, speaker, text or None, _PARTS.get(part))


def _identity(root: Path, name: str) -> str:
    """Put the folder's name in front, so that two folders of the user's are not taken for one."""
    return f"{root.resolve().name}/{name}"


def _class(word: str) -> str:
    return find_emotion(word) or word.strip().lower()


CORPUS = Corpus(
    name="folder",
    title="your own recordings or faces",
    licence="your own",
    layout=(
        "CLASS/*.wav (or {train,val,test}/CLASS/*.wav); or name a .csv or .tsv with the columns path, emotion "
        "and, where known, speaker, split and text"
    ),
    origin="you",
    read_speech=read_speech,
    read_faces=read_faces,
    read_videos=read_videos,
    tables=tables.TABLES,
    official_split="where it has folders train, val and test or a table with the column split",
    user_classes=True,
)
