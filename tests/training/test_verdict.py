"""Whether a model should be used: at chance, constant, few recordings, one speaker that validates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fdan_edge.data.corpora import Item
from fdan_edge.data.splits import Split
from fdan_edge.evaluation.predictions import Prediction, Predictions
from fdan_edge.training.verdict import judge, validation_decides

LABELS = ["angry", "happy", "sad"]


def metrics(right: float, *, n: int = 60, speakers: int = 6, answer: str = "", best: int = 3) -> dict[str, Any]:
    """Scores of n recordings of which a share is recognised rightly, or of a constant answer."""
    rows = []
    for index in range(n):
        emotion = LABELS[index % 3]
        hit = (index * 7919 % 100) / 100 < right
        given = answer or (emotion if hit else LABELS[(index + 1 + index // 3 % 2) % 3])
        rows.append(
            Prediction(str(index), emotion, str(index % speakers), [float(given == name) for name in LABELS])
        )
    scored = Predictions(LABELS, rows)
    test = {**scored.scores().to_dict(), "intervals": scored.intervals().to_dict()}
    return {"test": test, "best_epoch": best}


def part(count: int, speakers: int | None = 4, classes: int = 3) -> list[Item]:
    names = [None if speakers is None else f"s{i % speakers}" for i in range(count)]
    emotions = [LABELS[i // 4 % classes] for i in range(count)]
    return [
        Item("folder", str(i), Path(f"{i}.wav"), emotion, name)
        for i, (name, emotion) in enumerate(zip(names, emotions, strict=True))
    ]


def split(train: int = 60, val: int = 24, val_speakers: int | None = 4) -> Split:
    return Split(part(train), part(val, val_speakers), part(30), "")


def test_a_good_model_has_nothing_against_it() -> None:
    verdict = judge(metrics(0.8), split(), epochs=20)
    assert verdict.to_dict() == {"useless": "", "warnings": []}


def test_a_constant_model_is_useless() -> None:
    verdict = judge(metrics(0, answer="happy"), split(), epochs=20)
    assert verdict.useless == "it answers happy for all 60 recordings"


@pytest.mark.parametrize(("right", "useless"), [(0.33, True), (0.4, True), (0.55, False)])
def test_a_score_within_its_interval_of_chance_is_useless(right: float, useless: bool) -> None:
    verdict = judge(metrics(right), split(), epochs=20)
    assert bool(verdict.useless) is useless
    if useless:
        assert "may be chance, 33.3 %" in verdict.useless


def test_two_speakers_alone_do_not_make_a_score_certain() -> None:
    """Their bootstrap has three draws only; the interval over recordings is wider."""
    assert judge(metrics(0.45, n=12, speakers=2), split(), epochs=20).useless


def test_a_model_for_the_speakers_in_the_data_is_useful() -> None:
    """Not surely above chance on new speakers, but well above it on those that it knows."""
    scores = {**metrics(0.4), "same_speakers": metrics(0.8)["test"]}
    verdict = judge(scores, split(), epochs=1)
    assert not verdict.useless
    assert verdict.warnings[0].startswith("on speakers that it does not know: UAR ")
    assert judge({**scores, "same_speakers": metrics(0.4)["test"]}, split(), 1).useless


def test_warnings() -> None:
    few = Split(part(9, classes=3), part(24, 1), [], "")
    verdict = judge(metrics(0.8, best=1), few, epochs=20)
    assert [line.partition(":")[0] for line in verdict.warnings] == [
        "24 recordings of 1 speaker validate",
        "the best of 20 epochs is the first",
    ]
    rare = Split([*part(40, classes=2), *part(60)[8:11]], [], [], "")
    assert judge(metrics(0.8), rare, epochs=1).warnings == ["classes with fewer than 5 recordings: sad (3)"]


@pytest.mark.parametrize(
    ("count", "speakers", "decides"), [(24, 4, True), (24, 1, False), (19, 4, False), (24, None, True)]
)
def test_who_may_choose_the_epoch(count: int, speakers: int | None, decides: bool) -> None:
    assert validation_decides(split(val=count, val_speakers=speakers)) is decides
