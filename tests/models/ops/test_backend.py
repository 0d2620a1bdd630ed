"""FDAN_EDGE_LMMD: which LMMD runs where."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from fdan_edge.errors import ConfigError, MissingDependencyError
from fdan_edge.models.ops import backend
from fdan_edge.models.ops.lmmd import lmmd, lmmd_reference
from tests.helpers.lmmd_problems import Recipe, problem

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets the variable, for which the process has not looked yet; the GPU is one that the op is compiled for."""
    monkeypatch.setattr(backend, "serves", lambda _device: True)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)

    def set_to(name: str) -> None:
        monkeypatch.setenv(backend.VARIABLE, name)
        backend.chosen.cache_clear()

    yield set_to
    backend.chosen.cache_clear()


@pytest.mark.parametrize(
    ("name", "device", "plain", "op"),
    [
        ("", CPU, True, "lmmd"),
        ("", GPU, True, "lmmd"),
        ("cuda", GPU, False, "lmmd"),
        ("cuda", CPU, True, "lmmd"),
        ("reference", CPU, True, ""),
        ("reference", GPU, False, ""),
        ("triton", GPU, True, "lmmd_triton"),
        ("triton", GPU, False, "lmmd"),  # soft labels and float64
        ("triton", CPU, True, "lmmd"),  # Triton compiles for GPUs
    ],
)
def test_which_op_serves(
    choose: Callable[[str], None], name: str, device: torch.device, plain: bool, op: str
) -> None:
    choose(name)
    assert backend.op_for(device, plain) == op


def test_where_nothing_is_compiled_the_reference_serves(
    choose: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "serves", lambda _device: False)
    for name in ("cuda", "triton"):
        choose(name)
        assert backend.op_for(CPU, True) == ""
    assert backend.op_for(GPU, True) == "lmmd_triton"


def test_a_wrong_value_is_one_line(choose: Callable[[str], None]) -> None:
    choose("tritn")
    with pytest.raises(ConfigError, match=r"^[^\n]*FDAN_EDGE_LMMD[^\n]*tritn[^\n]*cuda, triton, reference[^\n]*$"):
        lmmd(*inputs())


def test_triton_that_is_not_installed_is_one_line(
    choose: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    choose("triton")
    monkeypatch.setattr(backend, "find_spec", lambda _name: None)
    with pytest.raises(
        MissingDependencyError, match=r"^FDAN_EDGE_LMMD=triton needs triton, [^\n]*pip install triton$"
    ):
        backend.op_for(GPU, True)


def inputs() -> tuple[Any, ...]:
    p = problem(Recipe(5, 6, 4, 3))
    return p.z_visual.requires_grad_(), p.z_acoustic, p.y_visual, p.y_acoustic, 3


@pytest.mark.filterwarnings("error")
def test_the_reference_where_it_is_asked_for_is_no_reason_for_a_warning(choose: Callable[[str], None]) -> None:
    choose("reference")
    assert torch.equal(lmmd(*inputs()), lmmd_reference(*inputs()))


def test_importing_never_imports_triton() -> None:
    """Nor does a call that does not ask for it: torch alone takes long enough."""
    code = """
import sys, torch
before = "triton" in sys.modules
import fdan_edge.models.ops.lmmd as m
z, y = torch.eye(4), torch.tensor([0, 1, 0, 1])
m.lmmd(z, z + 1, y, y, 2)
assert not before and "triton" not in sys.modules
"""
    environment = {**os.environ, backend.VARIABLE: "triton"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-1000:]
