"""Text of others within Markdown."""

from __future__ import annotations

from html import escape

import pytest
from markdown_it import MarkdownIt

from fdan_edge.utils.markdown import Markdown, code, escaped, table


@pytest.mark.parametrize(
    "text", ["mobilenet_v2", "UAR 61.0 % (n = 3; -0.4 to +1.4)", "a/b: c-d", "traurig, wütend"]
)
def test_usual_text_stays_as_it_is(text: str) -> None:
    assert escaped(text) == text


@pytest.mark.parametrize(
    "text", ["<b>", "a & b", "*a*", "_a_", "[a](b)", "`a`", "\\", "a|b", "&lt;", "# a", "1. a", "- a"]
)
def test_text_is_shown(text: str) -> None:
    html = MarkdownIt("commonmark", {"html": True}).render(escaped(text))
    assert html == f"<p>{escape(text)}</p>\n"


def test_addresses_are_no_links() -> None:
    assert escaped("https://a.org") == r"https\://a.org"
    assert escaped("WWW.a.org www.b.org awww.c") == r"WWW\.a.org www\.b.org awww.c"


def test_control_characters_are_written_out() -> None:
    assert escaped("a\x1b[0m\nb") == r"a\\x1b\[0m\\nb"
    assert code("a`b\x1b") == "`a'b\\x1b`"


def test_a_table_keeps_its_columns() -> None:
    lines = table(("a|b", "c"), [("`x` <i>", code("d|e")), (1, Markdown("**f**"))]).splitlines()
    assert lines == [
        "| a\\|b | c |",
        "| --- | --- |",
        "| \\`x\\` &lt;i&gt; | `d\\|e` |",
        "| 1 | **f** |",
    ]
