"""Tables of labels (csv, tsv) in any of the usual separators, encodings and quotes."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

from fdan_edge.errors import DataError, one_line, printable

TABLES = (".csv", ".tsv")
MOST_LINES = 2_000_000
_SEPARATORS = {",": "a comma", "\t": "a tab", ";": "a semicolon"}
_SHOWN = 300  # characters of the columns' names in a message
_HEAD = 1 << 16  # characters that the line with the columns' names has at most
#: Windows's quotes that were once decoded as Latin-1 are control characters in an otherwise sound UTF-8 file.
_QUOTES = {i: bytes([i]).decode("cp1252", "ignore") for i in range(0x80, 0xA0)}


class Mistake(NamedTuple):
    """What is wrong with a table."""

    line: int  # of the file, from 1; 0: not of one line
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}" if self.line else self.text


class Row(NamedTuple):
    """One row of a table."""

    line: int  # of the file, from 1; of a row of several lines the last
    values: dict[str, str]  # by column, in lower case; blanks around values are cut


def rows(path: Path, columns: tuple[str, ...], mistakes: list[Mistake] | None = None) -> Iterator[Row]:
    """Yield the rows of a table whose first line names its columns, without empty rows.

    Args:
        path: of the table.
        columns: that it must have.
        mistakes: gets what is wrong with rows, which are then passed over; None: the first one is raised. With
            it, a row with more values than there are columns is a mistake too.

    Raises:
        DataError: the file cannot be read or is not of text, one of `columns` is missing or there twice, or a row
            has too few values.
    """
    with _open(path) as file:
        _check_length(path)
        head = _names(file)
        if any(ord(character) < 32 for name in head for character in name):
            raise DataError(f"{path}: is not a table of text; save it as CSV in UTF-8")
        _check_columns(path, head, columns)
        file.seek(0)
        yield from _rows(path, file, head, mistakes)


def columns_of(path: Path) -> list[str]:
    """List the names of a table's columns, in lower case; none where the file cannot be read."""
    try:
        with _open(path) as file:
            return _names(file)
    except DataError:
        return []


def _check_length(path: Path) -> None:
    """Raise DataError for a table that would take gigabytes of memory: a row takes some 700 bytes."""
    lines = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            lines += max(block.count(b"\n"), block.count(b"\r"))  # the csv module ends rows at either
    if lines > MOST_LINES:
        raise DataError(f"{path}: {lines} lines; a table has {MOST_LINES} at most: divide it")


def _check_columns(path: Path, head: list[str], columns: tuple[str, ...]) -> None:
    if twice := [name for name in columns if head.count(name) > 1]:
        raise DataError(f"{path}, line 1: column {twice[0]!r} is there {head.count(twice[0])} times")
    if missing := [name for name in columns if name not in head]:
        names = ", ".join(printable(name) for name in head if name) or "none"
        text = (
            f"no column {missing[0]!r}; its columns: {names if len(names) <= _SHOWN else names[:_SHOWN] + '...'}"
        )
        how = ", with a comma, tab or semicolon between them" if len(head) == 1 and len(columns) > 1 else ""
        raise DataError(f"{path}, line 1: {text}; line 1 must name {', '.join(columns)}{how}")


def _rows(path: Path, file: TextIO, head: list[str], mistakes: list[Mistake] | None) -> Iterator[Row]:
    separator = _separator(file)
    reader = csv.reader(file, delimiter=separator)
    try:
        next(reader, None)
        end = reader.line_num
        for values in reader:
            start, end = end + 1, reader.line_num
            if not any(value.strip() for value in values):
                continue
            if len(values) >= len(head) and (mistakes is None or not any(map(str.strip, values[len(head) :]))):
                yield Row(end, dict(zip(head, map(_clean, values), strict=False)))
                continue
            text = f"{len(values)} value{'' if len(values) == 1 else 's'} for {len(head)} columns"
            remedy = _remedy(len(values) - len(head), separator, end - start + 1)
            _tell(path, Mistake(start, text if mistakes is None else f"{text}; {remedy}"), mistakes)
    except csv.Error as error:
        _tell(path, Mistake(reader.line_num, f"not a row of a table: {one_line(error)}"), mistakes)


def _tell(path: Path, mistake: Mistake, mistakes: list[Mistake] | None) -> None:
    if mistakes is None:
        raise DataError(f"{path}, {mistake}")
    mistakes.append(mistake)


def _remedy(more: int, separator: str, lines: int) -> str:
    """Say what may be wrong with a row that has `more` values than there are columns, or fewer."""
    if lines > 1:
        return f"the row has {lines} lines: is a quotation mark not closed?"
    if more > 0:
        return f"put a value with {_SEPARATORS[separator]} in it into quotation marks"
    return f"{_SEPARATORS[separator]} separates them, as in line 1"


def _names(file: TextIO) -> list[str]:
    separator = _separator(file)
    names = next(csv.reader([file.readline(_HEAD)], delimiter=separator), [])
    return [_clean(name).lower() for name in names]


def _separator(file: TextIO) -> str:
    """Guess the separator, of a comma, a tab and European Excel's semicolon: the first line has most of it."""
    first = file.readline(_HEAD)
    file.seek(0)
    return max(_SEPARATORS, key=first.count)


def _clean(value: str) -> str:
    return (value if value.isascii() else value.translate(_QUOTES)).strip()


def _open(path: Path) -> TextIO:
    try:
        return path.open(encoding=_encoding(path), errors="replace", newline="")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None


def _encoding(path: Path) -> str:
    """Guess the encoding: UTF-8 where the whole file is, else that of Windows; Excel's Unicode text is UTF-16."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        start = file.read(2)
        if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return "utf-16"
        file.seek(0)
        try:
            while block := file.read(1 << 20):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "cp1252"
    return "utf-8-sig"
