"""ONNX Runtime is told to report nothing, whoever imports what first."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import fdan_edge  # noqa: F401 -- sets the variable
from fdan_edge.utils import telemetry


def printed(code: str, **environment: str) -> list[str]:
    own = {name: value for name, value in os.environ.items() if name != telemetry.VARIABLE} | environment
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=own)
    return done.stdout.splitlines()


def test_importing_any_part_of_the_package_turns_it_off() -> None:
    code = "import os, fdan_edge.utils.files; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    assert printed(code) == ["1"]


@pytest.mark.parametrize("value", ["0", "", "no"])  # with all of them ONNX Runtime 1.31 reports
def test_no_other_value_leaves_it_on(value: str) -> None:
    code = "import os, fdan_edge; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    assert printed(code, **{telemetry.VARIABLE: value}) == ["1"]


def test_processes_that_are_started_inherit_it() -> None:
    child = "import os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    code = f"import fdan_edge, subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    assert printed(code) == ["1"]


#: Stands for ONNX Runtime, which would start its telemetry.
_FIRST = """
import sys, types
first = sys.modules["onnxruntime"] = types.ModuleType("onnxruntime")
first.set_default_logger_severity = print
first.disable_telemetry_events = lambda: print("disabled")
from fdan_edge.runtime.onnx_session import import_onnxruntime
from fdan_edge.utils import telemetry
import logging; logging.basicConfig(stream=sys.stdout, format="%(message)s")
import_onnxruntime(), import_onnxruntime()
print(telemetry.is_too_late())
"""


def test_a_program_that_came_first_is_told_once() -> None:
    severity, disabled, line, late = printed(_FIRST)
    assert (severity, disabled, late) == ("4", "disabled", "True")
    assert line.startswith("ONNX Runtime was imported before fdan_edge, with its telemetry on: set ORT_DIS")
    assert printed(_FIRST, **{telemetry.VARIABLE: "1"}) == ["4", "False"]
