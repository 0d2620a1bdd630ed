"""A table of a user's own: the files that it names and their labels, and all mistakes in it at once."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from fdan_edge.data.corpora.class_folders import PARTS
from fdan_edge.data.corpora.items import IMAGES, SOUNDS, VIDEOS, Item
from fdan_edge.data.corpora.own_labels import (
    class_mistakes,
    line_list,
    own_class,
    speaker_mistakes,
    tell_own_classes,
    written_class,
)
from fdan_edge.data.corpora.tables import TABLES, Mistake, Row, columns_of, rows
from fdan_edge.data.similar_names import nearest
from fdan_edge.errors import DataError, LabelError, printable
from fdan_edge.utils.files import write_bytes

REQUIRED = ("path", "emotion")
OPTIONAL = ("speaker", "split", "text")
_MEDIA = (*SOUNDS, *IMAGES, *VIDEOS)
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")


class _Entry(NamedTuple):
    """A row that can be used."""

    line: int
    written: str  # the path as it stands in the table
    path: str  # as text: to make paths of a million rows takes half a minute


def is_table(path: Path) -> bool:
    """Return whether a file is a table of labels, by its columns."""
    return path.suffix.lower() in TABLES and set(REQUIRED) <= set(columns_of(path))


def read_table(table: Path, identity: str) -> list[Item]:
    """List what a table names, of all kinds of files; its paths are relative to the table.

    Args:
        table: with the columns path, emotion and, where known, speaker, split and text.
        identity: what stands before the ids of its items.

    Raises:
        DataError: the table cannot be read, or lacks a column.
        LabelError: rows, speakers or classes are wrong, or most files are not there.
    """
    mistakes: list[Mistake] = []
    read = list(rows(table, REQUIRED, mistakes))
    empty = _empty_columns(read)
    if not read and not mistakes:
        raise LabelError(str(table), ("no rows below line 1",))
    mistakes += [*_column_mistakes(table, empty), *_cell_mistakes(read, empty)]
    entries = _entries(table, read)
    mistakes += [*_repeated(entries), *_name_mistakes(read)]
    missing = [entry for entry in entries if not os.path.exists(entry.path)]  # noqa: PTH110 -- raises nothing
    if 2 * len(missing) > len(entries):
        mistakes.append(Mistake(0, _most_missing(table, missing, len(entries))))
    elif mistakes:  # alone they are no reason not to go on: a scan names them, a training leaves them out
        mistakes += [Mistake(entry.line, f"{printable(entry.written)}: no such file") for entry in missing]
    if mistakes:
        raise LabelError(str(table), tuple(_texts(mistakes)))
    _tell_own_classes(table, read)
    return [_item(identity, table, entry, row) for entry, row in zip(entries, read, strict=True)]


def _texts(mistakes: list[Mistake]) -> Iterable[str]:
    """Write mistakes in the order of their lines; one that is on several lines, once."""
    lines: dict[str, list[int]] = defaultdict(list)
    for line, text in sorted(mistakes):
        lines[text].append(line)
    return (f"{line_list(where, most=20)}: {text}" if any(where) else text for text, where in lines.items())


def write_table(table: Path, items: Sequence[Item]) -> None:
    """Write a table of these items for a person to complete, with paths relative to it.

    Raises:
        DataError: a file of this name is there, its suffix is not that of a table, or a file's name would not be
            read again as it is.
    """
    check_new(table)
    counts = Counter(item.emotion for item in items)
    columns = [*REQUIRED, "speaker", *(name for name in ("split", "text") if any(getattr(i, name) for i in items))]
    lines = io.StringIO()
    writer = csv.writer(lines, delimiter="\t" if table.suffix.lower() == ".tsv" else ",", lineterminator="\n")
    writer.writerow(columns)
    for item in sorted(items, key=lambda item: item.key):
        path = _relative(str(item.path.parent.resolve() / item.path.name), str(table.parent.resolve()))
        if not path.isprintable() or path != path.strip() or "\\" in path:
            raise DataError(f"{printable(path)}: a table cannot hold this name; rename the file")
        values = {"path": path, "emotion": written_class(item.emotion, counts)}
        writer.writerow([values.get(name) or getattr(item, name, None) or "" for name in columns])
    text = lines.getvalue()
    write_bytes(table, text.encode("utf-8" if text.isascii() else "utf-8-sig"))  # Excel needs the mark


def check_new(table: Path) -> None:
    """Check that a table can be written here.

    Raises:
        DataError: a file of this name is there, or its suffix is not that of a table.
    """
    if table.suffix.lower() not in TABLES:
        raise DataError(f"{table}: not named as a table ({', '.join(TABLES)})")
    if os.path.lexists(table):
        raise DataError(f"{table}: is there already, and is not overwritten; give another name")


def _empty_columns(read: Sequence[Row]) -> list[str]:
    return [name for name in (*REQUIRED, "speaker") if read and not any(row.values.get(name, "-") for row in read)]


def _column_mistakes(table: Path, empty: Sequence[str]) -> Iterable[Mistake]:
    """Describe what is wrong with whole columns."""
    for name in empty:
        remedy = "fill it in" if name in REQUIRED else "fill it in, or delete the column"
        yield Mistake(1, f"column {name!r} is empty; {remedy}")
    columns = columns_of(table)
    for name in columns:
        known = None if name in (*REQUIRED, *OPTIONAL) else nearest(name, OPTIONAL)
        if known and known not in columns:
            yield Mistake(1, f"unknown column {printable(name)!r}: did you mean {known}?")


def _cell_mistakes(read: Sequence[Row], empty: Sequence[str]) -> Iterable[Mistake]:
    """Describe what is wrong with the values of each row."""
    for line, values in read:
        for name in (*REQUIRED, "speaker"):
            if name not in empty and not values.get(name, "-"):
                yield Mistake(line, f"no {name}")
            elif name != "path" and not values.get(name, "").isprintable():
                hint = "; is a quotation mark not closed?" if "\n" in values[name] else ""
                yield Mistake(line, f"{name} {_short(values[name])} is no name{hint}")
        if values["path"] and not _is_media(values["path"]):
            yield Mistake(line, f"{_short(values['path'])} is not named as a sound, image or video file")
        if (part := values.get("split", "").lower()) and part not in PARTS:
            yield Mistake(line, f"split {_short(values['split'])} is none of train, val, test")


def _repeated(entries: Sequence[_Entry]) -> Iterable[Mistake]:
    """Describe the files that are there a second time."""
    first: dict[str, int] = {}
    for entry in entries:
        line = first.setdefault(entry.path, entry.line)
        if line != entry.line:
            yield Mistake(entry.line, f"{printable(entry.written)} is on line {line} already")


def _name_mistakes(read: Sequence[Row]) -> list[Mistake]:
    """Describe names of classes and speakers that were probably meant as one."""
    classes, meant = _classes(read)
    speakers: dict[str, list[int]] = defaultdict(list)
    for line, values in read:
        if speaker := values.get("speaker"):
            speakers[speaker].append(line)
    texts = *speaker_mistakes(_counts(speakers), speakers), *class_mistakes(_counts(classes), meant, classes)
    return [Mistake(0, text) for text in texts]


def _classes(read: Sequence[Row]) -> tuple[dict[str, list[int]], set[str]]:
    """Return the lines of each class, and which classes are meant as they are spelled."""
    lines: dict[str, list[int]] = defaultdict(list)
    meant = set()
    for line, values in read:
        if values["emotion"]:
            name, is_meant = own_class(values["emotion"])
            lines[name].append(line)
            meant |= {name} if is_meant else set()
    return lines, meant


def _counts(lines: dict[str, list[int]]) -> Counter[str]:
    return Counter({name: len(own) for name, own in lines.items()})


def _tell_own_classes(table: Path, read: Sequence[Row]) -> None:
    lines, meant = _classes(read)
    tell_own_classes(f"folder:{table}", _counts(lines), meant)


def _entries(table: Path, read: Sequence[Row]) -> list[_Entry]:
    folder = str(table.parent)
    usable = [(line, values["path"]) for line, values in read if _is_media(values["path"])]
    return [_Entry(line, path, _path(folder, path)) for line, path in usable]


def _is_media(written: str) -> bool:
    return "\0" not in written and written.lower().endswith(_MEDIA)


def _path(folder: str, written: str) -> str:
    path = written.replace("\\", "/")
    if path.startswith("~"):
        path = os.path.expanduser(path)  # noqa: PTH111 -- leaves the name of a user that there is not
    return os.path.normpath(os.path.join(folder, path))  # noqa: PTH118 -- as above


def _item(identity: str, table: Path, entry: _Entry, row: Row) -> Item:
    values = row.values
    part = PARTS.get(values.get("split", "").lower())
    below = _relative(entry.path, str(table.parent))
    emotion, _ = own_class(values["emotion"])
    speaker, text = values.get("speaker"), values.get("text")
    return Item("folder", f"{identity}/{below}", Path(entry.path), emotion, speaker, text or None, part)


def _relative(path: str, folder: str) -> str:
    if folder != "." and path.startswith(f"{folder}/"):  # relpath asks each time where it is
        return path[len(folder) + 1 :]
    try:
        return os.path.relpath(path, folder).replace(os.sep, "/")
    except ValueError:  # on another drive of Windows
        return Path(path).as_posix()


def _most_missing(table: Path, missing: Sequence[_Entry], count: int) -> str:
    """Say in one line that most files of a table are not there, why that may be, and how its paths are read."""
    first = missing[0]
    start = f"{len(missing)} of its {count} files are not there, the first on line {first.line}: "
    start += _short(first.written)
    if _WINDOWS.match(first.written) and os.name != "nt":
        start += ", a path of a Windows machine"
    else:
        start += f", looked for at {printable(first.path)}"
    return f"{start}; {_remedy(table, first.written)}"


def _remedy(table: Path, written: str) -> str:
    parts = [part for part in written.replace("\\", "/").split("/") if part not in ("", ".")]
    for cut in range(1, len(parts)):
        tail = "/".join(parts[cut:])
        if os.path.exists(table.parent / tail):  # noqa: PTH110 -- raises nothing
            front = written[: len(written) - len(tail)]
            return f"without '{printable(front)}' in front it is there: paths are relative to the table"
    if os.path.exists(written):  # noqa: PTH110 -- raises nothing
        return f"it is there relative to the current folder, but paths are relative to the table, {table.parent}"
    return f"write paths relative to the table's folder, {table.parent}"


def _short(value: str) -> str:
    return f"'{printable(value if len(value) < 60 else f'{value[:57]}...')}'"
