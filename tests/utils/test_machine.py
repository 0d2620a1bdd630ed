"""What is written down of the machine."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy
import pytest

from fdan_edge.utils.machine import busy_warning, instructions, machine_info, machine_line, processor


def test_where_figures_come_from() -> None:
    values = machine_info()
    assert {"processor", "cores", "instructions", "system", "python", "versions", "load"} <= set(values)
    assert values["cores"] == len(os.sched_getaffinity(0))
    assert values["processor"]
    assert values["versions"]["numpy"] == numpy.__version__
    assert values["processor"] in machine_line(values)
    assert json.loads(json.dumps(values)) == values


X86 = "model name\t: A\nflags\t\t: fpu avx2 avx512f avx512_vnni fma\n"
ARM = "processor\t: 0\nBogoMIPS\t: 62.50\nFeatures\t: fp asimd evtstrm aes asimdhp asimddp\nCPU part\t: 0xd42\n"


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def test_instructions_of_x86_and_arm(tmp_path: Path) -> None:
    write(tmp_path, "proc/cpuinfo", X86)
    assert instructions(tmp_path) == ["avx2", "fma", "avx512f", "avx512_vnni"]
    assert processor(tmp_path) == "A"
    write(tmp_path, "proc/cpuinfo", ARM)
    assert instructions(tmp_path) == ["asimd", "asimdhp", "asimddp"]


def test_what_cannot_be_read_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fdan_edge.utils.gpu.describe", list)
    assert not {"governor", "max_mhz", "board", "gpus"} & set(machine_info(tmp_path))


def test_a_jetson(tmp_path: Path) -> None:
    write(tmp_path, "proc/device-tree/model", "NVIDIA Jetson\0")
    write(tmp_path, "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n")
    write(tmp_path, "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "1510400\n")
    values = machine_info(tmp_path)
    assert (values["board"], values["max_mhz"], values["governor"]) == ("NVIDIA Jetson", 1510, "performance")
    assert machine_line(values).startswith("NVIDIA Jetson, ")


def test_a_busy_machine_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (0.2, 0, 0))
    assert busy_warning() == ""
    monkeypatch.setattr(os, "getloadavg", lambda: (1.7, 0, 0))
    assert busy_warning().startswith("this machine is busy (load 1.7 on ")
