"""Scores in noise travel with a bundle, where they are of its weights and of speech that is new to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fdan_edge.errors import CheckpointError
from fdan_edge.export.noise_scores import with_noise_scores
from fdan_edge.utils.files import sha256
from tests.helpers.stream_parts import spec

ROW = {"condition": "clean", "kind": "clean", "snr_db": None, "uar": 0.81236, "interval": [0.7, 0.9], "change": 0}
ROW |= {"change_interval": [0, 0], "unknown": 0.1, "changed": 0, "right": None}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "checkpoint.safetensors").write_bytes(b"weights")
    return tmp_path


def write(run: Path, **values: Any) -> None:
    usual = {"n": 9, "part": "the run's test part", "resampled": "", "unseen": True, "conditions": [ROW]}
    known = {"checkpoint_sha256": sha256(run / "checkpoint.safetensors")}
    (run / "robustness.json").write_text(json.dumps(usual | known | values))


def test_what_is_short_travels(run: Path) -> None:
    before = spec()
    assert with_noise_scores(before, run) == before
    write(run)
    short = {"condition": "clean", "uar": 0.8124, "change": 0, "unknown": 0.1, "right": None}
    expected = {"n": 9, "part": "the run's test part", "conditions": [short]}
    assert with_noise_scores(before, run).info == {**before.info, "robustness": expected}


@pytest.mark.parametrize("values", [{"unseen": False}, {"checkpoint_sha256": "of others"}])
def test_what_is_not_of_these_weights_does_not(
    run: Path, values: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    write(run, **values)
    assert with_noise_scores(spec(), run) == spec()
    assert "robustness.json: not in the model card: " in caplog.text


def test_a_damaged_one_is_told(run: Path) -> None:
    write(run, conditions=[{}])
    with pytest.raises(CheckpointError, match=r"robustness\.json: missing or damaged"):
        with_noise_scores(spec(), run)
