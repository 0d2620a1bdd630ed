"""Sessions of ONNX Runtime: opened in one place, and none of its lines on the terminal."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fdan_edge.runtime.onnx_session import CPU, CUDA, import_onnxruntime, open_session
from tests.helpers.tiny_models import model
from tests.test_layers import ROOT, sources

OPENER = "fdan_edge.runtime.onnx_session"


def imports_onnxruntime(file: Path) -> bool:
    """Whether code imports it, or makes a session of its own."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            if ast.unparse(node.func).endswith(("import_module", "__import__", "_module", "importorskip")):
                names.add(str(node.args[0].value).split(".")[0])
        elif isinstance(node, ast.Attribute) and node.attr in ("InferenceSession", "SessionOptions"):
            names.add("onnxruntime")
    return "onnxruntime" in names


def test_one_module_imports_it() -> None:
    """So no path can forget its telemetry, or its lines on the terminal."""
    assert {name for name, file in sources().items() if imports_onnxruntime(file)} == {OPENER}


def test_that_module_is_told_from_others(tmp_path: Path) -> None:
    for line in (
        "import onnxruntime.quantization as q",
        "from onnxruntime import x",
        "import_module('onnxruntime')",
    ):
        (tmp_path / "m.py").write_text(line)
        assert imports_onnxruntime(tmp_path / "m.py")
    (tmp_path / "m.py").write_text("import onnx")
    assert not imports_onnxruntime(tmp_path / "m.py")


def test_every_script_imports_the_package_first() -> None:
    """Programs beside the package turn telemetry off by importing any part of it."""
    for file in (ROOT / "benchmarks").glob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert "onnxruntime." not in text or "fdan_edge" in text, file


def test_errors_are_raised_and_not_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    session = open_session(os.fspath(model(tmp_path / "m.onnx")))
    with pytest.raises(Exception, match="INVALID_ARGUMENT"):
        session.run(None, {"waveform": np.zeros((1, 2, 3), np.float32)})
    with pytest.raises(Exception, match="INVALID_PROTOBUF"):
        open_session(b"no model")
    written = capfd.readouterr()
    assert (written.out, written.err) == ("", "")


def test_sessions_of_others_are_silent_too(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Packages open sessions without options, whose severity is that of the default logger."""
    session = import_onnxruntime().InferenceSession(model(tmp_path / "m.onnx"), providers=[CPU])
    with pytest.raises(Exception, match="INVALID_ARGUMENT"):
        session.run(None, {"waveform": np.zeros((1, 2, 3), np.float32)})
    assert capfd.readouterr().err == ""


def test_a_provider_that_does_not_start_gives_way_to_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """ONNX Runtime's own fallback prints a box with "EP Error" to standard output; who opens a bundle says why."""
    onnxruntime = import_onnxruntime()
    create = onnxruntime.InferenceSession._create_inference_session

    def failing(self: Any, providers: Any, *rest: Any) -> None:
        if providers and providers[0][0] == CUDA:
            raise RuntimeError("CUDA failure 35")
        create(self, providers, *rest)

    monkeypatch.setattr(onnxruntime.InferenceSession, "_create_inference_session", failing)
    session = open_session(os.fspath(model(tmp_path / "m.onnx")), (CUDA, CPU))
    assert session.get_providers() == [CPU]
    assert capfd.readouterr() == ("", "")


def test_options_are_those_of_the_session(tmp_path: Path) -> None:
    session = open_session(os.fspath(model(tmp_path / "m.onnx")), intra_op_num_threads=3)
    options = session.get_session_options()
    assert (options.intra_op_num_threads, options.log_severity_level) == (3, 4)
