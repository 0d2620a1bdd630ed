"""What travels in a model's metadata, and what of it is believed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fdan_edge.errors import BundleError
from fdan_edge.runtime.model_spec import SCHEMA, ModelSpec

SPEC = ModelSpec(("angry", "sad"), 16000, 48000, 24000, 40.0, {"backbone": "ä"})


def damaged(**changes: Any) -> str:
    """SPEC's JSON with entries changed, or taken out where the value is None."""
    values = json.loads(SPEC.to_json()) | changes
    return json.dumps({name: value for name, value in values.items() if value is not None})


def test_round_trip() -> None:
    text = SPEC.to_json()
    assert "\n" not in text
    assert ModelSpec.from_json(text, "m.onnx") == SPEC


def test_unknown_entries_are_passed_over() -> None:
    assert ModelSpec.from_json(damaged(colour="red"), "m.onnx") == SPEC


@pytest.mark.parametrize("text", [None, ""])
def test_no_metadata(text: str | None) -> None:
    with pytest.raises(BundleError, match=r"m\.onnx: carries no fdan-edge metadata; was it made by"):
        ModelSpec.from_json(text, "m.onnx")


def test_later_schema() -> None:
    text = json.dumps({"schema": SCHEMA + 1, "labels": 5})
    with pytest.raises(BundleError, match=r"m\.onnx: made by a later fdan-edge \(schema 3 > 2\); update this one"):
        ModelSpec.from_json(text, "m.onnx")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Expecting property name"),
        ("5", "not iterable"),
        ("null", "not iterable"),
        ('["a"]', ""),
        ("{}", "schema None is not a version number"),
        (damaged(schema="1"), "schema '1' is not a version number"),
        (damaged(schema=0), "schema 0 is not"),
        (damaged(labels=None), "no 'labels'"),
        (damaged(labels=[]), "labels .* are not names"),
        (damaged(labels=[1, 2]), "labels .* are not names"),
        (damaged(labels=5), "not iterable"),
        (damaged(labels=["sad", "sad"]), "labels .* name a class twice"),
        (damaged(labels=["sad", "\x1b[31mangry"]), "labels .* are not names"),
        (damaged(labels=["a\nb"]), "labels .* are not names"),
        (damaged(labels=[str(n) for n in range(2000)]), "labels: more than 1000"),
        (damaged(labels=["a" * 101]), "more than 100 characters"),
        (damaged(sample_rate=1 << 62), f"sample_rate {1 << 62} is above"),
        (damaged(sample_rate=1 << 80), "has more than 64 bits"),
        (damaged(window=1 << 40), "is longer than 60 s"),
        (damaged(window_hop=1 << 40), "leaves gaps between windows"),
        (damaged(trim_db=float("nan")), "not finite"),
        ('{"schema": 2, "schema": 3}', "'schema' is there twice"),
        (f'{{"schema": {"9" * 10_000}}}', "too many digits"),
        pytest.param("[" * 100_000, "nested deeper than 64", id="deep"),
        (damaged(window=None), "window"),
        (damaged(window=0), "window 0 is not a positive whole number"),
        (damaged(window="48000"), "window '48000' is not"),
        (damaged(window_hop=-1), "window_hop -1 is not"),
        (damaged(sample_rate=16000.5), "sample_rate 16000.5 is not"),
        (damaged(trim_db="x"), "trim_db 'x' is not a number"),
        (damaged(trim_db=-1), "trim_db -1 is not"),
        (damaged(high_pass=1e-9), "high_pass 1e-09 is neither 0 nor a number from 10 to 400"),
        (damaged(high_pass=80, sample_rate=200, window=9, window_hop=9), "high_pass 80 is neither 0 .* 10 to 50"),
        (damaged(sample_rate=10**12), "sample_rate 1000000000000 is above 768000"),
        (damaged(info=[1]), "info is not a table"),
    ],
)
def test_damaged(text: str, reason: str) -> None:
    with pytest.raises(BundleError, match=f"m.onnx: its fdan-edge metadata is damaged: .*{reason}") as caught:
        ModelSpec.from_json(text, "m.onnx")
    assert "\n" not in str(caught.value)
