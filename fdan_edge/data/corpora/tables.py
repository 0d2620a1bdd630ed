"""Tables of labels (csv, tsv) in any of the usual separators, encodings and quotes."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

from fdan_edge.errors import DataError, one_line

TABLES = (".csv", ".tsv")
_HEAD = 1 << 16  # characters that the line with the columns' names has at most
#: Windows's quotes that were once decoded as Latin-1 are control characters in an otherwise sound UTF-8 file.
_QUOTES = {i: bytes([i]).decode("cp1252", "ignore") for i in range(0x80, 0xA0)}


class Row(NamedTuple):
    """One row of a table."""

    line: int  # of the file, from 1; of a row of several lines the last
    values: dict[str, str]  # by column, in lower case; blanks around values are cut


def rows(path: Path, columns: tuple[str, ...]) -> Iterator[Row]:
    """Yield the rows of a table whose first line names its columns, without empty rows.

    Raises:
        DataError: the file cannot be read, one of `columns` is missing, or a row has too few values.
    """
    with _open(path) as file:
        head = _names(file)
        if missing := [name for name in columns if name not in head]:
            there = ", ".join(name for name in head if name) or "none"
            raise DataError(f"{path}, line 1: no column {missing[0]!r}; its columns: {there}")
        file.seek(0)
        yield from _rows(path, file, head)


def columns_of(path: Path) -> list[str]:
    """List the names of a table's columns, in lower case; none where the file cannot be read."""
    try:
        with _open(path) as file:
            return _names(file)
    except DataError:
        return []


def _rows(path: Path, file: TextIO, head: list[str]) -> Iterator[Row]:
    reader = csv.reader(file, delimiter=_separator(file))
    try:
        next(reader, None)
        for values in reader:
            if not any(value.strip() for value in values):
                continue
            if len(values) < len(head):
                raise DataError(f"{path}, line {reader.line_num}: {len(values)} values for {len(head)} columns")
            yield Row(reader.line_num, dict(zip(head, map(_clean, values), strict=False)))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not a row of a table: {one_line(error)}") from None


def _names(file: TextIO) -> list[str]:
    separator = _separator(file)
    names = next(csv.reader([file.readline(_HEAD)], delimiter=separator), [])
    return [_clean(name).lower() for name in names]


def _separator(file: TextIO) -> str:
    """Guess the separator, of a comma, a tab and European Excel's semicolon: the first line has most of it."""
    first = file.readline(_HEAD)
    file.seek(0)
    return max((",", "\t", ";"), key=first.count)


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
