"""Text of others within Markdown: names of classes, corpora and files stay text, no HTML, link or table."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fdan_edge.errors import printable

_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
#: An underline within a word, as in mobilenet_v2, stands for itself. GitHub makes links of plain addresses.
_SPECIAL = re.compile(
    r"[\\`*\[\]<>&|~$]|(?<!\w)_|_(?!\w)|^(?=[-+#=]+(?:\s|$))|(?<=\w):(?=//)|(?<=\bwww)\.", re.IGNORECASE
)
_NUMBERED = re.compile(r"^(\d+)([.)])(?=\s|$)")


class Markdown(str):
    """Text that is Markdown already, in which what others wrote was escaped."""

    __slots__ = ()


def escaped(text: object) -> str:
    """Return text as Markdown that shows it, on one line."""
    special = _SPECIAL.sub(lambda match: _ENTITIES.get(match[0], f"\\{match[0]}"), printable(str(text)))
    return _NUMBERED.sub(r"\1\\\2", special)


def code(text: object) -> Markdown:
    """Return text as code within a line."""
    return Markdown(f"`{printable(str(text)).replace('`', chr(39))}`")


def table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """Return a table; all cells are escaped but those that are `Markdown`."""
    lines = [_row([_cell(text) for text in head]), _row(["---"] * len(head))]
    return "\n".join([*lines, *(_row([_cell(text) for text in row]) for row in rows)])


def _cell(text: object) -> str:
    return text.replace("|", "\\|") if isinstance(text, Markdown) else escaped(text)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
