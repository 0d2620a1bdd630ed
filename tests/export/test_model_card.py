"""The model card says what the manifest holds."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import pytest

from fdan_edge.export.model_card import write_card
from fdan_edge.runtime.manifest import Calibration, DistanceReport, Manifest
from fdan_edge.runtime.model_spec import ModelSpec
from tests.helpers.bundles import artifact, engine, gate, manifest

LINE = "240 real clips (of the test part): UAR 61.0 % against 61.5 %, loss +0.5 (-0.4 to +1.4; allowed 1)"


@pytest.fixture
def content(tmp_path: Path) -> Manifest:
    """What an export of one int8 file says, whose file is in `tmp_path`."""
    info: dict[str, Any] = {
        "backbone": "mobilenet_v2",
        "speech": ["ravdess"],
        "faces": [],
        "target": [],
        "method": "fdan",
        "protocol": "speaker-independent, speakers 21, 22 held out",
        "audit": "clean for speakers",
        "test_scores": {
            "uar": 0.615,
            "war": 0.63,
            "wf1": 0.6,
            "n": 240,
            "recall": {"angry": 0.8, "sad": 0.43},
            "intervals": {"uar": [0.55, 0.67], "war": [0.58, 0.69], "wf1": [0.5, 0.66], "note": "2000 resamples"},
            "ece": 0.084,
            "nll": 1.0,
        },
        "unknown_below": {"confidence": 0.5, "note": "all of 6 recordings are right"},
    }
    spec = ModelSpec(("angry", "sad"), 16000, 48000, 24000, 40.0, info)
    file = tmp_path / "model.onnx"
    file.write_bytes(b"0" * 3_210_000)
    entry = replace(
        artifact(file, calibration=Calibration("entropy", {}, 128, "24 windows", 7)),
        precision="int8",
        gate=gate(file, line=LINE),
        kept=("model.acoustic.backbone.features.0.0",),
    )
    licence = "weights inherit the terms of their data: ravdess: non-commercial"
    return manifest(entry, spec=spec, versions={"fdan_edge": "0.1.0"}, licence=licence)


def card(folder: Path, content: Manifest, **info: Any) -> str:
    """The card, with other notes of the model."""
    content = replace(content, spec=replace(content.spec, info=content.spec.info | info))
    write_card(folder, content)
    return (folder / "README.md").read_text(encoding="utf-8")


def test_card(tmp_path: Path, content: Manifest) -> None:
    text = card(tmp_path, content)
    assert text.startswith("# mobilenet_v2: speech emotion recognition\n\nWaveform in (3 s at 16000 Hz, mono)")
    for line in (
        "| UAR | 61.5 | 55.0 to 67.0 |",
        "| recall of sad | 43.0 |  |",
        "| method | plain backbone |",
        "| protocol | speaker-independent, speakers 21, 22 held out |",
        f"| `model.onnx` | int8 (entropy), 1 layer kept higher | 3.21 | cpu | {LINE} |",
        "The weights inherit the terms of their data: ravdess: non-commercial.",
    ):
        assert line in text
    assert "Expected calibration error 8.4 %" in text
    assert "engine" not in text


def test_a_graph_for_live_streams_has_a_line(tmp_path: Path, content: Manifest) -> None:
    stream = tmp_path / "model.stream.onnx"
    stream.write_bytes(b"0" * 2_900_000)
    compared = gate(tmp_path / "model.onnx", stream)
    assert compared.stream
    compared = replace(compared, stream=replace(compared.stream, max_difference=0.0589, clips=240))
    entry = replace(content.artifacts[0], gate=compared, stream=stream.name)
    text = card(tmp_path, replace(content, artifacts=(entry,)))
    (line,) = (line for line in text.splitlines() if line.startswith("| `model.stream.onnx`"))
    assert "| 2.90 | live streams | `model.onnx` from the mel power on, which the device computes once" in line
    assert line.endswith("largest probability difference from it 5.9e-02 on 240 clips |")


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (
            {"confidence": 0.484, "recordings": 120, "covered": 0.875, "accuracy": 0.743},
            "below a confidence of 0.48: there the model is more often wrong than right; 88 % of 120 recordings "
            "of the validation part are above it, and 74 % of these are right.",
        ),
        (
            {"confidence": 0.9, "recordings": 60, "covered": 0.0, "accuracy": None},
            "; 0 % of 60 recordings of the validation part are above it.",
        ),
        (
            {"confidence": 0.5, "recordings": 60, "covered": 0.5, "accuracy": None, "part": "the training, asked"},
            "; 50 % of 60 recordings of the training, asked are above it.",
        ),
        (
            {"confidence": 0.5, "note": "all of 6 recordings are right"},
            "below a confidence of 0.50, the usual one (all of 6 recordings are right).",
        ),
    ],
)
def test_what_is_unknown(tmp_path: Path, content: Manifest, threshold: dict[str, Any], expected: str) -> None:
    text = card(tmp_path, content, unknown_below=threshold)
    (line,) = (line for line in text.splitlines() if line.startswith("A live stream says"))
    assert line.endswith(expected)


def test_what_the_model_was_trained_on_is_said(tmp_path: Path, content: Manifest) -> None:
    text = card(tmp_path, content)
    assert "trained on these recordings" not in text
    assert "total variation" not in text
    assert "PyTorch model, 240 recordings that it was not trained on (2000 resamples)" in text
    distance = DistanceReport(clips=60, trained_on=60, mean=0.01, largest=0.1, limit=0.08, temperature=1.5)
    compared = gate(tmp_path / "model.onnx", trained_on=True, distance=distance)
    entry = replace(content.artifacts[0], gate=compared)
    scores = content.spec.info["test_scores"] | {
        "scores_of": "models like this one; it is fitted on all recordings",
        "part": "cross-validated: each speaker by a head that was fitted on the others; 4 speakers",
        "same_speakers": {"uar": 0.701, "interval": [0.6, 0.8], "n": 240},
    }
    text = card(tmp_path, replace(content, artifacts=(entry,)), test_scores=scores)
    assert "**The model was trained on these recordings**" in text
    assert "The total variation distance of two answers is half the sum" in text
    assert "**This model was trained on all recordings and has no scores of its own.** These are of models" in text
    assert "fitted on the others; 4 speakers; 240 recordings (2000 resamples)" in text
    assert "| UAR, same speakers | 70.1 | 60.0 to 80.0 |" in text
    assert "that it was not trained on" not in text


def test_engines(tmp_path: Path, content: Manifest) -> None:
    file = tmp_path / "model.rtx-sm75.engine"
    file.write_bytes(b"engine")
    entry = engine(file, tmp_path / "model.onnx", version="1.2.0", capability="7.5")
    text = card(tmp_path, replace(content, engines=(entry,)))
    assert "| `model.rtx-sm75.engine` | `model.onnx` | RTX cards from Turing on" in text
    assert "rtx 1.2.0, compute capability 7.5 |" in text


def test_a_student_names_its_teacher(tmp_path: Path, content: Manifest) -> None:
    text = card(tmp_path, content, teacher={"backbone": "whisper_tiny", "sha256": "0123456789abcdef"})
    assert "| teacher | whisper_tiny, checkpoint 0123456789ab |" in text


def test_a_name_that_would_break_a_table(tmp_path: Path, content: Manifest) -> None:
    assert "| protocol | a\\|b |" in card(tmp_path, content, protocol="a|b")


HTML = "<img src=x onerror=alert(1)>"


def rendered(markdown: str) -> str:
    """What a renderer that lets HTML through makes of a card."""
    from markdown_it import MarkdownIt

    return str(MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown))


@pytest.mark.parametrize(
    "name", [HTML, "[a](javascript:alert(1))", "`<script>`", "**a**", "a\\", "![x](//y)", "a*b_c_"]
)
def test_names_stay_text(tmp_path: Path, content: Manifest, name: str) -> None:
    scores = content.spec.info["test_scores"]
    words: dict[str, Any] = dict.fromkeys(("backbone", "protocol", "audit"), name) | {
        "speech": [name],
        "faces": [name],
    }
    words["test_scores"] = scores | {"recall": {name: 0.5}, "useless": name, "part": name, "scores_of": name}
    words["test_scores"]["intervals"] = scores["intervals"] | {"note": name}
    gates = tuple(replace(a, gate=replace(a.gate, line=name)) for a in content.artifacts if a.gate)
    spec = replace(content.spec, labels=(name, "sad"))
    other = replace(content, spec=spec, artifacts=gates, licence=name, versions={"fdan_edge": name})
    html, usual = rendered(card(tmp_path, other, **words)), rendered(card(tmp_path, content))
    for tag in ("<img", "<script", "<a ", "<em>"):
        assert tag not in html
    assert html.count("<strong>") <= usual.count("<strong>") + 2  # "do not use" and "trained on all" are ours
    assert html.count("<code>") == usual.count("<code>")
    assert html.count(escape(name)) >= 12


def test_scores_in_noise_are_shown_where_there_are_some(content: Manifest, tmp_path: Path) -> None:
    assert "## In noise" not in card(tmp_path, content)
    row = {"condition": "noise at 10 dB", "uar": 0.52, "change": -0.095, "unknown": 0.3, "right": None}
    text = card(tmp_path, content, robustness={"n": 240, "part": "the run's test part", "conditions": [row]})
    section = text.partition("## In noise, rooms and over lines\n\n")[2].partition("\n## ")[0]
    assert section.startswith("PyTorch model; 240 recordings, the run's test part, ")
    assert "| noise at 10 dB | 52.0 | -9.5 | 30.0 |  |" in section
    assert text.index("## Scores") < text.index("## In noise") < text.index("## Files")
