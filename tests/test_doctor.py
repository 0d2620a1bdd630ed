"""The doctor finds things by trying them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fdan_edge.doctor import Finding, examine
from fdan_edge.errors import INSTALL_TRAINING


def found(ability: str) -> Finding:
    """The finding about one ability."""
    return {finding.ability: finding for finding in examine()}[ability]


def test_what_is_installed_works() -> None:
    for ability in ("read sound files", "run models on the CPU", "train", "LMMD in training", "export to ONNX"):
        assert found(ability).works, found(ability)
    import torch

    assert torch.__version__ in found("train").detail


def test_every_missing_part_has_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("onnxruntime", "torch", "onnx", "tensorrt_rtx", "tensorrt"):
        monkeypatch.setitem(sys.modules, package, None)
    missing = [finding for finding in examine() if not finding.works]
    assert len(missing) >= 6
    for finding in missing:
        assert finding.remedy
        assert finding.detail


@pytest.mark.parametrize(
    ("package", "ability", "remedy"),
    [
        ("torch", "train", INSTALL_TRAINING),
        ("torchvision", "train", INSTALL_TRAINING),
        ("onnxruntime", "run models on the CPU", "pip install onnxruntime"),
        ("soxr", "read sound files", "pip install soundfile soxr"),
        ("tensorrt_rtx", "TensorRT for RTX", "pip install tensorrt-rtx-cu13"),
    ],
)
def test_missing_package(monkeypatch: pytest.MonkeyPatch, package: str, ability: str, remedy: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    finding = found(ability)
    assert (finding.works, finding.remedy) == (False, remedy)
    assert package in finding.detail


def test_onnxruntime_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert "without CUDA" in found("run models with CUDA").detail
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    assert found("run models with CUDA").works


@pytest.mark.parametrize(
    ("script", "works", "detail"),
    [
        ("echo 'NVIDIA Orin, 540.1, 8 GiB'", True, "NVIDIA Orin, 540.1, 8 GiB"),
        ("echo 'one, 1, 8 GiB'; echo 'two, 1, 8 GiB'", True, "one, 1, 8 GiB; two, 1, 8 GiB"),
        ("echo 'Driver/library version mismatch'; exit 9", False, "nvidia-smi failed: Driver/library version"),
    ],
)
def test_nvidia_smi(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, works: bool, detail: str
) -> None:
    command = tmp_path / "nvidia-smi"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert found("NVIDIA GPU").works is works
    assert detail in found("NVIDIA GPU").detail


def test_no_nvidia_smi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert found("NVIDIA GPU") == Finding(
        "NVIDIA GPU", False, "nvidia-smi is not installed", "only CUDA's and TensorRT's runtimes need one"
    )


def test_importing_it_loads_nothing_heavy() -> None:
    code = "import sys, fdan_edge.doctor; print({'torch', 'numpy', 'onnxruntime', 'librosa'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
