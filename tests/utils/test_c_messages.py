"""Lines of C code: nothing on standard error, a message of level DEBUG each."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest

from fdan_edge.utils import c_messages

log = logging.getLogger("fdan_edge.tests")


def test_lines_become_messages(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "fdan_edge"):
        with c_messages.logged(log):
            os.write(2, "[W:onnxruntime] déjà\x1b[0m\nand %s\n".encode() + b"\xff")
            with c_messages.logged(log):
                os.write(2, b"inner\n")
        os.write(2, b"after\n")
    assert caplog.messages == ["inner", r"[W:onnxruntime] déjà\x1b[0m", "and %s", "\ufffd"]
    err = capfd.readouterr().err.splitlines()
    assert "after" in err


def test_nothing_is_shown_unasked(capfd: pytest.CaptureFixture[str]) -> None:
    with c_messages.logged(log):
        os.write(2, b"a warning\n")
    assert capfd.readouterr().err == ""


def test_an_error_within_goes_on_and_standard_error_is_back(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), c_messages.logged(log):
        raise KeyError
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_standard_error_may_be_closed() -> None:
    code = """
import logging, os
os.close(2)
from fdan_edge.utils import c_messages
with c_messages.logged(logging.getLogger("x")):
    print("ran")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "ran\n"
