"""The verb bench: what it prints, and what it refuses before it has timed anything."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fdan_edge.cli.actions import bench as action
from fdan_edge.cli.actions.bench import Selection, measure
from fdan_edge.errors import BundleError, ConfigError
from fdan_edge.profiling.bench import Plan
from tests.helpers.bundles import edit

Run = Callable[..., tuple[int, str, str]]
PLAN = Plan(runs=5, threads=1, starts=0)


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was timed; nothing is really."""
    calls: list[Any] = []

    def bench(contenders: Any, _plan: Plan) -> list[Any]:
        calls.append([variant.target for variant, _ in contenders])
        return []

    monkeypatch.setattr(action, "bench", bench)
    return calls


def test_an_estimate_of_run_folders_only(run_folder: Path, bundle_folder: Path, timed: list[Any]) -> None:
    with pytest.raises(ConfigError, match=r"--estimate reads the costs of a bundle .*; a run folder has none"):
        measure(Selection([str(run_folder)], "", [], []), PLAN, action.cards("rtx4060"))
    assert timed == []
    both = Selection([str(run_folder), str(bundle_folder)], "", ["torch", "onnxruntime-cpu"], [])
    report = measure(both, PLAN, action.cards("rtx4060"))
    assert timed == [[str(run_folder), str(bundle_folder)]]
    assert {estimate.card for estimate in report.estimates} == {"rtx4060"}


def test_a_damaged_cost_is_refused_at_once(bundle_folder: Path, tmp_path: Path, timed: list[Any]) -> None:
    folder = Path(shutil.copytree(bundle_folder, tmp_path / "b"))
    edit(folder, lambda values: values["artifacts"][0]["cost"]["layers"][0].pop("nodes"))
    selection = Selection([str(folder)], "", ["onnxruntime-cpu"], [])
    with pytest.raises(BundleError, match=r"damaged: no 'nodes' in artifacts\[0\]\.cost\.layers\[0\]"):
        measure(selection, PLAN, action.cards("rtx4060"))
    assert timed == []


def test_bench_tables_fit_80_columns(run: Run, bundle_folder: Path) -> None:
    model = bundle_folder / "model.onnx"
    words = ["--runs", "5", "--threads", "1", "--starts", "1", "--batches", "1,2", "--estimate", "rtx4060"]
    code, out, _ = run("bench", bundle_folder, model, *words, "--runtime", "onnxruntime-cpu")
    assert code == 0
    lines = out.splitlines()
    assert lines[1:3] == [f"A  {bundle_folder}", f"B  {model}"]
    assert max(map(len, lines[3:])) <= 80
    assert lines[4].split() == ["ms", "p50", "p95", "p99", "max", "RTF", "ratio"]
    assert lines[5].startswith("A fp32 onnxruntime-cpu ")
    assert lines[5].endswith(" 1")
    assert re.fullmatch(r"B \S* ?onnxruntime-cpu .* \d+\.\d\d \(\d+\.\d\d-\d+\.\d\d\)", lines[6])
    assert lines[7] == "1 s of audio per call, batch 1, 5 calls of each in turn"
    for title in ("ms by part", "cold start, ms and peak memory", "windows per second, by batch"):
        assert title in lines
    assert "estimate, not measured: rooflines" in lines
    assert any(re.match(r"  A fp32 onnxruntime-cpu: .* ms, fastest call .* of it", line) for line in lines)


def test_bench_json(run: Run, bundle_folder: Path) -> None:
    words = ["--runtime", "onnxruntime-cpu", "--runs", "6", "--batch", "3", "--json"]
    code, out, _ = run("bench", bundle_folder, *words)
    assert code == 0
    values = json.loads(out)
    assert values["machine"]["cores"] >= 1
    (row,) = values["latency"]
    assert (row["target"], row["runs"], row["batch"], row["seconds_of_audio"]) == (str(bundle_folder), 6, 3, 3.0)
    assert row["real_time_factor"] == pytest.approx(row["p50"] / 3000, abs=2e-5)
    assert row["start"]["total"] > row["start"]["load"] > 0


def test_bench_against_another_bundle(run: Run, bundle_folder: Path, tmp_path: Path) -> None:
    other, table = tmp_path / "other", tmp_path / "bench.md"
    shutil.copytree(bundle_folder, other)
    words = ["--runs", "10", "--starts", "0", "--markdown", table]
    code, out, _ = run("bench", bundle_folder, "--vs", other, "--runtime", "onnxruntime-cpu", *words)
    assert code == 0
    first = next(line for line in out.splitlines() if " against " in line)
    assert first.startswith("A fp32 onnxruntime-cpu against B fp32 onnxruntime-cpu: ")
    assert "  of the other's: file 1.00" in out
    text = table.read_text()
    assert "| A fp32 onnxruntime-cpu |" in text
    assert first in text
    assert "cold start" not in text  # it was not asked for
