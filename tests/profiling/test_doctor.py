"""The doctor finds things by trying them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fdan_edge.errors import INSTALL_TRAINING, INSTALL_VIDEO
from fdan_edge.profiling.doctor import Finding, examine


def found(ability: str) -> Finding:
    """The finding about one ability."""
    return {finding.ability: finding for finding in examine()}[ability]


def test_what_is_installed_works() -> None:
    abilities = ("read sound files", "read videos", "find faces in videos", "run models on the CPU", "train")
    for ability in (*abilities, "LMMD in training", "export to ONNX"):
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
        ("av", "read videos", INSTALL_VIDEO),
        ("cv2", "find faces in videos", INSTALL_TRAINING),
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


LMMD = "LMMD in training"


def test_the_compiled_lmmd_is_found() -> None:
    from fdan_edge.models.ops.native import native_status

    assert found(LMMD) == Finding(LMMD, True, f"compiled for {native_status().detail}")
    assert found(LMMD).detail.startswith("compiled for CPU (")


@pytest.mark.parametrize(
    "why", ["fdan_edge._C is not compiled", "fdan_edge._C cannot be loaded: _C.abi3.so: undefined symbol: x"]
)
def test_an_lmmd_that_is_not_compiled_works_and_says_why(monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    from fdan_edge.models.ops import native

    monkeypatch.setattr(native, "native_status", lambda: native.NativeStatus(False, False, (), why))
    assert found(LMMD) == Finding(LMMD, True, f"PyTorch reference, slower: {why}; {native.BUILD}")


@pytest.mark.parametrize(
    ("architectures", "capability", "slower"),
    [((), (8, 6), True), ((86, 90), (8, 6), False), ((75,), (12, 0), False), ((86, 90), (7, 5), True)],
)
def test_an_lmmd_that_is_compiled_for_other_gpus(
    monkeypatch: pytest.MonkeyPatch,
    architectures: tuple[int, ...],
    capability: tuple[int, int],
    slower: bool,
) -> None:
    import torch

    from fdan_edge.models.ops import native

    status = native.NativeStatus(True, bool(architectures), architectures, "CPU, CUDA")
    monkeypatch.setattr(native, "native_status", lambda: status)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    expected = f"; on this GPU slower: {native.BUILD_CUDA}" if slower else ""
    assert found(LMMD) == Finding(LMMD, True, f"compiled for CPU, CUDA{expected}")


@pytest.mark.parametrize(
    ("name", "works", "detail"),
    [
        ("triton", True, "Triton on a GPU, as FDAN_EDGE_LMMD says"),
        ("reference", True, "PyTorch reference, slower, as FDAN_EDGE_LMMD says"),
        ("cdua", False, "cuda, triton, reference"),
    ],
)
def test_the_lmmd_that_the_environment_names(
    monkeypatch: pytest.MonkeyPatch, name: str, works: bool, detail: str
) -> None:
    from fdan_edge.models.ops import backend

    monkeypatch.setattr(backend, "chosen", backend.chosen.__wrapped__)
    monkeypatch.setenv(backend.VARIABLE, name)
    assert found(LMMD).works is works
    assert detail in found(LMMD).detail


def test_lmmd_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("fdan_edge.models.ops.native", "torch"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    finding = found(LMMD)
    assert (finding.works, finding.remedy) == (False, INSTALL_TRAINING)
    assert "torch" in finding.detail


def test_importing_it_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'numpy', 'onnxruntime', 'librosa'}"
    code = f"import sys, fdan_edge.profiling.doctor; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
