"""What `fdan-edge bench` refuses, before it has timed anything."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from fdan_edge.cli.actions import bench as action
from fdan_edge.cli.actions.bench import Selection, measure
from fdan_edge.errors import BundleError, ConfigError
from fdan_edge.profiling.bench import Plan
from tests.helpers.bundles import edit

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
    assert {one.card for one in report.estimates} == {"rtx4060"}


def test_a_damaged_cost_is_refused_at_once(bundle_folder: Path, tmp_path: Path, timed: list[Any]) -> None:
    folder = Path(shutil.copytree(bundle_folder, tmp_path / "b"))
    edit(folder, lambda values: values["artifacts"][0]["cost"]["layers"][0].pop("nodes"))
    wanted = Selection([str(folder)], "", ["onnxruntime-cpu"], [])
    with pytest.raises(BundleError, match=r"damaged: no 'nodes' in artifacts\[0\]\.cost\.layers\[0\]"):
        measure(wanted, PLAN, action.cards("rtx4060"))
    assert timed == []
