"""Whether the CUDA versions of what is installed fit each other."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from fdan_edge.profiling import cuda_versions
from fdan_edge.profiling.doctor import Finding, examine
from fdan_edge.runtime.tensorrt import compatibility
from fdan_edge.runtime.tensorrt.compatibility import Gpu


@pytest.fixture
def has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine of CUDA 12 in all parts."""
    monkeypatch.setattr(compatibility, "find_gpu", lambda: Gpu("8.7", "12.6", 8 << 30))
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(version=SimpleNamespace(cuda="12.8")))
    monkeypatch.setitem(sys.modules, "pycuda.driver", SimpleNamespace(get_version=lambda: (12, 6, 0)))
    monkeypatch.setattr(cuda_versions, "find_spec", lambda name: name == "tensorrt")
    monkeypatch.setattr(compatibility, "packaged_cuda", lambda _flavour: "12")
    (tmp_path / "nvcc").write_text("#!/bin/sh\necho 'Cuda compilation tools, release 12.6, V12.6.68'\n")
    (tmp_path / "nvcc").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("has")
def test_all_are_named() -> None:
    assert cuda_versions.fitting() == "driver 12.6, torch 12.8, tensorrt 12, pycuda 12.6, nvcc 12.6"


@pytest.mark.usefixtures("has")
def test_a_driver_that_is_too_old_for_one_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "needs a driver for CUDA 13.0, this one is for CUDA 12.6"
    monkeypatch.setitem(sys.modules, "pycuda.driver", SimpleNamespace(get_version=lambda: (13, 0, 0)))
    with pytest.raises(RuntimeError, match=f"^pycuda {line}$"):
        cuda_versions.fitting()
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(version=SimpleNamespace(cuda="13.0")))
    with pytest.raises(RuntimeError, match=f"^torch {line}$"):
        cuda_versions.fitting()


@pytest.mark.usefixtures("has")
def test_a_compiler_of_another_cuda_than_pytorchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compatibility, "find_gpu", lambda: None)  # it compiles without a GPU
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(version=SimpleNamespace(cuda="13.0")))
    with pytest.raises(RuntimeError, match=r"^nvcc 12\.6 compiles nothing for torch, .* with CUDA 13\.0$"):
        cuda_versions.fitting()


def test_a_machine_without_any(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("torch", "pycuda.driver", "tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(compatibility, "find_gpu", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cuda_versions.fitting() == "driver none"


def test_the_doctor_says_it_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> str:
        raise RuntimeError("torch needs a driver")

    monkeypatch.setattr(cuda_versions, "fitting", fails)
    assert Finding("CUDA versions fit", False, "torch needs a driver", cuda_versions.REMEDY) in examine()
