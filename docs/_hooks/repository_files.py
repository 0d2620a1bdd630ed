"""MkDocs hook: pages may link to files of the repository outside `docs/`, as they do when read in a checkout.

A link such as `../benchmarks/results/pareto.png` works in an editor and on a code host. MkDocs knows only what
lies in `docs/`, so the hook copies each linked file below `repository/` of the site and rewrites the link. Linked
Markdown files become pages. The hook also fills in the table of settings, and refuses a page that would load
something from the network.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

from fdan_edge.config import settings_table

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
PLACE = "repository"
SETTINGS = "<!-- settings -->"
_LINK = re.compile(r"(?<=\]\()[^)\s#]+")
_FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
_LOADED = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*(?:src|href)=["']?(?:https?:)?//[^>]*>""")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add every file of the repository that a page links to, and what these link to in turn."""
    waiting = [file for file in files if file.src_uri.endswith(".md")]
    while waiting:
        page = waiting.pop()
        for target in sorted(_outside(page.src_uri, page.content_string)):
            if files.get_file_from_path(_in_site(target)):
                continue
            added = File.generated(config, _in_site(target), abs_src_path=str(ROOT / target))
            files.append(added)
            if target.endswith(".md"):
                waiting.append(added)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links out of `docs/` at the copies, and fill in the settings."""
    uri = page.file.src_uri
    if SETTINGS in markdown:
        markdown = markdown.replace(SETTINGS, settings_table())

    def rewrite(match: re.Match[str]) -> str:
        target = _target(uri, match[0])
        if target is None or (not _is_outside(target) and not uri.startswith(f"{PLACE}/")):
            return match[0]
        return posixpath.relpath(_in_site(_file_of(target)), posixpath.dirname(uri) or ".")

    return "".join(part if code else _LINK.sub(rewrite, part) for code, part in _parts(markdown))


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Refuse what the browser would fetch from elsewhere."""
    if found := [tag for tag in _LOADED.findall(output) if 'rel="canonical"' not in tag]:
        raise PluginError(f"{page.file.src_uri}: loads something from the network: {found[0]}")
    return output


def _outside(uri: str, markdown: str) -> set[str]:
    """Paths in the repository that a page links to and that do not lie in `docs/`."""
    links = [link for code, part in _parts(markdown) if not code for link in _LINK.findall(part)]
    targets = (_target(uri, link) for link in links)
    return {_file_of(target) for target in targets if target is not None and _is_outside(target)}


def _parts(markdown: str) -> list[tuple[bool, str]]:
    """The text in order, as (is it a fenced block?, text)."""
    parts, end = [], 0
    for match in _FENCE.finditer(markdown):
        parts += [(False, markdown[end : match.start()]), (True, match[0])]
        end = match.end()
    return [*parts, (False, markdown[end:])]


def _target(uri: str, link: str) -> str | None:
    """The path in the repository that a link of a page means; None for a link to another site."""
    if re.match(r"[a-z]+:", link) or link.startswith("/"):
        return None
    here = uri.removeprefix(f"{PLACE}/") if uri.startswith(f"{PLACE}/") else f"docs/{uri}"
    return posixpath.normpath(posixpath.join(posixpath.dirname(here), link))


def _file_of(target: str) -> str:
    """A link to a folder means its README.md, as on a code host."""
    return f"{target}/README.md" if (ROOT / target).is_dir() else target


def _is_outside(target: str) -> bool:
    return not target.startswith(("docs/", "../")) and (ROOT / _file_of(target)).is_file()


def _in_site(target: str) -> str:
    """Where a file of the repository lies in the site; those of `docs/` lie where they are."""
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    # A page named README.md would become the folder's index.html, which nothing links to by name.
    return f"{PLACE}/{target}"
