"""benchmarks/gpu_training.py: its commands, what stops it, and that it goes on."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fdan_edge.config import Config

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import gpu_training as script

#: Small enough for a test: two folds, one epoch.
QUICK = (
    *("backbone=vgg8", "weights=none", "epochs=1", "folds=2", "n_mels=32", "hop=512"),
    *("window_seconds=1.0", "window_hop_seconds=0.5", "speed_perturbation=0", "feature_size=16", "threads=1"),
    "surroundings=0",
)


def arguments(tmp_path: Path, *more: str) -> Any:
    sources = ["--speech", "synthetic:", "--faces", "synthetic:"]
    folders = ["--out", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    return [*sources, *folders, *more]


def test_every_training_is_of_settings_that_there_are(tmp_path: Path) -> None:
    parsed = script.build_parser().parse_args(arguments(tmp_path, "--epochs", "9", "--set", "seed=4"))
    names = [training.name for training in script.TRAININGS]
    for training in script.TRAININGS:
        made = script.command(training, parsed)
        words = [word for before, word in itertools.pairwise(made) if before == "--set"]
        config = Config.load(None, words)
        assert (config.seed, config.epochs) == (4, 8 if training.name == "whisper_tiny" else 9)
        assert ("--faces" in made) is training.faces
        assert not training.teacher or names.index(training.teacher) < names.index(training.name)
        assert config.teacher == (str(tmp_path / "runs" / training.teacher) if training.teacher else "")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_training_is_done_once_and_is_a_row(
    tmp_path: Path, ravdess_tree: Path, fer_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ["--speech", f"ravdess:{ravdess_tree}", "--faces", f"fer2013:{fer_tree}"]
    trainings = (
        script.Training("plain", QUICK),
        script.Training("student", QUICK, teacher="teacher"),
        script.Training("wrong", ("backbone=none",)),
    )
    monkeypatch.setattr(script, "TRAININGS", trainings)
    monkeypatch.setattr(script, "gpu_name", lambda: "NVIDIA X")
    assert script.main(arguments(tmp_path, *small, "--set", "protocol=kfold")) == 1
    made = json.loads((tmp_path / "results/folds-nvidia-x.json").read_text())
    assert made["outcomes"]["plain"] == "done"
    assert made["outcomes"]["student"] == "not begun: its teacher teacher is not done"
    assert made["outcomes"]["wrong"].startswith("failed: unknown backbone 'none'")
    (row,) = made["rows"]
    assert row["name"] == "plain"
    assert row["pooled"]["n"] == 32  # every recording, once
    text = (tmp_path / "results/folds-nvidia-x.md").read_text()
    assert "| plain: " in text
    assert "- wrong: failed" in text
    assert "error: unknown backbone 'none'" in (tmp_path / "runs/wrong.log").read_text()
    monkeypatch.setattr(subprocess, "Popen", None)  # would be an error
    monkeypatch.setattr(script, "TRAININGS", trainings[:1])
    assert script.main(arguments(tmp_path, *small)) == 0
    monkeypatch.setattr(script, "TRAININGS", (*trainings[:1], script.Training("later", QUICK)))
    assert (
        script.main(arguments(tmp_path, *small, "--only", "plain")) == 0
    )  # the other one is told, and nothing is lost
    made = json.loads((tmp_path / "results/folds-nvidia-x.json").read_text())
    assert made["outcomes"] == {"plain": "done", "later": "not asked for (0 folds begun, 0 epochs in all)"}
    assert [row["name"] for row in made["rows"]] == ["plain"]


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script, "gpu_name", lambda: None)
        assert script.main(arguments(tmp_path)) == 2
    assert capsys.readouterr().out == (
        "error: no CUDA GPU that this PyTorch can use; --cpu trains on the processor, for days\n"
    )
    with pytest.raises(SystemExit):
        script.main(["--speech", "ravdess:/no/such", "--faces", "synthetic:"])
    assert capsys.readouterr().err.endswith("argument --speech: ravdess:/no/such: no such folder\n")
    assert not list(tmp_path.iterdir())


def test_time_stops_it_and_says_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = script.build_parser().parse_args(arguments(tmp_path))
    fold = tmp_path / "runs/plain/fold-1"
    fold.mkdir(parents=True)
    (fold / "epochs.jsonl").write_text("{}\n{}\n")
    training = script.Training("plain", ())
    assert script.train(training, parsed, time.monotonic()) == "no time was left (1 folds begun, 2 epochs in all)"
    code = "import time; time.sleep(60)"
    monkeypatch.setattr(script, "command", lambda *_: [sys.executable, "-c", code])
    monkeypatch.setattr(script, "LEAST_SECONDS", 0)
    begun = time.monotonic()
    told = script.train(training, parsed, begun + 1)
    assert told == "stopped: time (1 folds begun, 2 epochs in all)"
    assert time.monotonic() - begun < 30
