"""What the verb train prints."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest


def test_scores_and_what_to_do_next(capsys: pytest.CaptureFixture[str], run_folder: Path, tmp_path: Path) -> None:
    from fdan_edge.cli.render import training

    target = tmp_path / "[b]"  # square brackets are rich's markup
    values = json.loads((run_folder / "metrics.json").read_text())
    good = {"useless": "", "warnings": ["classes with fewer than 5 recordings: [b] (3)"]}
    training.trained(target, {**values, "verdict": good})
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line.rstrip()) for line in lines[:-3]) <= 80
    assert any(line.startswith("95 % intervals: UAR ") for line in lines)
    assert any(re.match(r"temperature [\d.]+, fitted on 8 validation recordings;", line) for line in lines)
    assert lines[0].startswith("FDAN, ")
    assert lines[1].startswith("audit: clean for speakers; ")
    assert lines[2] == f"kept: {values['epoch_choice']}"
    assert lines[3].startswith(f"epoch {values['best_epoch']}: validation UAR ")
    assert lines[-3].startswith(f"run folder {target}: ")
    assert lines[-2] == "warning: classes with fewer than 5 recordings: [b] (3)"
    assert lines[-1] == f"next: fdan-edge export {target} --target cpu --out bundles/[b]"
    useless = {"useless": "it answers fear for all 8 recordings", "warnings": []}
    training.trained(target, {**values, "verdict": useless, "target": {"n": 12, "information": 0.5}})
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "do not use this model: it answers fear for all 8 recordings"
    assert lines[4] == "target: 12 recordings, labels not used; information 0.50 of at most 1.95 nats"
