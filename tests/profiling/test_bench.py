"""Timing: the arithmetic with runners of known speed, and the choice of what is timed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fdan_edge.errors import BundleError
from fdan_edge.profiling import bench as module
from fdan_edge.profiling.bench import Plan, bench, chosen, energy_of_call, ratio_of, throughput
from fdan_edge.runtime.bundle import write_manifest
from fdan_edge.runtime.opening import Variant
from tests.helpers.bundles import artifact, manifest
from tests.runtime.test_recognition import Stub


class Clock:
    """Time that passes only where a runner says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Timed(Stub):
    """Takes the given milliseconds, in turn."""

    def __init__(self, clock: Clock, order: list[str], name: str, *milliseconds: float) -> None:
        super().__init__()
        self.clock, self.order, self.name, self.spans = clock, order, name, milliseconds
        self.calls = 0

    def predict(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        self.clock.now += self.spans[self.calls % len(self.spans)] / 1000
        self.calls += 1
        self.order.append(self.name)
        return super().predict(waveforms)


def variant(target: str, runtime: str = "tensorrt") -> Variant:
    return Variant(target, "model.onnx", "fp32", runtime)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock in place of time's."""
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def test_percentiles_and_real_time_factor(clock: Clock) -> None:
    # 10 blocks of 5 calls, each after 3 that warm up.
    blocks = [[500.0] * 3 + [float(ms) for ms in range(first, first + 5)] for first in range(1, 51, 5)]
    runner = Timed(clock, [], "a", *[ms for block in blocks for ms in block])
    (timed,) = bench([(variant("b"), runner)], Plan(runs=50, batch=2, starts=0))
    row = timed.row
    assert (row.runs, row.batch, row.seconds_of_audio) == (50, 2, 2.0)
    assert (row.target, row.artifact, row.precision, row.runtime) == ("b", "model.onnx", "fp32", "tensorrt")
    assert row.p50 == pytest.approx(25.5)
    assert row.p95 == pytest.approx(np.percentile(np.arange(1, 51), 95))
    assert row.p99 == pytest.approx(np.percentile(np.arange(1, 51), 99))
    assert [row.min, row.max] == pytest.approx([1, 50])
    assert row.real_time_factor == pytest.approx(0.0255 / 2)
    assert set(runner.batches) == {2}
    values = json.loads(json.dumps(row.to_dict()))
    assert values["target"] == "b"
    # What is not told is absent or null, never 0.
    told = ("ratio", "start", "energy_mj", "file_bytes", "parts", "throughput")
    assert [values[name] for name in told] == [None, None, None, None, {}, {}]


def test_runners_are_timed_in_turn(clock: Clock) -> None:
    order: list[str] = []
    slow, fast = Timed(clock, order, "slow", 4.0), Timed(clock, order, "fast", 1.0)
    first, second = bench([(variant("s"), slow), (variant("f"), fast)], Plan(runs=20, starts=0))
    # 3 calls to warm up and 2 timed, by turns; what comes after looks for parts.
    assert order[: 10 * 10] == (["slow"] * 5 + ["fast"] * 5) * 10
    assert [first.row.p50, second.row.p50] == pytest.approx([4, 1])
    assert first.row.ratio is None
    ratio = second.row.ratio
    assert ratio
    assert [ratio.value, ratio.low, ratio.high] == pytest.approx([0.25] * 3)


def test_cold_start_and_file(clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(module, "cold_start", lambda *a: asked.append(a))
    (tmp_path / "model.onnx").write_bytes(b"123")
    (timed,) = bench([(variant(str(tmp_path)), Timed(clock, [], "a", 1.0))], Plan(runs=5, threads=2, starts=4))
    assert asked == [(str(tmp_path), "model.onnx", "tensorrt", 2, 4)]
    assert timed.row.file_bytes == 3


def test_throughput_counts_windows(clock: Clock) -> None:
    runner = Timed(clock, [], "a", 20.0)
    assert throughput(runner, 8) == pytest.approx(400)
    assert set(runner.batches) == {8}
    (timed,) = bench([(variant("b"), runner)], Plan(runs=5, batches=(1, 4), starts=0))
    assert timed.row.throughput == {1: pytest.approx(50), 4: pytest.approx(200)}
    assert json.loads(json.dumps(timed.row.to_dict()))["throughput"] == {"1": 50.0, "4": 200.0}


def test_energy_of_a_call(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = Timed(clock, [], "a", 50.0)
    monkeypatch.setattr("fdan_edge.utils.gpu.energy", lambda: 100 * clock.now)  # 100 W
    assert energy_of_call(runner, np.zeros((1, 16000), np.float32)) == pytest.approx(5000)
    monkeypatch.setattr("fdan_edge.utils.gpu.energy", lambda: None)
    assert energy_of_call(runner, np.zeros((1, 16000), np.float32)) is None


def _blocks(chance: np.random.Generator, factor: float = 1.0) -> list[list[float]]:
    """Ten blocks of five calls: noise between calls, and a drift that blocks have."""
    drift = 1 + 0.3 * np.sin(np.arange(10))
    return [list(factor * d * (1 + 0.05 * chance.standard_normal(5))) for d in drift]


def test_ratio_of_equals_holds_one_as_often_as_it_says() -> None:
    chance = np.random.default_rng(1)
    told = [ratio_of(_blocks(chance), _blocks(chance), seed).told for seed in range(100)]
    assert np.mean(told) <= 0.1


def test_a_clear_difference_is_told_in_spite_of_drift() -> None:
    chance = np.random.default_rng(2)
    ratio = ratio_of(_blocks(chance, 0.8), _blocks(chance))
    assert ratio.told
    assert ratio.low < 0.8 < ratio.high
    assert ratio.high - ratio.low < 0.15  # the drift, of 60 %, is in both


def test_blocks_of_unequal_length() -> None:
    ratio = ratio_of([[2.0, 2.0], [2.0]], [[1.0, 1.0], [1.0]])
    assert (ratio.value, ratio.low, ratio.high) == (2, 2, 2)


def test_choice_of_what_runs(bundle_folder: Path, run_folder: Path) -> None:
    bundle, run = str(bundle_folder), str(run_folder)
    assert ("fp32", "onnxruntime-cpu") in [(v.precision, v.runtime) for v in chosen(bundle)]
    assert [v.runtime for v in chosen(bundle, ["onnxruntime-cpu"], ["fp32"])] == ["onnxruntime-cpu"]
    assert [v.runtime for v in chosen(run)] == ["torch"]
    with pytest.raises(
        BundleError, match=r"nothing of int8 runs on this machine; it has fp32 by .*onnxruntime-cpu"
    ):
        chosen(bundle, precisions=["int8"])


def test_artifacts_run_as_they_are_meant_to_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files = {"model.onnx": "cpu", "model.fp16.onnx": "rtx", "model.int8-s8s8.onnx": "of a later version"}
    for file in files:
        (tmp_path / file).write_bytes(b"model")
    entries = [artifact(tmp_path / file, "fp32", (target,)) for file, target in files.items()]
    write_manifest(tmp_path, manifest(*entries))
    there = [Variant(str(tmp_path), file, "fp32", "onnxruntime-cpu") for file in files]
    monkeypatch.setattr(module, "variants", lambda _: there)
    assert [one.artifact for one in chosen(str(tmp_path))] == ["model.onnx"]
    assert chosen(str(tmp_path), foreign=True) == there
    assert chosen(str(tmp_path), ["onnxruntime-cpu"]) == there  # it was asked for
    monkeypatch.setattr(module, "variants", lambda _: there[1:])
    assert chosen(str(tmp_path)) == there[1:]  # better than nothing
