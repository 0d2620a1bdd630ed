"""Two bundles pair by pair."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from fdan_edge.profiling.bench import Blocks, Latency, Timed
from fdan_edge.profiling.cold_start import ColdStart
from fdan_edge.profiling.compare import pairs

ROW = Latency("a", "model.onnx", "fp32", "onnxruntime-cpu", "ORT", 1, 3.0, 50, *(10.0,) * 5, 0.003, file_bytes=100)


def timed(target: str, milliseconds: float, seed: int, noise: float = 0.03, **changes: object) -> Timed:
    chance = np.random.default_rng(seed)
    blocks: Blocks = [list(milliseconds / 1000 * (1 + noise * chance.standard_normal(5))) for _ in range(10)]
    return Timed(replace(ROW, target=target, p50=milliseconds, **changes), blocks)  # type: ignore[arg-type]


def test_pairs_have_runtime_and_precision_in_common() -> None:
    ones = [timed("a", 10, 1), timed("a", 5, 2, precision="int8"), timed("a", 2, 3, runtime="tensorrt-rtx")]
    others = [timed("b", 20, 4), timed("b", 8, 5, precision="fp16"), timed("b", 5, 6, precision="int8")]
    found = pairs(ones, others)
    assert [(p.one.precision, p.other.precision, p.one.runtime) for p in found] == [
        ("fp32", "fp32", "onnxruntime-cpu"),
        ("int8", "int8", "onnxruntime-cpu"),
    ]
    assert found[0].ratio.value == pytest.approx(0.5, rel=0.05)
    assert found[0].verdict.startswith("faster, 0.")
    assert found[1].verdict == "no difference that could be told"


def test_primaries_are_compared_where_nothing_is_in_common() -> None:
    (pair,) = pairs([timed("a", 30, 1, precision="fp16")], [timed("b", 10, 2), timed("b", 5, 3, precision="int8")])
    assert (pair.one.precision, pair.other.precision) == ("fp16", "fp32")
    assert pair.verdict.startswith("slower, ")


def test_sizes_and_starts_are_compared_where_both_tell() -> None:
    start = ColdStart(1000, 20, 300, 600, 80, 200, 30)
    half = replace(start, total=500, peak_mib=150)
    one = timed("a", 10, 1, start=half, file_bytes=25)
    (pair,) = pairs([one], [timed("b", 10, 2, start=start)])
    assert pair.others() == {"file": 0.25, "cold_start": 0.5, "peak_memory": 0.75}
    (silent,) = pairs([one], [timed("b", 10, 2, file_bytes=None)])
    assert set(silent.others().values()) == {None}
    values = json.loads(json.dumps(silent.to_dict()))
    assert values["ratios"] == {}  # absent, not 0
    assert values["one"]["target"] == "a"
    assert values["ratio"]["low"] <= values["ratio"]["p50"] <= values["ratio"]["high"]
