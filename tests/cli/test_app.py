"""The command line as a whole: help, version, imports, an interrupt."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.helpers.shell import shell

Run = Callable[..., tuple[int, str, str]]


def test_the_command_line_imports_nothing_heavy() -> None:
    heavy = {"torch", "librosa", "numpy", "onnxruntime", "matplotlib", "sklearn", "soundfile", "onnx", "scipy"}
    code = f"import sys, fdan_edge.cli.app; print({heavy!r} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_command_line_loads_few_of_our_modules() -> None:
    """Each costs --help some milliseconds."""
    code = "import sys, fdan_edge.cli.app; print(*(name for name in sys.modules if name.startswith('fdan_edge.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {name for name in loaded if not name.startswith("fdan_edge.cli")} == {
        "fdan_edge._version",
        "fdan_edge.errors",
        "fdan_edge.profiling",
        "fdan_edge.profiling.cards",
        "fdan_edge.runtime",
        "fdan_edge.runtime.deploy_targets",
        "fdan_edge.utils",
        "fdan_edge.utils.messages",
    }
    assert not {"fdan_edge.cli.actions", "fdan_edge.cli.render"} & loaded


def test_help_names_every_verb(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    verbs = (
        "train",
        "crossval",
        "tune",
        "evaluate",
        "export",
        "infer",
        "bench",
        "reproduce",
        "demo",
        "doctor",
        "data",
    )
    for verb in verbs:
        assert f" {verb} " in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    "verb",
    [
        ["train"],
        ["crossval"],
        ["tune"],
        ["evaluate"],
        ["export"],
        ["infer"],
        ["bench"],
        ["demo"],
        ["doctor"],
        ["reproduce"],
        ["data", "scan"],
    ],
)
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
