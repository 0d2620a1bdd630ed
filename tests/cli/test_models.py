"""The verb models: its table, its JSON, and a model's card."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fdan_edge.runtime import included

Run = Callable[..., tuple[int, str, str]]
Fails = Callable[..., str]

pytestmark = pytest.mark.usefixtures("package_models")


def test_the_table(run: Run, bundle_folder: Path) -> None:
    code, out, err = run("models")
    assert (code, err) == (0, "")
    table, sentences = out.split("\n\n", 1)
    rows = [line.split() for line in table.splitlines()]
    size = sum(path.stat().st_size for path in bundle_folder.iterdir() if path.name != "bundle.json") / 1e6
    (first, second) = rows[-2:]
    assert (first[0], first[2], first[5:]) == ("open", "12.5", ["50.0", "37.5", "any"])
    assert (second[0], second[-1]) == ("research", "non-commercial")
    assert float(first[1]) == pytest.approx(size, abs=0.06)
    assert sentences.startswith("open (the default): Two languages, acted\n  languages: German, Javanese\n")
    assert "  terms: research use only, because of RAVDESS\n" in sentences
    assert "1 thread, a processor, 2 cores" in sentences
    assert max(map(len, table.splitlines())) <= 80


def test_json(run: Run, package_models: Path) -> None:
    code, out, err = run("models", "--json")
    assert (code, err) == (0, "")
    first, second = json.loads(out)
    assert (first["name"], first["default"], second["name"], second["default"]) == (
        "open",
        True,
        "research",
        False,
    )
    assert first["path"] == str(package_models / "open")
    assert first["about"]["languages"] == ["German", "Javanese"]
    assert first["about"]["scores"][0]["interval"] == [0.6, 0.65]
    assert second["about"]["use"] == "non-commercial"
    assert 0 <= first["new_speakers"]["uar"] <= 1
    assert first["measured"] is None
    assert json.loads(run("models", "research", "--json")[1]) == second


def test_measured_here(run: Run) -> None:
    code, out, _ = run("models", "research", "--json", "--measure")
    measured = json.loads(out)["measured"]
    assert code == 0
    assert measured["ms"] > 0
    assert (measured["threads"], measured["runtime"]) == (1, "onnxruntime-cpu")
    assert measured["command"] == "fdan-edge bench research --threads 1"


def test_a_card(run: Run, package_models: Path) -> None:
    assert run("models", "open") == (0, (package_models / "open" / "README.md").read_text(), "")


def test_mistakes(fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fails("models", "opn") == "unknown model 'opn' (did you mean open?); valid: open, research"
    assert fails("models", "open", "--measure").startswith("--measure goes with the list or with --json")
    monkeypatch.setattr(included, "FOLDER", tmp_path)
    assert fails("models").startswith(f"{tmp_path}: no model comes with this installation")
