"""The verb demo: it makes room for its own run, and for no other."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fdan_edge.cli.actions.demo import remove_earlier_run
from fdan_edge.errors import DataError


def test_demo_keeps_a_training_that_is_not_its_own(
    fails: Callable[..., str], tmp_path: Path, run_folder: Path
) -> None:
    shutil.copytree(run_folder, tmp_path / "run")
    before = sorted((tmp_path / "run").iterdir())
    assert fails("demo", "--out", tmp_path) == (
        f"{tmp_path / 'run'}: holds a training on speech that is not the demo's; name another --out"
    )
    assert sorted((tmp_path / "run").iterdir()) == before


def test_demo_makes_room_for_its_own_run_only(tmp_path: Path, run_folder: Path) -> None:
    remove_earlier_run(tmp_path / "none")
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError, match="exists and is not a run"):
        remove_earlier_run(tmp_path / "other")
    shutil.copytree(run_folder, tmp_path / "run")
    text = (tmp_path / "run" / "run.toml").read_text()
    changed = re.sub(r"speech = \[.*?\]", 'speech = ["synthetic:"]', text, flags=re.DOTALL)
    (tmp_path / "run" / "run.toml").write_text(changed)
    remove_earlier_run(tmp_path / "run")
    assert not (tmp_path / "run").exists()
