"""Check commands that are not run: verbs, options, settings, targets of the Makefile and scripts must exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

import typer.main
from typer.core import TyperGroup

from fdan_edge.cli.app import app
from fdan_edge.config import Config
from tests.docs.pages import ROOT

_HASH = "\ue000"  # a character that no command has
_OPERATORS = {"|", "||", "&&", ";", "&"}


def check(command: str, *, settings: bool = True) -> None:
    """Check every program of a command line.

    Args:
        command: one line.
        settings: whether `--set` must name settings and values of this tree; not of what a page only proposes.

    Raises:
        AssertionError, typer.BadParameter and its kin: something in it does not exist; the text says what.
    """
    for words in programs(command):
        _check_program(words, settings)


def programs(command: str) -> Iterator[list[str]]:
    """The words of each program of a command line, without redirections and variables in front."""
    # To a shell a # within a word begins no comment, as in emobox:PATH#DATASET; to shlex it does.
    lexer = shlex.shlex(re.sub(r"(?<=\S)#", _HASH, command), posix=True, punctuation_chars="|&;<>")
    lexer.commenters, lexer.whitespace_split = "#", True
    words: list[str] = []
    redirected = False
    for word in [*(word.replace(_HASH, "#") for word in lexer), ";"]:
        if word in _OPERATORS:
            if words:
                yield words
            words = []
        elif set(word) <= set("<>"):
            redirected = True
        elif redirected:
            redirected = False
        elif words or not re.fullmatch(r"[A-Z_]+=.*", word):
            words.append(word)


def _check_program(words: Sequence[str], settings: bool) -> None:
    if words[0] == "sudo":
        return _check_program(words[1:], settings)
    if words[0].rpartition("/")[2] == "fdan-edge":
        _parse(words[1:], settings)
    elif "fdan_edge" in words and words[words.index("fdan_edge") - 1] == "-m":
        _parse(words[words.index("fdan_edge") + 1 :], settings)
    elif words[0] == "make":
        _check_make(words[1:])
    elif words[0].rpartition("/")[2].startswith("python") and len(words) > 1:
        _check_script(words[1])
    elif "pip" in words[:3]:
        _check_extras(words)
    return None


def _parse(words: Sequence[str], settings: bool) -> None:
    """Parse the arguments of fdan-edge without running anything.

    Raises:
        typer's usage errors: the verb or an option does not exist, or a value is of another kind.
        ConfigError: a setting does not exist.
    """
    command, name, rest = typer.main.get_command(app), "fdan-edge", list(words)
    while True:
        try:
            context = command.make_context(name, rest)
        except typer.Exit:  # --version, --help
            return
        if not isinstance(command, TyperGroup):
            break
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])  # type: ignore[assignment]
        assert command is not None
    if settings:
        words_of_settings = context.params.get("set_") or []
        Config.load(None, [str(word) for word in words_of_settings])


def _check_make(words: Sequence[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in words:
        if not word.startswith("-") and "=" not in word:
            assert re.search(rf"^{re.escape(word)}:", makefile, re.MULTILINE), f"the Makefile has no target {word}"


def _check_script(script: str) -> None:
    if script.startswith("benchmarks/"):
        assert (ROOT / script).is_file(), f"there is no {script}"


def _check_extras(words: Sequence[str]) -> None:
    from importlib.metadata import metadata

    known = metadata("fdan-edge").get_all("Provides-Extra") or []
    for word in words:
        if match := re.search(r"(?:fdan[-_]edge\S*|\.)\[([\w,-]+)\]", word):
            for extra in match[1].split(","):
                assert extra in known, f"there is no extra {extra}"
