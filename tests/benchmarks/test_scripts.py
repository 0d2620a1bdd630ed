"""Every benchmark script: its imports, and the tests that it names."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))
sys.path.insert(0, str(ROOT / "benchmarks"))

#: A test file as a script names it, and one of its tests behind it where it names one.
NAMED = re.compile(r"(tests/[\w/]+\.py)(?:::(\w+))?")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_importing_a_script_runs_nothing(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(script.stem)
    assert Path(str(module.__file__)) == script
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "script", [s for s in SCRIPTS if "ArgumentParser(" in s.read_text()], ids=lambda s: s.stem
)
def test_help(script: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [script.name, "--help"])
    with pytest.raises(SystemExit, match=r"^0$"):
        importlib.import_module(script.stem).main()
    assert capsys.readouterr().out.startswith(f"usage: {script.name} ")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_the_tests_that_a_script_names_are_there(script: Path) -> None:
    for file, test in NAMED.findall(script.read_text()):
        assert (ROOT / file).is_file(), file
        if test:
            assert re.search(rf"^def {test}\(", (ROOT / file).read_text(), re.MULTILINE), f"{file}::{test}"


def test_scripts_that_run_tests_name_them_so() -> None:
    """Else the test above would look at nothing."""
    names = {script.stem for script in SCRIPTS if NAMED.search(script.read_text())}
    assert {"arm64", "gpu"} <= names
