"""The gate: what an artifact may lose, in each precision."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fdan_edge.data.corpora import Item
from fdan_edge.errors import ExportError
from fdan_edge.export import gate
from fdan_edge.export.gate import Check, HeldOut
from fdan_edge.runtime.model_spec import ModelSpec


class Fake:
    """A runner whose answers are dictated, one for each recording in turn."""

    def __init__(self, *answers: list[float], window: int = 16000) -> None:
        self.name, self.answers, self.calls = "fake", answers, 0
        self.spec = ModelSpec(("a", "b", "c"), 16000, window, window, 0.0)

    def predict(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        answer = self.answers[self.calls % len(self.answers)]
        self.calls += 1
        return np.tile(np.asarray(answer, np.float32), (len(waveforms), 1))

    def __enter__(self) -> Fake:
        return self

    def __exit__(self, *_: object) -> None:
        return None


def items(tree: Path, emotions: Sequence[str], speakers: str = "") -> list[Item]:
    """Recordings said to be of these classes, one letter each."""
    files = sorted(tree.rglob("*.wav"))
    who = speakers or "1" * len(emotions)
    return [Item("ravdess", p.name, p, e, speaker=s) for p, e, s in zip(files, emotions, who, strict=False)]


def check(
    tree: Path, answer: list[float], precision: str, reference: tuple[float, ...] = (0.5, 0.3, 0.2)
) -> Check:
    held = HeldOut(items(tree, "aaa"), "here", Fake(list(reference), window=10**6))
    return held.check(Fake(answer, window=10**6), precision)


@pytest.mark.parametrize(
    ("answer", "passes"),
    [
        ([0.5, 0.3, 0.2], True),
        ([0.5005, 0.2995, 0.2], True),
        ([0.502, 0.298, 0.2], False),
        ([float("nan"), 0.3, 0.2], False),
        ([0.3, 0.5, 0.2], False),
    ],
)
def test_fp32_may_differ_by_a_thousandth(ravdess_tree: Path, answer: list[float], passes: bool) -> None:
    assert check(ravdess_tree, answer, "fp32").passed is passes


def test_fp32_may_not_change_a_label_within_the_tolerance(ravdess_tree: Path) -> None:
    made = check(ravdess_tree, [0.3996, 0.4, 0.2], "fp32", (0.4, 0.3996, 0.2))
    assert (made.passed, made.flips) == (False, 3)
    assert made.line().startswith(
        "3 real clips (here): largest probability difference 4.0e-04 (allowed 0.001), 3 labels"
    )


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_lower_precisions_are_judged_by_uar(ravdess_tree: Path, precision: str) -> None:
    assert check(ravdess_tree, [0.36, 0.33, 0.31], precision).passed  # far off, and right
    assert not check(ravdess_tree, [0.3, 0.5, 0.2], precision).passed
    assert not check(ravdess_tree, [float("nan"), 0.3, 0.2], precision).passed


@pytest.mark.parametrize("speakers", ["", "12" * 16])
@pytest.mark.parametrize(("precision", "passes"), [("fp16", False), ("int8", False)])
def test_the_loss_is_in_points_of_uar(ravdess_tree: Path, precision: str, passes: bool, speakers: str) -> None:
    """32 recordings, 30 of one class: one of these lost is 1.67 points of UAR over two classes."""
    wrong = 1
    files = items(ravdess_tree, "a" * 30 + "bb", speakers)
    right = [[0.8, 0.1, 0.1]] * 30 + [[0.1, 0.8, 0.1]] * 2
    said = [[0.1, 0.1, 0.8]] * wrong + right[wrong:]
    held = HeldOut(files, "here", Fake(*right, window=10**6))
    made = held.check(Fake(*said, window=10**6), precision)
    assert made.reference_uar == 1
    assert made.loss == pytest.approx(100 * wrong / 30 / 2)
    assert made.flips == wrong
    low, high = made.loss_interval
    assert 0 <= low <= made.loss <= high
    assert made.passed is passes


@pytest.mark.parametrize(
    ("precision", "loss", "passes"),
    [
        ("fp16", 0.5, True),
        ("fp16", 0.51, False),
        ("int8", 1.0, True),
        ("int8", 1.01, False),
        ("int8", float("nan"), False),
    ],
)
def test_the_limits(precision: str, loss: float, passes: bool) -> None:
    assert gate.within_limit(precision, loss) is passes


def test_a_gain_passes(ravdess_tree: Path) -> None:
    held = HeldOut(items(ravdess_tree, "ab"), "here", Fake([0.5, 0.3, 0.2], window=10**6))
    made = held.check(Fake([0.5, 0.3, 0.2], [0.3, 0.5, 0.2], window=10**6), "int8")
    assert (made.passed, made.loss) == (True, -50)
    assert "loss -50.0" in made.line()


def test_without_labels_the_model_is_the_truth(ravdess_tree: Path) -> None:
    held = HeldOut(items(ravdess_tree, ["", "", ""]), "here", Fake([0.5, 0.3, 0.2], window=10**6))
    assert held.truth == "what PyTorch recognises"
    assert held.check(Fake([0.5, 0.3, 0.2], window=10**6), "int8").uar == 1
    assert not held.check(Fake([0.3, 0.5, 0.2], window=10**6), "int8").passed


def test_a_readable_clip_is_needed(ravdess_tree: Path, tmp_path: Path) -> None:
    broken = Item("x", "b", tmp_path / "none.wav", "a")
    with pytest.raises(ExportError, match="none of the 1 clips"):
        HeldOut([broken], "here", Fake([1, 0, 0]))
    assert len(HeldOut([broken, *items(ravdess_tree, "ab")], "here", Fake([1, 0, 0])).items) == 2


def test_report(ravdess_tree: Path) -> None:
    compared = check(ravdess_tree, [0.5005, 0.2995, 0.2], "fp32")
    report = compared.report("0" * 64, None, None, None)
    assert (report.clips, report.flips, report.passed, report.truth) == (3, 0, True, "the labels")
    assert report.max_difference == pytest.approx(5e-4)
    assert report.mean_difference == pytest.approx(1e-3 / 3, abs=1e-6)
    assert report.loss_interval == (0, 0)
    assert report.allowed == "difference 0.001, no label"
    assert (report.line, report.onnx_sha256) == (compared.line(), "0" * 64)
