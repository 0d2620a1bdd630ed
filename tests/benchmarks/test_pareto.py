"""benchmarks/pareto.py: the front, the differences and the table; and it runs end to end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest

from fdan_edge.evaluation.predictions import Prediction, Predictions
from fdan_edge.export import artifact

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import pareto as script

LABELS = ["angry", "sad"]
Run = Callable[..., tuple[int, str, str]]


def row(name: str, milliseconds: float, uar: float, **changes: object) -> script.Row:
    made = script.Row(
        name=name,
        backbone="mobilenet_v2",
        teacher="",
        log_mel="128x188",
        precision="fp32",
        parameters=2_553_543,
        megabytes=9.7,
        milliseconds=milliseconds,
        p95=milliseconds + 1,
        peak_mib=120.0,
        uar=uar,
        interval=(uar - 0.05, uar + 0.05),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def said(rights: str) -> Predictions:
    """Four recordings of each of three speakers; a digit 1 is a recording that is recognised."""
    made = []
    for i, right in enumerate(rights):
        emotion = LABELS[i % 2]
        other = LABELS[1 - i % 2]
        heard = emotion if right == "1" else other
        made.append(Prediction(f"r:{i}", emotion, f"r:{i // 4}", [float(heard == name) for name in LABELS]))
    return Predictions(LABELS, made)


def test_the_front_is_what_nothing_as_fast_is_better_than() -> None:
    rows = [
        row("slow", 9, 0.7),
        row("worse", 5, 0.6),
        row("fast", 2, 0.6),
        row("twin", 2, 0.5),
        row("mid", 4, 0.65),
    ]
    made = script.marked(rows)
    assert [one.name for one in made] == ["fast", "twin", "mid", "worse", "slow"]
    assert [one.name for one in made if one.best] == ["fast", "mid", "slow"]


def test_a_student_is_compared_with_the_same_network_without_a_teacher() -> None:
    rows = [
        row("plain", 5, 8 / 12),
        row("student", 5, 10 / 12, teacher="whisper_tiny"),
        row("student-int8", 3, 1, teacher="whisper_tiny", precision="int8"),
        row("other", 3, 1, log_mel="64x94"),
    ]
    answers = [said("111011101010"), said("111011101111"), said("1" * 12), said("1" * 12)]
    (pair,) = script.compared(rows, answers)
    assert (pair["student"], pair["plain"], pair["precision"]) == ("student", "plain", "fp32")
    assert pair["points"] == pytest.approx(100 / 6)
    low, high = pair["interval"]
    assert low == 0  # only the third speaker's recordings differ
    assert high >= 16
    assert not script.compared(rows[:2], [answers[0], said("1" * 8)])


def test_the_order_of_recordings_does_not_matter() -> None:
    told = said("110100101101")
    turned = Predictions(LABELS, told.recordings[::-1])
    assert script.ordered(turned) == script.ordered(told)


def test_the_table_marks_the_front_and_says_what_was_refused() -> None:
    rows = script.marked([row("a", 9, 0.7), row("b", 12, 0.6, teacher="whisper_tiny")])
    pairs = [{"student": "b", "plain": "a", "precision": "fp32", "points": -10.0, "interval": [-14.2, 1.0]}]
    lines = script.markdown(rows, pairs, ["c in int8: too bad"], "4 speakers").splitlines()
    assert lines[2].startswith(
        "| **a** | - | 128x188 | fp32 | 2.55 M | 9.70 | 9.0 | 10.0 | 120 | **70.0** (65.0 to"
    )
    assert lines[3].startswith("| b | whisper_tiny |")
    assert "| b | a | fp32 | -10.0 (-14.2 to +1.0) |" in lines
    assert lines[-1] == "- refused: c in int8: too bad"
    table = [line for line in lines if line.startswith("| ")][:3]
    assert len({line.count("|") for line in table}) == 1


@pytest.mark.slow
def test_it_runs_end_to_end(
    tmp_path: Path, run_folder: Path, bundle_folder: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    def in_this_process(words: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert words[:3] == [sys.executable, "-m", "fdan_edge"]
        code, out, err = run(*words[3:])
        return subprocess.CompletedProcess(words, code, out, err)

    graph = onnx.load(str(bundle_folder / "model.onnx"))  # of the same run: exporting takes seconds
    monkeypatch.setattr(artifact, "export_graph", lambda *_: graph)
    monkeypatch.setattr(script, "subprocess", SimpleNamespace(run=in_this_process))
    words = [str(run_folder), "--out", str(tmp_path / "made"), "--bundles", str(tmp_path / "bundles")]
    monkeypatch.setattr(
        sys, "argv", ["pareto.py", *words, "--precision", "fp32", "--calls", "5", "--threads", "1"]
    )
    script.main()
    values = json.loads((tmp_path / "made.json").read_text())
    metrics = json.loads((run_folder / "metrics.json").read_text())
    (only,) = values["rows"]
    assert only["best"]
    assert only["uar"] == pytest.approx(metrics["test"]["uar"])
    assert only["interval"] == pytest.approx(metrics["test"]["intervals"]["uar"])
    assert only["milliseconds"] > 0
    assert {path.name for path in tmp_path.glob("made.*")} == {"made.json", "made.md", "made.png", "made.svg"}
    bundle = next((tmp_path / "bundles").glob("*-fp32")) / "bundle.json"
    before = bundle.stat().st_mtime_ns
    script.main()
    assert bundle.stat().st_mtime_ns == before
