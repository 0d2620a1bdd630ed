"""Runs that take too long are told to stop, and where that does not help, the program is told."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from onnx import helper

from fdan_edge.errors import BundleError
from fdan_edge.runtime import deadline, onnx
from fdan_edge.runtime.opening import open_runner
from tests.helpers.serving import eventually
from tests.runtime.test_onnx_check import graph, summed, tensor


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch that looks a hundred times a second."""
    monkeypatch.setattr(deadline, "_TICK", 0.01)
    monkeypatch.setattr(deadline, "_watch", None)


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
    with (
        open_runner(tmp_path / "m.onnx", threads=1) as runner,
        pytest.raises(BundleError, match=r"m\.onnx: gave no answer within 0\.03 s, and was stopped"),
    ):
        runner.predict(np.zeros((1, 4), np.float32))
