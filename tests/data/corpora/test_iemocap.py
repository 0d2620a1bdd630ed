"""The reader of IEMOCAP, on a tree in its publisher's layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from fdan_edge.data.corpora import Item, Source, read
from fdan_edge.data.corpora.iemocap import skip_reason
from fdan_edge.errors import DataError
from tests.data.corpora.test_registry import touch

DIALOGUE = "Ses01F_impro01"
CODES = {"F000": "neu", "F001": "exc", "M000": "fru", "M001": "xxx", "M002": "oth"}


def line(turn: str, code: str) -> str:
    return f"[6.2901 - 8.2357]\t{DIALOGUE}_{turn}\t{code}\t[2.5000, 2.5000, 2.5000]\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    session = tmp_path / "Session1"
    touch(*(session / "sentences" / "wav" / DIALOGUE / f"{DIALOGUE}_{turn}.wav" for turn in CODES))
    touch(session / "dialog" / "wav" / f"{DIALOGUE}.wav")
    labels = session / "dialog" / "EmoEvaluation" / f"{DIALOGUE}.txt"
    labels.parent.mkdir()
    head = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
    others = "C-E2:\tNeutral;\t()\nA-E3:\tval 3; act 2; dom  2;\t()\n"
    labels.write_text(head + others.join(line(turn, code) for turn, code in CODES.items()))
    # One listener's own opinion, which is not the label:
    touch(labels.parent / "Categorical" / f"{DIALOGUE}_e2_cat.txt")
    words = session / "dialog" / "transcriptions" / f"{DIALOGUE}.txt"
    words.parent.mkdir()
    words.write_text(f"{DIALOGUE}_F000 [006.2901-008.2357]: Excuse me.\n")
    return tmp_path


def test_labels_speakers_and_sentences(tree: Path) -> None:
    items = read(Source("iemocap", tree), "speech")
    told = [(item.path.stem[-4:], item.emotion, item.speaker, item.text) for item in items]
    assert told == [
        ("F000", "neutral", "01F", "Excuse me."),
        ("F001", "happy", "01F", None),  # excited
        ("M000", "frustrated", "01M", None),  # the turn says who speaks, not the dialogue
    ]
    assert items[0].key == f"iemocap:{DIALOGUE}_F000.wav"


def test_one_session_alone(tree: Path) -> None:
    part: list[Item] = read(Source("iemocap", tree / "Session1"), "speech")
    assert [item.key for item in part] == [item.key for item in read(Source("iemocap", tree), "speech")]


def test_without_labels(tree: Path) -> None:
    with pytest.raises(
        DataError, match=r"wav: holds utterances but none of the files dialog/EmoEvaluation/\*\.txt"
    ):
        read(Source("iemocap", tree / "Session1" / "sentences" / "wav"), "speech")


def test_why_a_file_is_left_out() -> None:
    assert skip_reason(f"Session1/dialog/wav/{DIALOGUE}.wav").startswith("a whole dialogue")
    assert skip_reason(f"Session1/sentences/wav/{DIALOGUE}/{DIALOGUE}_M001.wav").startswith(
        "its emotion is other or"
    )
