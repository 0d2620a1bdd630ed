"""Messages for people: one line, printable, with the valid values."""

from __future__ import annotations

import inspect
import pickle

import pytest

from fdan_edge import errors
from fdan_edge.errors import FdanEdgeError, MissingDependencyError, one_line, printable, unknown_choice


def test_every_exception_is_of_the_tree_and_drawn_in_its_docstring() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]
    assert len(kinds) > 5
    for kind in kinds:
        assert issubclass(kind, FdanEdgeError)
        assert kind.__name__ in str(errors.__doc__)


def test_missing_dependency_names_the_command() -> None:
    error = MissingDependencyError("torch", "training", "pip install 'fdan-edge[train]'")
    assert str(error) == "training needs torch, which is not installed: pip install 'fdan-edge[train]'"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # as from a worker process


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("first\nsecond"), "first"),
        (ValueError(""), "ValueError"),
        (ValueError("  \n "), "ValueError"),
        (ValueError("x" * 500), "x" * 197 + "..."),
    ],
)
def test_one_line(error: Exception, line: str) -> None:
    assert one_line(error) == line


def test_choose_gives_the_nearest_and_all_valid_values() -> None:
    assert unknown_choice("setting", "epohcs", ["lr", "epochs"]) == (
        "unknown setting 'epohcs' (did you mean epochs?); valid: lr, epochs"
    )
    assert unknown_choice("corpus", "zzz", ("ravdess",)) == "unknown corpus 'zzz'; valid: ravdess"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ä 中文 🎤 [bold]", "ä 中文 🎤 [bold]"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("bad\udcff.wav", "bad\\udcff.wav"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown
    shown.encode()
