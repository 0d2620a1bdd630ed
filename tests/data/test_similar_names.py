"""Spellings of one name, and slips."""

from __future__ import annotations

import pytest

from fdan_edge.data.similar_names import nearest, same_names, spelling_key


@pytest.mark.parametrize("name", ["p02", "P02 ", "p-02", "P_2", "p 002", "\uff30\uff10\uff12"])
def test_spellings_of_one_name(name: str) -> None:
    assert spelling_key(name) == spelling_key("P02")


@pytest.mark.parametrize(
    ("one", "other"),
    [("P02", "P20"), ("1-2", "12"), ("s1_10", "s11_0"), ("anna", "hanna"), ("?", "-"), ("p0", "p")],
)
def test_other_names(one: str, other: str) -> None:
    assert spelling_key(one) != spelling_key(other)
    assert same_names([one, other]) == []


def test_groups() -> None:
    assert same_names(["b", "P02", "p02", "B", "c", "p02"]) == [["b", "B"], ["P02", "p02"]]


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("angrry", "angry"),
        ("agnry", "angry"),
        ("ngary", "angry"),
        ("neutal", "neutral"),
        ("angry", None),
        ("hungry", None),
        ("happy2", None),
        ("", None),
    ],
)
def test_nearest(name: str, other: str | None) -> None:
    assert nearest(name, ("angry", "happy", "neutral", "sad")) == other
