"""The command as torchrun starts it: two processes, of which one is lost."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.conftest import TINY
from tests.helpers.elastic import launch
from tests.helpers.processes import started


def words(ravdess_tree: Path, out: Path) -> list[str]:
    given = [*TINY, "epochs=4", "feature_size=8"]
    settings = [word for setting in given for word in ("--set", setting)]
    return ["train", "--speech", f"ravdess:{ravdess_tree}", "--out", str(out), *settings]


@pytest.mark.slow
def test_a_lost_process_is_replaced_and_the_training_goes_on(tmp_path: Path, ravdess_tree: Path) -> None:
    out = tmp_path / "run"
    process = started(launch, tmp_path / "said", words(ravdess_tree, out))
    process.join(240)
    assert process.exitcode == 0, (tmp_path / "said").read_text()
    text = (tmp_path / "said").read_text()
    assert "resuming after epoch" in text
    lines = (out / "epochs.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, 5))
    assert len(re.findall(r"epoch +4/4", text)) == 1  # one of the two speaks
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["test"]["n"] > 0
    sessions = json.loads((out / "provenance.json").read_text())["sessions"]
    assert [session["processes"] for session in sessions] == [2, 2]
