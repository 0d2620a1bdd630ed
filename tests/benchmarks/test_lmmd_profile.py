"""benchmarks/lmmd_profile.py: what Nsight Compute prints, read, and held against two ceilings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from fdan_edge.errors import FdanEdgeError

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import lmmd_profile as script

#: In the layout of `ncu --csv --page raw`; the numbers are made up.
SAID = """a line of the program
==PROF== Connected to process 7 (/usr/bin/python3)
"ID","Kernel Name","Block Size","dram__bytes.sum","gpu__time_duration.sum","launch__registers_per_thread","SASS"
"","","","Kbyte","us","register/thread",""
"0","Begin(Job<float>)","(256, 1, 1)","1,024.5","2.50","40","x"
"1","void Tiles<0, 5>(Job<float>, int)","(256, 1, 1)","n/a","10.00","128","x"
==PROF== Disconnected from process 7
"""


def test_a_report_is_read_in_seconds_and_bytes() -> None:
    first, second = script.kernels_of(SAID)
    assert first["kernel"] == "Begin(Job<float>)"
    assert first["seconds"] == pytest.approx(2.5e-6)
    assert (first["dram_bytes"], first["registers"]) == (pytest.approx(1_024_500), 40)
    assert second["dram_bytes"] is None
    assert second["multiply_adds"] is None  # not among the columns
    assert script.kernels_of("==ERROR== no permission\n") == []
    assert script.kernels_of('"ID","Kernel Name"\n') == []


def kernel(seconds: float | None, dram: float | None, adds: float | None) -> dict[str, Any]:
    return {"kernel": "k", "seconds": seconds, "dram_bytes": dram, "multiply_adds": adds}


def test_the_floor_is_the_longer_of_two() -> None:
    memory, compute, unknown = script.against(
        [kernel(4e-6, 2e6, 1e6), kernel(10e-6, 1e6, 8e7), kernel(None, None, None)], copy=1e12, product=2e13
    )
    assert (memory["bound"], memory["floor"], memory["of_floor"]) == (
        "memory",
        pytest.approx(2e-6),
        pytest.approx(0.5),
    )
    assert (compute["bound"], compute["of_floor"]) == ("compute", pytest.approx(0.8))
    assert unknown["of_floor"] is None


def run(returncode: int, said: str, complaint: str = "") -> Any:
    return lambda *_, **__: subprocess.CompletedProcess([], returncode, said, complaint)


def test_every_size_has_kernels_or_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    monkeypatch.setattr(script, "find_ncu", lambda: "ncu")
    monkeypatch.setattr(script, "ceilings", lambda: (1e12, 1e13))
    codes: list[str] = []

    def started(command: list[str], **_: Any) -> Any:
        if command[0] != "ncu":  # what describes the machine
            return run(0, "")()
        codes.append(command[-1])
        refused = "7, 9" in command[-1]
        return run(1, "", "==ERROR== ERR_NVGPUCTRPERM\n")() if refused else run(0, SAID)()

    monkeypatch.setattr(subprocess, "run", started)
    out = tmp_path / "profile.json"
    assert script.main(["--sizes", "32+32", "7+9", "--dtype", "bfloat16", "--out", str(out)]) == 0
    assert all("torch.bfloat16" in code for code in codes)
    made = json.loads(out.read_text())["sizes"]
    assert [k["kernel"][:5] for k in made["32+32"]["kernels"]] == ["Begin", "void "]
    assert made["7+9"] == {"error": "ncu gave nothing: ==ERROR== ERR_NVGPUCTRPERM"}
    assert "ERR_NVGPUCTRPERM" in capsys.readouterr().out
    assert script.main(["--sizes", "7+9"]) == 1  # nothing was measured


def test_a_program_that_fails_under_ncu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", run(1, SAID, "RuntimeError: no kernel image\n"))
    with pytest.raises(FdanEdgeError, match="RuntimeError: no kernel image"):
        script.profiled("ncu", "3+4", "float32")


def test_the_profiled_program_is_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run here on the CPU, the profiler's marks standing for nothing."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    calls: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: calls.append("wait"))
    monkeypatch.setattr(torch.cuda.profiler, "start", lambda: calls.append("start"))
    monkeypatch.setattr(torch.cuda.profiler, "stop", lambda: calls.append("stop"))
    code = script.CALL.format(
        folder=str(Path(script.__file__).parent), faces=5, voices=6, dtype="float32"
    ).replace('"cuda"', '"cpu"')
    exec(compile(code, "call", "exec"), {})
    assert calls == ["wait", "start", "wait", "stop"]
