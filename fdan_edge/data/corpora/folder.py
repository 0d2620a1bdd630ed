"""A user's own recordings or faces: one folder per class, or a table that names files and their labels."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from fdan_edge.data.corpora import IMAGES, SOUNDS, VIDEOS, Corpus, Item, files_below, own_table, tables
from fdan_edge.data.corpora.own_labels import class_mistakes, own_class, tell_once, tell_own_classes
from fdan_edge.errors import DataError, LabelError, printable

_MEDIA = (*SOUNDS, *IMAGES, *VIDEOS)


def read_speech(root: Path) -> list[Item]:
    """List the recordings of all classes; where no sound file is there, the videos.

    A name that means a known emotion is that class (anger is angry). Any other name is a class of the user's own,
    in lower case. Folders name no speakers; a table may.

    Raises:
        DataError: a table lacks a column, or files lie in no folder of a class.
        LabelError: labels are wrong or likely slips; it lists all of them.
    """
    items = _all(root)
    return _of_kind(items, SOUNDS) or _of_kind(items, VIDEOS)


def read_faces(root: Path) -> list[Item]:
    """List the images, as `read_speech` lists recordings."""
    return _of_kind(_all(root), IMAGES)


def read_videos(root: Path) -> list[Item]:
    """List the videos, as `read_speech` lists recordings."""
    return _of_kind(_all(root), VIDEOS)


def _all(root: Path) -> list[Item]:
    """List the files of all kinds: a mistake with one is told, whichever are asked for."""
    return own_table.read_table(root, root.parent.resolve().name) if root.is_file() else _of_folders(root)


def _of_kind(items: list[Item], suffixes: tuple[str, ...]) -> list[Item]:
    return [item for item in items if item.path.suffix.lower() in suffixes]


def _of_folders(root: Path) -> list[Item]:
    files = files_below(root, _MEDIA)
    placed = [(name, path, place) for name, path in files if (place := _place(name))]
    classes = {word: own_class(word) for word in {word for _, _, (word, _) in placed}}
    _check_layout(root, [name for name, _ in files], sorted({name for name, _ in classes.values()}))
    counts = Counter(classes[word][0] for _, _, (word, _) in placed)
    meant = {name for name, is_meant in classes.values() if is_meant}
    if mistakes := class_mistakes(counts, meant, {}):
        raise LabelError(str(root), tuple(mistakes))
    tell_own_classes(f"folder:{root}", counts, meant)
    top = root.resolve().name  # in front, so that two folders of the user's are not taken for one
    return [
        Item("folder", f"{top}/{name}", path, classes[word][0], split=split)
        for name, path, (word, split) in placed
    ]


def _place(name: str) -> tuple[str, str | None] | None:
    """Find the class's folder, and the part, of a file by its path below the root; None where it has no class."""
    folders = Path(name).parts[:-1]
    part = own_table.PARTS.get(folders[0].lower()) if folders else None
    folders = folders[1:] if part else folders
    return (folders[0], part) if folders else None


def _check_layout(root: Path, files: Sequence[str], classes: Sequence[str]) -> None:
    """Raise DataError where the folders are those of a table that lies beside them, or name no class.

    Args:
        root: the folder.
        files: all in it, by their paths below it.
        classes: that its folders name.
    """
    labels = sorted(path for path in root.glob("[!.]*.*") if own_table.is_table(path))
    if files and labels and len(classes) < 2:
        what = f"is one class, {printable(classes[0])}" if classes else "has no folder for each class"
        raise DataError(f"folder:{root}: {what}; a table of labels lies there: give folder:{labels[0]}")
    if files and not classes:
        lie = "lies" if len(files) == 1 else f"and {len(files) - 1} more lie"
        raise DataError(
            f"folder:{root}: {printable(min(files))} {lie} in no folder of a class; expected {CORPUS.layout}"
            f"{_table_command(root, files)}"
        )
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
    official_split="where it has folders train, val and test or a table with the column split",
    user_classes=True,
)
