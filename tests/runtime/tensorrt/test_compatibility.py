"""An engine runs where NVIDIA's rules let it, and a misfit says why in one line."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import fields, replace
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError
from types import ModuleType
from typing import Any

import pytest

from fdan_edge.runtime.deploy_targets import release
from fdan_edge.runtime.tensorrt import compatibility
from fdan_edge.runtime.tensorrt.compatibility import (
    PORTABLE,
    Fingerprint,
    Gpu,
    Machine,
    find_gpu,
    lacks,
    misfit,
    needs_newer_driver,
    packaged_cuda,
    read_gpu,
    this_machine,
)
from fdan_edge.runtime.typed_json import from_json, to_json

ORIN = Machine("trt", "10.3.0", Gpu("8.7", "12.6", 8 << 30), "linux-aarch64")
ADA = Machine("rtx", "1.7.1.116", Gpu("8.9", "13.0", 24 << 30), "linux-x86_64")
CLASSIC = Fingerprint("trt", "10.3.0", "8.7", "12.6", "fp16", "0" * 64, "linux-aarch64")
RTX = Fingerprint("rtx", "1.7.1.116", PORTABLE, "", "fp16", "0" * 64, "linux-x86_64")


def on(machine: Machine, capability: str) -> Machine:
    assert machine.gpu is not None
    return replace(machine, gpu=replace(machine.gpu, compute_capability=capability))


def test_fits() -> None:
    assert misfit(CLASSIC, ORIN) is None
    assert misfit(RTX, ADA) is None
    assert misfit(replace(CLASSIC, driver="13.2"), ORIN) is None
    assert misfit(replace(CLASSIC, version="10.3.0.30"), ORIN) is None  # a build of the same release


@pytest.mark.parametrize(
    ("engine", "machine", "reason"),
    [
        (CLASSIC, replace(ORIN, version="10.7.0"), "was built by TensorRT 10.3.0, this is 10.7.0"),
        (CLASSIC, replace(ORIN, version="10.3.1"), "was built by TensorRT 10.3.0, this is 10.3.1"),
        (CLASSIC, on(ORIN, "8.6"), "was built for compute capability 8.7, this GPU has 8.6"),
        (CLASSIC, replace(ORIN, system="linux-x86_64"), "was built on linux-aarch64, this is linux-x86_64"),
        (CLASSIC, replace(ORIN, gpu=None), "needs an NVIDIA GPU and its driver, and finds none"),
        (CLASSIC, replace(ORIN, version=""), "needs TensorRT, which is not installed"),
        (RTX, replace(ADA, cuda="14"), "needs a driver for CUDA 14, this one is for CUDA 13.0"),
        (CLASSIC, ADA, "is an engine of TensorRT, not of TensorRT for RTX"),
        (
            replace(CLASSIC, compute_capability=""),
            ORIN,
            "was built for compute capability (unknown), this GPU has 8.7",
        ),
        (replace(CLASSIC, version=""), ORIN, "was built by TensorRT (unknown), this is 10.3.0"),
        (RTX, replace(ADA, version="1.8.0.1"), "was built by TensorRT for RTX 1.7.1.116, this is 1.8.0.1"),
        (RTX, on(ADA, "7.5"), "was built for compute capability 8.0 and later, this GPU has 7.5"),
        (
            replace(RTX, compute_capability="7.5"),
            ADA,
            "was built for compute capability 7.5, this GPU has 8.9",
        ),
        (
            RTX,
            on(ADA, "9.0"),
            "TensorRT for RTX does not run on compute capability 9.0; use ONNX Runtime or classic TensorRT",
        ),
    ],
)
def test_misfits(engine: Fingerprint, machine: Machine, reason: str) -> None:
    assert misfit(engine, machine) == reason


@pytest.mark.parametrize("capability", ["8.0", "8.6", "8.9", "12.0", "12.1", "13.0"])
def test_a_portable_engine_runs_from_ampere_on_and_on_any_system(capability: str) -> None:
    assert misfit(RTX, on(replace(ADA, system="windows-amd64"), capability)) is None


def test_an_engine_for_turing_runs_there() -> None:
    assert misfit(replace(RTX, compute_capability="7.5"), on(ADA, "7.5")) is None


def test_written_and_read() -> None:
    assert from_json(Fingerprint, to_json(CLASSIC)) == CLASSIC


@pytest.mark.parametrize("name", [field.name for field in fields(Fingerprint)])
def test_damaged(name: str) -> None:
    values = to_json(CLASSIC)
    with pytest.raises(ValueError, match=f"{name} 5 is not text"):
        from_json(Fingerprint, {**values, name: 5})
    del values[name]
    with pytest.raises(ValueError, match=f"no '{name}'"):
        from_json(Fingerprint, values)


def test_unknown_flavour() -> None:
    with pytest.raises(ValueError, match="flavour 'x' is none of rtx, trt"):
        replace(CLASSIC, flavour="x")


def test_digests_differ_where_engines_do_and_not_with_the_driver() -> None:
    others = {field.name: "rtx" if field.name == "flavour" else "other" for field in fields(Fingerprint)}
    changed = [replace(CLASSIC, **{name: other}) for name, other in others.items()]
    digests = {field.name: made.digest() for field, made in zip(fields(Fingerprint), changed, strict=True)}
    assert digests.pop("driver") == CLASSIC.digest()
    assert len({CLASSIC.digest(), *digests.values()}) == len(fields(Fingerprint))
    assert all(len(digest) == 16 for digest in digests.values())


class Driver:
    """libcuda with one GPU, as in an Orin; the function of a name fails."""

    def __init__(self, failing: str = "") -> None:
        self.failing = failing

    def __getattr__(self, name: str) -> Any:
        values = {"cuDeviceGet": 0, "cuDriverGetVersion": 12060, "cuDeviceTotalMem_v2": 8 << 30}

        def function(*arguments: Any) -> int:
            if name == "cuDeviceGetAttribute":
                target, attribute, _device = arguments
                target._obj.value = {75: 8, 76: 7}[attribute]
            elif name in values:
                arguments[0]._obj.value = values[name]
            return 100 if name == self.failing else 0

        return function


def test_the_gpu_as_its_driver_tells() -> None:
    assert read_gpu(Driver()) == Gpu("8.7", "12.6", 8 << 30)


@pytest.mark.parametrize("name", ["cuInit", "cuDeviceGet", "cuDriverGetVersion", "cuDeviceTotalMem_v2"])
def test_a_driver_without_a_gpu(name: str) -> None:
    assert read_gpu(Driver(name)) is None


def test_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_name: str) -> None:
        raise OSError("libcuda.so.1: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    find_gpu.cache_clear()
    try:
        assert find_gpu() is None
        assert this_machine("trt").gpu is None
        assert lacks(this_machine("rtx")) == "needs an NVIDIA GPU and its driver, and finds none"
    finally:
        find_gpu.cache_clear()


def test_what_is_installed_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compatibility, "find_gpu", lambda: ORIN.gpu)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert lacks(this_machine("trt")) == "needs TensorRT, which is not installed"
    module: Any = ModuleType("tensorrt")
    module.__spec__, module.__version__ = ModuleSpec("tensorrt", None), "10.3.0"
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    found = this_machine("trt")
    assert (found.flavour, found.version, found.gpu) == ("trt", "10.3.0", ORIN.gpu)
    assert found.system == found.system.lower()
    assert lacks(found) is None


@pytest.mark.parametrize(
    ("cuda", "driver", "fits"),
    [
        ("13", "13.0", True),
        ("13.2", "13.0", True),  # of the same major version
        ("12", "13.0", True),
        ("", "12.6", True),  # as of JetPack's TensorRT
        ("13", "12.9", False),
        ("13.0", "12.9", False),
    ],
)
def test_a_driver_runs_what_was_built_with_its_cuda_or_an_older_one(cuda: str, driver: str, fits: bool) -> None:
    reason = needs_newer_driver(cuda, driver)
    assert reason == (None if fits else f"needs a driver for CUDA {cuda}, this one is for CUDA {driver}")


def test_the_cuda_in_a_packages_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(*names: str) -> None:
        def distribution(name: str) -> str:
            if name not in names:
                raise PackageNotFoundError(name)
            return name

        monkeypatch.setattr(compatibility, "distribution", distribution)
        packaged_cuda.cache_clear()

    try:
        installed("tensorrt-cu12", "tensorrt_rtx-cu13")
        assert (packaged_cuda("trt"), packaged_cuda("rtx")) == ("12", "13")
        installed("tensorrt")
        assert packaged_cuda("trt") == ""
    finally:
        packaged_cuda.cache_clear()


@pytest.mark.rtx
def test_the_installed_tensorrt_for_rtx_has_a_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compatibility, "find_gpu", lambda: ADA.gpu)
    found = this_machine("rtx")
    assert len(release(found.version)) == 3
    assert found.cuda.isdecimal()
    assert misfit(replace(RTX, version=found.version), found) is None
