"""Runs that take too long are told to stop, and where that does not help, the program is told."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from onnx import helper

from fdan_edge.errors import BundleError
from fdan_edge.runtime import deadline, onnx, onnx_session
from fdan_edge.runtime.opening import open_runner
from tests.helpers.serving import eventually
from tests.helpers.tiny_models import SPEC, model
from tests.runtime.test_onnx_check import graph, summed, tensor


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch that looks a hundred times a second."""
    monkeypatch.setattr(deadline, "_TICK", 0.01)
    monkeypatch.setattr(deadline, "_watch", None)


def noted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The list of all options of runs that are made from now on."""
    made: list[Any] = []

    def make() -> Any:
        made.append(onnx_session.run_options())
        return made[-1]

    monkeypatch.setattr(onnx, "run_options", make)
    return made


def test_a_run_is_told_to_stop() -> None:
    options = SimpleNamespace(terminate=False)
    with deadline.within(0.03, options, "m.onnx"):
        assert eventually(lambda: options.terminate, 20)


def test_a_run_in_time_is_left_alone() -> None:
    options = SimpleNamespace(terminate=False)
    for _ in range(3):  # each has the whole time
        with deadline.within(0.1, options, "m.onnx"):
            threading.Event().wait(0.06)
    assert not options.terminate


def test_at_last_the_program_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "GRACE", 0.03)
    said: list[str] = []
    called = threading.Event()

    def note(line: str) -> None:
        said.append(line)
        called.set()

    monkeypatch.setattr(deadline, "_at_last", None)
    deadline.end_process_with(note)
    with deadline.within(0.02, SimpleNamespace(terminate=False), "m.onnx"):
        assert called.wait(20)
    assert said[0] == "m.onnx: gave no answer within 0.05 s, and cannot be stopped"


def test_options_of_a_run_that_was_nearly_stopped_are_not_used_again() -> None:
    """The watch may have taken the list of its runs just before a run has ended, and stop it just after."""
    options = SimpleNamespace(terminate=False)
    with deadline.within(0.05, options, "m.onnx") as run:
        assert eventually(lambda: options.terminate, 20)
    assert not run.is_over
    for spent, over in ((0.0, True), (0.03, True), (0.045, False), (0.06, False)):
        run.spent = spent
        assert run.is_over == over


def test_a_fork_has_a_watch_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    test_a_run_is_told_to_stop()
    watch = deadline._watch
    monkeypatch.setattr(os, "getpid", lambda: -1)
    test_a_run_is_told_to_stop()
    assert deadline._watch is not watch


def test_a_model_that_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [helper.make_node("ConstantOfShape", ["n"], ["m0"])]
    nodes += [helper.make_node("MatMul", ["m0", f"m{i}"], [f"m{i + 1}"]) for i in range(200)]
    (tmp_path / "m.onnx").write_bytes(graph([*nodes, summed("m200")], [tensor("n", [1024, 1024])]))
    monkeypatch.setattr(onnx, "_SECONDS", 0.02)
    monkeypatch.setattr(onnx, "_SECONDS_EACH", 0.01)
    made = noted(monkeypatch)
    with open_runner(tmp_path / "m.onnx", threads=1) as runner:
        for _ in range(2):
            with pytest.raises(BundleError, match=r"m\.onnx: gave no answer within 0\.03 s, and was stopped"):
                runner.predict(np.zeros((1, 4), np.float32))
        assert len(made) == 2  # those that were stopped are not used again


def test_options_serve_one_run_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, both = noted(monkeypatch), threading.Barrier(2, timeout=20)
    with onnx.OnnxRunner(model(tmp_path / "m.onnx"), threads=1) as runner:
        for _ in range(3):
            runner.predict(np.zeros((1, SPEC.window), np.float32))
        assert len(made) == 1
        outputs = runner._outputs
        monkeypatch.setattr(runner, "_outputs", lambda *run: (both.wait(), outputs(*run))[1])
        with ThreadPoolExecutor(2) as pool:  # at the same time, each has its own
            list(pool.map(runner.predict, [np.zeros((1, SPEC.window), np.float32)] * 2))
        assert len(made) == 2
