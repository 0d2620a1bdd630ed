"""The command line as a whole: help, version, imports, an interrupt."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import fdan_edge.cli
from fdan_edge.cli.app import VERBS
from fdan_edge.runtime import deadline
from tests.helpers.shell import shell

Run = Callable[..., tuple[int, str, str]]


def test_the_command_line_imports_nothing_heavy() -> None:
    heavy = {"torch", "librosa", "numpy", "onnxruntime", "matplotlib", "sklearn", "soundfile", "onnx", "scipy"}
    code = f"import sys, fdan_edge.cli.app; print({heavy!r} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_closed_standard_output_is_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)  # as Python has it after `>&-`
    with pytest.raises(SystemExit) as end:
        fdan_edge.cli.main(["--version"])
    assert end.value.code in (None, 0)


def test_a_verb_ends_the_process_where_a_model_cannot_be_stopped(
    fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Callable[[str], None]] = []
    ends: list[int] = []
    monkeypatch.setattr(deadline, "end_process_with", asked.append)
    monkeypatch.setattr(os, "_exit", ends.append)
    fails("infer", "/nowhere", "a.wav")
    asked[0]("m.onnx: hangs \x1b[31m")
    assert (capsys.readouterr().err, ends) == ("error: m.onnx: hangs \\x1b[31m\n", [2])


def test_help_loads_few_of_our_modules() -> None:
    """Each costs --help some milliseconds, and a device more."""
    code = """
import atexit, sys
atexit.register(lambda: print(*(name for name in sys.modules if name.startswith("fdan_edge.")), file=sys.stderr))
from fdan_edge.cli import main
main(["--help"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {*done.stderr.split()} == {
        "fdan_edge._version",
        "fdan_edge.cli",
        "fdan_edge.cli.app",
        "fdan_edge.cli.usage",
        "fdan_edge.errors",
        "fdan_edge.utils",
        "fdan_edge.utils.messages",
        "fdan_edge.utils.telemetry",
    }


def test_help_shows_every_verb_in_one_line(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    lines = [line.strip() for line in out.splitlines()]
    assert [line.split(maxsplit=1) for line in lines if line.partition(" ")[0] in VERBS] == [
        [name, text] for name, text in VERBS.items()
    ]
    assert max(map(len, out.splitlines())) <= 80


def test_every_file_of_a_verb_is_in_the_help() -> None:
    """A file with a function or an `app` of its own name, and no entry, would be a verb that nobody can call."""
    files = {path.stem for path in Path(fdan_edge.cli.__file__).parent.glob("*.py")}
    assert files - {"__init__", "app", "model_choice", "options", "usage"} == set(VERBS)


@pytest.mark.parametrize("verb", [*([verb] for verb in VERBS), ["data", "scan"], ["data", "cache"]], ids=" ".join)
def test_every_verb_has_help(run: Run, verb: list[str]) -> None:
    code, out, err = run(*verb, "-h")
    assert (code, err) == (0, "")
    assert f"Usage: fdan-edge {' '.join(verb)}" in " ".join(out.split())


def test_version(run: Run) -> None:
    from fdan_edge._version import __version__

    assert run("--version") == (0, f"fdan-edge {__version__}\n", "")


def test_python_m() -> None:
    done = shell("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("fdan-edge ")


def test_interrupt_before_the_verb_runs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import fdan_edge.cli.app

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fdan_edge.cli.app, "app", interrupted)
    assert run("doctor") == (130, "", "interrupted\n")


def test_verbose_shows_what_is_left_unsaid(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import logging

    def examine() -> list[object]:
        logging.getLogger("fdan_edge.profiling").debug("for who asks")
        return []

    monkeypatch.setattr("fdan_edge.profiling.doctor.examine", examine)
    assert run("doctor", "--json")[2] == ""
    for option in ("-v", "--verbose"):
        assert run(option, "doctor", "--json")[2] == "for who asks\n"
