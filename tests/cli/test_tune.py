"""The verb tune: what it prints, and that mistakes are one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("optuna")

from fdan_edge.errors import INSTALL_TUNE
from tests.helpers.tune_fake import fake_train


@pytest.fixture
def command(ravdess_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str | Path, ...]:
    monkeypatch.setattr("fdan_edge.tuning.search.train", fake_train)
    monkeypatch.setattr("os.fsync", lambda _: None)
    monkeypatch.setattr("fdan_edge.tuning.results.plots.tuning", lambda *_: None)  # slow; test_pictures draws it
    speech = ("--speech", f"ravdess:{ravdess_tree}", "--faces", "synthetic:")
    return ("tune", "--out", tmp_path / "t", *speech, "--set", "epochs=3")


def test_the_command(
    run: Callable[..., tuple[int, str, str]], command: tuple[str | Path, ...], tmp_path: Path
) -> None:
    code, out, err = run(*command, "--trials", "13", "--space", "alpha=1e-5..1", "--space", "lr=1e-3,1e-2")
    assert code == 0
    lines = [line.rstrip() for line in out.splitlines()]
    assert lines[0].split() == ["trial", "UAR", "%", "alpha", "lr"]
    assert len(lines[1].split()) == 5
    assert "and 3 more in tuning.md" in lines
    assert lines[-1].startswith(
        f"next: fdan-edge train {tmp_path / 't' / 'best.toml'} --out runs/best --speech ravdess:"
    )
    assert max(map(len, lines[:-3])) <= 80
    lines_said = err.splitlines()
    assert lines_said[0] == "13 trials on 3 validation folds: alpha=1e-05..1  lr=0.001,0.01"
    assert lines_said[1].startswith("trial 1/13  UAR ")
    assert lines_said[1].endswith("trial 1)  alpha 0.001  lr 0.001")
    assert len(lines_said) == 14  # a line each, nothing of the trainings
    code, out, _ = run(*command, "--trials", "13", "--space", "alpha=1e-5..1", "--space", "lr=1e-3,1e-2", "--json")
    values = json.loads(out)
    assert code == 0
    assert values == json.loads((tmp_path / "t" / "tuning.json").read_text())
    assert set(values["importance"]) <= {"alpha", "lr"}


def test_mistakes_are_one_line(fails: Callable[..., str], command: tuple[str | Path, ...], tmp_path: Path) -> None:
    assert fails(*command, "--space", "alhpa=0..1").startswith("unknown setting 'alhpa' (did you mean alpha?)")
    assert fails("tune", "--out", tmp_path / "t").startswith("no speech given; write --speech corpus:path")
    assert fails(*command, "--set", "protocol=random").startswith("folds are of speakers, and protocol random")
    assert not (tmp_path / "t").exists()


def test_optuna_is_an_extra(
    fails: Callable[..., str], command: tuple[str | Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "optuna" else find_spec(name))
    assert fails(*command) == f"tune needs optuna, which is not installed: {INSTALL_TUNE}"


def test_help(run: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = run("tune", "-h")
    assert code == 0
    assert "--space" in out
    assert "The same command again goes on" in " ".join(out.split())
