"""Timing: the arithmetic with a runner of known speed, and the cold start in a real process."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from test_infer import Stub

from fdan_edge import bench as module
from fdan_edge.bench import bench, cold_start, machine
from fdan_edge.errors import FdanEdgeError


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
        self.clock, self.order, self.name, self.times = clock, order, name, milliseconds
        self.calls = 0

    def predict(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        self.clock.now += self.times[self.calls % len(self.times)] / 1000
        self.calls += 1
        self.order.append(self.name)
        return super().predict(waveforms)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock in place of time.perf_counter, and no real cold start."""
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    monkeypatch.setattr(module, "cold_start", lambda *_: {"seconds": 0.25, "peak": 3 * 2**20})
    return made


def test_percentiles_and_real_time_factor(clock: Clock) -> None:
    # 5 blocks of 10 calls, each after 3 that warm up.
    blocks = [[500.0] * 3 + [float(ms) for ms in range(first, first + 10)] for first in range(1, 51, 10)]
    runner = Timed(clock, [], "a", *[ms for block in blocks for ms in block])
    (row,) = bench([("b", runner)], runs=50, batch=2)
    assert (row.runs, row.batch, row.seconds_of_audio) == (50, 2, 2.0)
    assert row.p50 == pytest.approx(25.5)
    assert row.p95 == pytest.approx(np.percentile(np.arange(1, 51), 95))
    assert row.p99 == pytest.approx(np.percentile(np.arange(1, 51), 99))
    assert row.real_time_factor == pytest.approx(0.0255 / 2)
    assert (row.cold_start, row.peak_memory_mib) == (250, 3)
    assert json.loads(json.dumps(row.to_dict()))["target"] == "b"
    assert set(runner.batches) == {2}


def test_runners_are_timed_in_turn(clock: Clock) -> None:
    order: list[str] = []
    slow, fast = Timed(clock, order, "slow", 4.0), Timed(clock, order, "fast", 1.0)
    rows = bench([("s", slow), ("f", fast)], runs=10)
    assert order == (["slow"] * 5 + ["fast"] * 5) * 5  # 3 calls to warm up and 2 timed, by turns
    assert [row.p50 for row in rows] == pytest.approx([4, 1])


def test_cold_start_of_a_real_bundle(bundle_folder: Path) -> None:
    cold = cold_start(str(bundle_folder), threads=1)
    assert 0.05 < cold["seconds"] < 60
    assert 20 < cold["peak"] / 2**20 < 400


def test_peak_memory_is_that_of_the_fresh_process(bundle_folder: Path) -> None:
    """getrusage's peak of a forked process starts with its parent's."""
    ballast = np.ones(40 * 2**20, np.float64)  # 320 MiB
    cold = cold_start(str(bundle_folder))
    assert cold["peak"] < ballast.nbytes / 2


def test_cold_start_that_fails_gives_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(FdanEdgeError, match=r"the cold start failed: .*BundleError: .*no such") as e:
        cold_start(str(tmp_path / "none"))
    assert "\n" not in str(e.value)


def test_relative_target_and_package_from_the_current_folder(
    bundle_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bundle_folder.parent)
    assert cold_start(bundle_folder.name)["seconds"] > 0


def test_machine_says_where_figures_come_from() -> None:
    values = machine()
    assert set(values) == {"processor", "cores", "system", "python"}
    assert values["cores"] >= 1
    assert values["processor"]
