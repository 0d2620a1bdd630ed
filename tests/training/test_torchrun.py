"""The command as torchrun starts it: two processes, of which one is lost."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import TINY

LAUNCH = [
    sys.executable,
    "-m",
    "torch.distributed.run",
    "--standalone",
    "--nproc-per-node",
    "2",
    "--max-restarts",
    "1",
]


def words(ravdess_tree: Path, out: Path) -> list[str]:
    given = [*TINY, "backbone=vgg8", "epochs=10", "feature_size=8"]
    settings = [word for setting in given for word in ("--set", setting)]
    return ["-m", "fdan_edge", "train", "--speech", f"ravdess:{ravdess_tree}", "--out", str(out), *settings]


def process_of_rank(rank: int, parent: int) -> int | None:
    """The worker that torchrun, whose number is `parent`, gave this rank."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            own = (folder / "environ").read_bytes().split(b"\0")
            above = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            if f"RANK={rank}".encode() in own and int(above) == parent:
                return int(folder.name)
    return None


@pytest.mark.slow
def test_a_lost_process_is_replaced_and_the_training_goes_on(tmp_path: Path, ravdess_tree: Path) -> None:
    out = tmp_path / "run"
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen([*LAUNCH, *words(ravdess_tree, out)], stdout=said, stderr=said)
        end = time.monotonic() + 240
        while not (out / "checkpoint.safetensors").exists():
            assert process.poll() is None, (tmp_path / "said").read_text()
            assert time.monotonic() < end
            time.sleep(0.05)
        lost = process_of_rank(1, process.pid)
        assert lost
        os.kill(lost, signal.SIGKILL)
        assert process.wait(240) == 0, (tmp_path / "said").read_text()
    text = (tmp_path / "said").read_text()
    assert "resuming after epoch" in text
    lines = (out / "epochs.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, 11))
    assert text.count("epoch  10/10") == 1  # one of the two speaks
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["test"]["n"] > 0
    sessions = json.loads((out / "provenance.json").read_text())["sessions"]
    assert [session["processes"] for session in sessions] == [2, 2]
