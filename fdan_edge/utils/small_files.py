"""Read small files whole: manifests, settings, scores, whoever wrote them. What is wrong with one is one line.

A file of JSON or TOML may be larger than the memory, nested a hundred thousand deep, name an entry twice, or hold
numbers of ten thousand digits. Here, in one place, all of that is a ValueError.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fdan_edge.errors import one_line, printable, shown

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: Bytes that a file of settings, scores or a manifest may have.
MOST_BYTES = 16 << 20
#: Bytes of a file that names each recording of a corpus: hundreds of thousands.
MOST_OF_A_LIST = 64 << 20
#: Bytes of a table of this package's own in its cache, with a line for each file that was ever read.
MOST_OF_A_TABLE = 1 << 30
_MOST_OF_TOML = 1 << 20
_DEEPEST = 64  # lists and tables within each other
_MOST_KEYS = 64  # parts of a dotted key: TOML's parser takes the square of their number
_LOWEST, _HIGHEST = -(1 << 63), (1 << 64) - 1


def read_at_most(path: Path, most: int = MOST_BYTES, *, pipes: bool = False) -> bytes:
    """Read a file whole, and nothing of one that is too large.

    Args:
        path: of the file.
        most: bytes that it may have.
        pipes: whether it may be a pipe or a device, as of a shell's `<(...)`.

    Raises:
        OSError: it cannot be read.
        ValueError: larger, or no file; the message does not name it.
    """
    # Without O_NONBLOCK a pipe that nobody writes to would be waited for; Windows has other flags.
    no_wait = 0 if pipes else getattr(os, "O_NONBLOCK", 0)
    handle = os.open(path, os.O_RDONLY | no_wait | getattr(os, "O_BINARY", 0))
    with open(handle, "rb") as file:  # noqa: PTH123 -- of a handle
        status = os.fstat(handle)
        if not (stat.S_ISREG(status.st_mode) or pipes):
            raise ValueError("is a pipe or a device, no file")
        content = file.read(most + 1) if status.st_size <= most else b""
    if status.st_size > most or len(content) > most:
        raise ValueError(f"is larger than {most >> 20} MB")
    return content


def parse_json(text: str | bytes, *, finite: bool = True) -> Any:
    """Read JSON.

    Args:
        text: JSON; bytes are UTF-8.
        finite: refuse NaN and infinity; scores of a training that diverged hold them.

    Raises:
        ValueError: no JSON, nested too deeply, an entry that is there twice, or a number of no 64 bits.
    """
    try:
        values = json.loads(text.decode() if isinstance(text, bytes) else text, object_pairs_hook=_table)
    except (json.JSONDecodeError, UnicodeDecodeError, _TwiceError):
        raise
    except ValueError:  # of a number beyond the digits that Python reads
        raise ValueError("a whole number has too many digits") from None
    except RecursionError:
        raise ValueError(f"nested deeper than {_DEEPEST}") from None
    return _checked(values, finite)


def read_json(path: Path, most: int = MOST_BYTES, *, finite: bool = True) -> Any:
    """Read a JSON file.

    Args:
        path: of the file.
        most: bytes that it may have.
        finite: refuse NaN and infinity.

    Raises:
        OSError: it cannot be read.
        ValueError: as of `read_at_most` and `parse_json`; the message does not name the file.
    """
    return parse_json(read_at_most(path, most), finite=finite)


def read_json_lines(path: Path, most: int = MOST_BYTES) -> list[dict[str, Any]]:
    """Read a file with a table of JSON on each line, in which NaN and infinity may stand.

    Raises:
        OSError: it cannot be read.
        ValueError: as of `read_json`, or a line is no table; the message names the line.
    """
    tables = []
    for number, line in enumerate(read_at_most(path, most).decode().splitlines(), 1):
        try:
            values = parse_json(line, finite=False)
        except ValueError as error:
            raise ValueError(f"line {number}: {one_line(error)}") from None
        if not isinstance(values, dict):
            raise ValueError(f"line {number}: {shown(values)} is no table")
        tables.append(values)
    return tables


def parse_toml(text: str) -> dict[str, Any]:
    """Read TOML, in which infinity and NaN may stand.

    Raises:
        ValueError: no TOML, nested too deeply, or a number of no 64 bits.
    """
    if any(part.count(".") > _MOST_KEYS for part in _parts(text)):
        raise ValueError(f"a key has more than {_MOST_KEYS} parts")
    try:
        values: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(printable(one_line(error))) from None
    except ValueError:  # as with JSON
        raise ValueError("a whole number has too many digits") from None
    except RecursionError:
        raise ValueError(f"nested deeper than {_DEEPEST}") from None
    _checked(values, finite=False)
    return values


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file, or what a pipe gives.

    Raises:
        OSError: it cannot be read.
        ValueError: as of `read_at_most` and `parse_toml`; the message does not name the file.
    """
    return parse_toml(read_at_most(path, _MOST_OF_TOML, pipes=True).decode())


class _TwiceError(ValueError):
    """Says which entry a table has twice."""


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a table; that of two equal entries the last one counted would be a way to hide the first."""
    table: dict[str, Any] = {}
    for name, value in pairs:
        if name in table:
            raise _TwiceError(f"{shown(name)} is there twice")
        table[name] = value
    return table


def _checked(values: Any, finite: bool) -> Any:
    """Return values; ValueError where they are nested too deeply or a number is beyond what can be computed with.

    It calls itself nowhere: depth is what it is to find.
    """
    level: list[Any] = [values]
    for _ in range(_DEEPEST + 1):
        inner: list[Any] = []
        for value in level:
            kind = type(value)
            if kind is dict:
                inner.extend(value.values())
            elif kind is list:
                inner.extend(value)
            elif kind is int and not _LOWEST <= value <= _HIGHEST:
                raise ValueError(f"the whole number {shown(value, 30)} has more than 64 bits")
            elif kind is float and finite and not math.isfinite(value):
                raise ValueError(f"the number {value} is not finite")
        if not inner:
            return values
        level = inner
    raise ValueError(f"nested deeper than {_DEEPEST}")


def _parts(text: str) -> Iterable[str]:
    """Yield what may be a key of TOML: parts of lines between the characters that end one, without strings."""
    for line in _OPAQUE.sub("s", text).splitlines():
        if line.count(".") > _MOST_KEYS:
            yield from line.translate(_ENDS).split("=")


# Strings and comments, in which dots and ends of keys are but text; a string that does not end goes on to the end.
_OPAQUE = re.compile(
    r"""
    \"{3} (?: [^\\"] | \\. | "{1,2}(?!") )* (?: "{3,5} | \\?\Z )
    | '{3} .*? (?: '{3,5} | \Z )
    | " (?: [^\\"\n] | \\. )* "?
    | ' [^'\n]* '?
    | \# [^\n]*
    """,
    re.VERBOSE | re.DOTALL,
)
_ENDS = str.maketrans(dict.fromkeys(",{}[]", "="))
