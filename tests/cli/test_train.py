"""What the verb train prints."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest


def test_scores_and_what_to_do_next(capsys: pytest.CaptureFixture[str], run_folder: Path, tmp_path: Path) -> None:
    from fdan_edge.cli.render import training

    target = tmp_path / "[b]"  # square brackets are rich's markup
    training.trained(target, json.loads((run_folder / "metrics.json").read_text()))
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line.rstrip()) for line in lines[:-2]) <= 80
    assert any(line.startswith("95 % intervals: UAR ") for line in lines)
    assert any(re.match(r"temperature [\d.]+, fitted on 8 validation recordings;", line) for line in lines)
    assert lines[0].startswith("FDAN, ")
    assert lines[1].startswith("audit: clean for speakers; ")
    assert lines[-2].startswith(f"run folder {target}: ")
    assert lines[-1] == f"next: fdan-edge export {target} --onnx --out bundles/[b]"
    values = json.loads((run_folder / "metrics.json").read_text())
    training.trained(target, {**values, "target": {"n": 12, "information": 0.5}})
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith(f"last epoch, {values['best_epoch']}: validation UAR ")
    assert lines[3] == "target: 12 recordings, labels not used; information 0.50 of at most 1.95 nats"
