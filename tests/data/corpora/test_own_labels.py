"""Which class a person's word means, and which names are likely slips."""

from __future__ import annotations

import pytest

from fdan_edge.data.corpora.own_labels import (
    class_mistakes,
    class_slips,
    line_list,
    own_class,
    speaker_mistakes,
    written_class,
)


@pytest.mark.parametrize(
    ("word", "name", "meant"),
    [
        (" Anger ", "angry", False),
        ("ANGRY!", "angry", True),
        ("Angrry !", "angrry", True),
        ("Call Center", "call center", False),
        ("!", "!", False),
    ],
)
def test_own_class(word: str, name: str, meant: bool) -> None:
    assert own_class(word) == (name, meant)


@pytest.mark.parametrize(
    ("counts", "slips"),
    [
        ({"angrry": 1, "sad": 9}, {"angrry": "angry"}),
        ({"angrry": 4}, {"angrry": "angry"}),
        ({"angrry": 5}, {}),
        ({"angrry": 5, "angry": 11}, {"angrry": "angry"}),
        ({"angrry": 5, "angry": 10}, {}),
        ({"anxios": 1}, {"anxios": "fear"}),
        ({"sda": 1, "unhappy": 1, "hungry": 1, "tired": 1}, {"sda": "sad"}),
        ({"stresed": 2, "stressed": 20}, {"stresed": "stressed"}),
        ({"stresed": 2, "stressed": 19}, {}),
        ({"day1": 1, "day2": 20}, {}),
    ],
)
def test_slips(counts: dict[str, int], slips: dict[str, str]) -> None:
    assert class_slips(counts) == slips
    assert class_slips(counts, meant=set(slips)) == {}
    for name in counts:
        assert own_class(written_class(name, counts)) == (name, name in slips)


def test_class_mistakes_name_the_lines() -> None:
    lines = {"angry": [2, 3, 4], "angrry": [7]}
    (text,) = class_mistakes({name: len(own) for name, own in lines.items()}, set(), lines)
    assert text.startswith("class 'angrry' (1 file, line 7): did you mean angry? ")
    assert class_mistakes({"a-b": 1, "a b": 1}, {"a b"}, {}) == []


def test_speakers_in_two_spellings() -> None:
    assert speaker_mistakes({"P01": 1, "P02": 2, "1-2": 1, "12": 1}, {}) == []
    lines = {"p02": [9], "P02": [3, 4, 6], "P01": [5]}
    (text,) = speaker_mistakes({name: len(own) for name, own in lines.items()}, lines)
    assert text.startswith(
        "speakers 'P02' (3 files, lines 3, 4, 6) and 'p02' (1 file, line 9) differ only in case, "
    )


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ([5], "line 5"),
        ([5, 6], "lines 5, 6"),
        ([2, 4, 5, 6, 9], "lines 2, 4 to 6, 9"),
        ([1, 3, 5, 7, 9, 11, 13, 14], "lines 1, 3, 5, 7, 9 and 3 more"),
    ],
)
def test_line_list(lines: list[int], text: str) -> None:
    assert line_list(lines) == text
