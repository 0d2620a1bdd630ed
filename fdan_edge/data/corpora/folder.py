"""A user's own recordings or faces: one folder per class, or a table that names files and their labels."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from shlex import quote

from fdan_edge.data.corpora import (
    IMAGES,
    SOUNDS,
    VIDEOS,
    Corpus,
    Item,
    Source,
    files_below,
    own_table,
    recording_key,
    tables,
)
from fdan_edge.data.corpora.class_folders import Places, place
from fdan_edge.data.corpora.left_out import suggestion
from fdan_edge.data.corpora.own_labels import class_mistakes, own_class, tell_once, tell_own_classes
from fdan_edge.data.labels import find_emotion
from fdan_edge.errors import DataError, LabelError, printable

_MEDIA = (*SOUNDS, *IMAGES, *VIDEOS)


def read_speech(root: Path) -> list[Item]:
    """List the recordings of all classes: sound files, and videos of which there is no sound file.

    A name that means a known emotion is that class (anger is angry). Any other name is a class of the user's own,
    in lower case. Folders name no speakers; a table may.

    Raises:
        DataError: a table lacks a column, files lie in no folder of a class, or two levels of folders may be it.
        LabelError: labels are wrong or likely slips; it lists all of them.
    """
    items = _all(root)
    sounds, videos = _of_kind(items, SOUNDS), _of_kind(items, VIDEOS)
    extracted = {(item.emotion, item.split, items[item]) for item in sounds}
    return sounds + [item for item in videos if (item.emotion, item.split, items[item]) not in extracted]


def read_faces(root: Path) -> list[Item]:
    """List the images, as `read_speech` lists recordings."""
    return _of_kind(_all(root), IMAGES)


def read_videos(root: Path) -> list[Item]:
    """List the videos, as `read_speech` lists recordings."""
    return _of_kind(_all(root), VIDEOS)


def _all(root: Path) -> dict[Item, str]:
    """List the files of all kinds: a mistake with one is told, whichever are asked for.

    Returns:
        Item -> what it shares with a video of which it is the sound, beside class and part.
    """
    if root.is_file():
        return {item: recording_key(item.id) for item in own_table.read_table(root, root.parent.resolve().name)}
    return _of_folders(root)


def _of_kind(items: Iterable[Item], suffixes: tuple[str, ...]) -> list[Item]:
    return [item for item in items if item.path.suffix.lower() in suffixes]


def _of_folders(root: Path) -> dict[Item, str]:
    files = files_below(root, _MEDIA)
    names = [name for name, _ in files]
    try:
        places = place(names)
    except DataError as error:
        raise DataError(f"folder:{root}: {error}{_table_command(root, names)}") from None
    classes = {word: own_class(word) for word in {own.word for own in places.of.values()}}
    other = suggestion(Source("folder", root), [path for _, path in files])
    _check_layout(root, names, sorted({name for name, _ in classes.values()}), other)
    counts = Counter(classes[own.word][0] for own in places.of.values())
    meant = {name for name, is_meant in classes.values() if is_meant}
    if mistakes := class_mistakes(counts, meant, {}):
        raise LabelError(str(root), tuple(mistakes))
    tell_own_classes(f"folder:{root}", counts, meant)
    _tell_doubts(root, places, sorted(classes), other)
    top = root.resolve().name  # in front, so that two folders of the user's are not taken for one
    return {
        Item("folder", f"{top}/{name}", path, classes[own.word][0], split=own.split): own.rest
        for name, path in files
        if (own := places.of.get(name))
    }


def _tell_doubts(root: Path, places: Places, words: Sequence[str], other: str) -> None:
    """Say once which folders are classes where there was a choice, and what may be meant instead."""
    if other:
        text = f"its files are named as those of {other}, which knows speakers and sentences"
        tell_once(logging.WARNING, f"folder:{root}: {text}")
    elif len(words) > 1 and all(_holds_emotion(word) for word in words):
        text = f"its classes are named as speakers with emotions ({printable(words[0])}): a table can part them"
        tell_once(logging.WARNING, f"folder:{root}: {text}")
    if places.note:
        command = f"`fdan-edge data scan {quote(f'folder:{root}')} --table labels.csv`"
        speakers = f"; {places.others} are not taken for speakers, whom a table can name: {command} writes one"
        tell_once(logging.INFO, f"folder:{root}: {places.note}{speakers if places.others else ''}")


def _holds_emotion(word: str) -> bool:
    """Return whether a class is none, and one of the words in its name is, as in OAF_angry."""
    parts = [part for part in re.split(r"[\W_\d]+", word) if part]
    return not find_emotion(word) and len(parts) > 1 and any(map(find_emotion, parts))


def _check_layout(root: Path, files: Sequence[str], classes: Sequence[str], other: str) -> None:
    """Raise DataError where the folders are those of a table that lies beside them, or name no class.

    Args:
        root: the folder.
        files: all in it, by their paths below it.
        classes: that its folders name.
        other: the corpus as whose its files are named; "" for none.
    """
    labels = sorted(path for path in root.glob("[!.]*.*") if own_table.is_table(path))
    if files and labels and len(classes) < 2:
        what = f"is one class, {printable(classes[0])}" if classes else "has no folder for each class"
        raise DataError(f"folder:{root}: {what}; a table of labels lies there: give folder:{labels[0]}")
    if files and not classes:
        lie = "lies" if len(files) == 1 else f"and {len(files) - 1} more lie"
        remedy = f"; its files are named as those of {other}" if other else _table_command(root, files)
        text = f"{printable(min(files))} {lie} in no folder of a class"
        raise DataError(f"folder:{root}: {text}; expected {CORPUS.layout}{remedy}")
    if labels:
        text = f"folder:{root}: labels are the folders' names; folder:{labels[0]} takes them from the table there"
        tell_once(logging.WARNING, text)


def _table_command(root: Path, files: Sequence[str]) -> str:
    """Name the command that writes a table of these files; "" for images, for which there is none."""
    if not any(name.lower().endswith((*SOUNDS, *VIDEOS)) for name in files):
        return ""
    return f"; `fdan-edge data scan {quote(f'unlabelled:{root}')} --table labels.csv` writes one to fill in"


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
    skip_reason=lambda _: "lies in no folder of a class",
    official_split="where it has folders train, val and test or a table with the column split",
    user_classes=True,
)
