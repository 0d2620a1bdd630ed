"""Read the documents: their fenced blocks, their commands and their links."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(page for page in DOCS.rglob("*.md"))]
#: Beside the pages: its commands take hours and are only parsed.
RESULTS = ROOT / "benchmarks" / "results" / "README.md"

_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<info>[^`]*)$")
_NOT_RUN = re.compile(r"<!-- not run: (?P<reason>.+?) *-->")
_TITLE = re.compile(r'title="(?P<name>[^"]+)"')
_LINK = re.compile(r"""(?:\]\(|\b(?:src|href)=")(?P<target>[^)\s"]+)""")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: Path
    line: int  # of its fence, from 1
    language: str  # the first word behind the fence; "" without one
    title: str  # of a file that the page shows whole: title="my.toml" behind the fence
    not_run: str  # the reason that a comment in front of it gives; "" without one
    text: str

    @property
    def where(self) -> str:
        """Page and line, for messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """The commands of a console block, each on one line; what they print is left out."""
        joined = re.sub(r"\\\n\s*", "", self.text)
        return [line.removeprefix("$ ").strip() for line in joined.splitlines() if line.startswith("$ ")]


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order.

    Raises:
        ValueError: a block does not end.
    """
    found: list[Block] = []
    content: list[str] = []
    open_fence, start, before = None, 0, ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if open_fence is None and fence:
            open_fence, start, content = fence, number, []
        elif open_fence is not None and line.strip() == open_fence["ticks"]:
            found.append(_block(page, start, open_fence, "\n".join(content), before))
            open_fence, before = None, ""
        elif open_fence is not None:
            content.append(line)
        elif line.strip():
            before = line.strip()
    if open_fence is not None:
        raise ValueError(f"{page}:{start}: the block does not end")
    return found


def prose(page: Path) -> list[tuple[int, str]]:
    """The lines of a page outside its fenced blocks, with their numbers."""
    lines, fenced = [], False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if _FENCE.match(line):
            fenced = not fenced
        elif not fenced:
            lines.append((number, line))
    return lines


def links(page: Path) -> list[tuple[int, str]]:
    """The targets of a page's links and pictures, with the numbers of their lines."""
    return [(number, match["target"]) for number, line in prose(page) for match in _LINK.finditer(line)]


def _block(page: Path, line: int, fence: re.Match[str], text: str, before: str) -> Block:
    words, title, reason = fence["info"].split(), _TITLE.search(fence["info"]), _NOT_RUN.fullmatch(before)
    return Block(
        page=page,
        line=line,
        language=words[0] if words else "",
        title=title["name"] if title else "",
        not_run=reason["reason"] if reason else "",
        text=textwrap.dedent(text),
    )
