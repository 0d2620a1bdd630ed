"""Emotion words of the corpora to canonical names."""

from __future__ import annotations

import pytest

from fdan_edge.data.labels import (
    ALIASES,
    EMOTIONS,
    canonical_emotion,
    find_emotion,
    nearest_emotion,
    training_class,
)
from fdan_edge.errors import DataError


@pytest.mark.parametrize(
    ("word", "name"),
    [("Anger", "angry"), (" FEARFUL ", "fear"), ("joy", "happy"), ("calm", "calm"), ("surprised", "surprise")],
)
def test_canonical(word: str, name: str) -> None:
    assert canonical_emotion(word) == name


def test_every_name_and_alias_leads_to_a_name() -> None:
    assert {canonical_emotion(word) for word in (*EMOTIONS, *ALIASES)} == set(EMOTIONS)
    assert tuple(sorted(EMOTIONS)) == EMOTIONS


def test_calm_as_neutral_touches_nothing_else() -> None:
    assert training_class("calm", calm_as_neutral=True) == "neutral"
    for name in set(EMOTIONS) - {"calm"}:
        assert training_class(name, calm_as_neutral=True) == name


def test_a_class_of_the_users_own_stays() -> None:
    assert find_emotion("Stressed") is None
    assert find_emotion(" Anger ") == "angry"
    assert training_class("stressed", calm_as_neutral=True) == "stressed"
    assert training_class("calm", calm_as_neutral=True) == "neutral"
    assert training_class("calm", calm_as_neutral=False) == "calm"


@pytest.mark.parametrize(
    ("word", "emotion"),
    [
        ("angrry", "angry"),
        ("hapiness", "happy"),
        ("angry", None),
        ("normal", None),
        ("san", None),
        ("happ", "happy"),
    ],
)
def test_slips_for_an_emotion(word: str, emotion: str | None) -> None:
    assert nearest_emotion(word) == emotion


def test_unknown_word_names_the_valid_ones() -> None:
    with pytest.raises(DataError, match=r"unknown emotion 'hapy' \(did you mean happy\?\); valid: angry, boredom"):
        canonical_emotion("hapy")
