"""Text files that are written line by line, and get their name when they are complete."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from fdan_edge.errors import ConfigError
from fdan_edge.utils.files import naming

_FORMULA = ("=", "+", "-", "@", "\t")  # what a formula begins with in the usual spreadsheets


class GrowingFile:
    """Writes UTF-8 text to FILE.part, which becomes FILE when it is closed; after an error FILE.part stays.

    Args:
        path: of the file; its folder is created.
        head: the text that it begins with.

    Raises:
        ConfigError: `path` is a folder.
    """

    def __init__(self, path: Path, head: str = "") -> None:
        check_is_no_folder(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = path.exists() and not path.is_file()  # a pipe or a device stays what it is
        self._path, self._part = path, path if whole else part_path(path)
        # Names of files may hold bytes that are not UTF-8.
        self._file = self._part.open("w", encoding="utf-8", errors="backslashreplace", newline="")
        try:
            self.write(head)
        except OSError:
            with contextlib.suppress(OSError):  # what could not be written is tried again
                self._file.close()
            raise

    def write(self, text: str) -> None:
        """Append text, so that others can read it at once.

        Raises:
            OSError: the disk is full, for one; it names the file.
        """
        with naming(self._path):
            self._file.write(text)
            self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with naming(self._path):
            self._file.close()
        if kind is None and self._part != self._path:
            self._part.replace(self._path)


def part_path(path: Path) -> Path:
    """Return the path that a file has until it is complete."""
    return path.with_name(f"{path.name}.part")


def check_is_no_folder(path: Path) -> None:
    """Raise ConfigError where a file is to be written and a folder is."""
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder; name a file")


def check_written(files: Mapping[str, Path | None], read: Iterable[Path], what: str) -> None:
    """Raise ConfigError where one file would be written over another, or over what is read.

    Args:
        files: to be written, by the option that names them; None: not asked for.
        read: paths.
        what: they are, for the message.
    """
    taken = {path.resolve(): what for path in read} if any(files.values()) else {}
    for option, path in files.items():
        if path is None:
            continue
        for written in (path.resolve(), part_path(path.resolve())):
            if written in taken:
                raise ConfigError(f"{option} {path}: is {taken[written]} too; name another file")
            taken[written] = option


def csv_row(values: Iterable[str]) -> str:
    """Return a line of CSV, with its end; a spreadsheet shows all of it as text and computes nothing.

    An apostrophe is put before what would be a formula. Before the name of a file write `./` (`csv_path`).
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow([_no_formula(value) for value in values])
    return text.getvalue()


def csv_path(path: Path) -> str:
    """Return a path for `csv_row` that still is that of the file, whatever its name begins with."""
    text = str(path)
    return f"./{text}" if text.startswith(_FORMULA) else text


def _no_formula(value: str) -> str:
    value = value.replace("\r", "\\r")  # it would end the row, since the writer puts no quotation marks around it
    if not value.startswith(_FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
