"""What is written down of the machine."""

from __future__ import annotations

import json
import os

import numpy
import pytest

from fdan_edge.utils import machine as module
from fdan_edge.utils.machine import busy_warning, instructions, machine_info, machine_line


def test_where_figures_come_from() -> None:
    values = machine_info()
    assert {"processor", "cores", "instructions", "system", "python", "versions", "load"} <= set(values)
    assert values["cores"] == len(os.sched_getaffinity(0))
    assert values["processor"]
    assert values["versions"]["numpy"] == numpy.__version__
    assert values["processor"] in machine_line(values)
    assert json.loads(json.dumps(values)) == values


ARM = "processor\t: 0\nBogoMIPS\t: 62.50\nFeatures\t: fp asimd evtstrm aes asimdhp asimddp\nCPU part\t: 0xd42\n"


def test_instructions_of_x86_and_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        module, "_read", lambda _: "model name\t: A\nflags\t\t: fpu avx2 avx512f avx512_vnni fma\n"
    )
    assert instructions() == ["avx2", "fma", "avx512f", "avx512_vnni"]
    assert module.processor() == "A"
    monkeypatch.setattr(module, "_read", lambda _: ARM)
    assert instructions() == ["asimd", "asimdhp", "asimddp"]


def test_what_cannot_be_read_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_read", lambda _: "")
    monkeypatch.setattr("fdan_edge.utils.gpu.describe", list)
    assert not {"governor", "max_mhz", "board", "gpus"} & set(machine_info())


def test_a_jetson(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_read", lambda p: "NVIDIA Jetson\0" if p.name == "model" else "1510400")
    values = machine_info()
    assert (values["board"], values["max_mhz"]) == ("NVIDIA Jetson", 1510)
    assert machine_line(values).startswith("NVIDIA Jetson, ")


def test_a_busy_machine_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (0.2, 0, 0))
    assert busy_warning() == ""
    monkeypatch.setattr(os, "getloadavg", lambda: (1.7, 0, 0))
    assert busy_warning().startswith("this machine is busy (load 1.7 on ")
