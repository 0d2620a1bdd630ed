"""What a TensorRT engine was made with and for, and whether that fits this machine. Imports no torch."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib
import json
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from typing import Any

from fdan_edge.runtime.deploy_targets import release

#: flavour -> module
MODULES = {"rtx": "tensorrt_rtx", "trt": "tensorrt"}
TITLES = {"rtx": "TensorRT for RTX", "trt": "TensorRT"}
#: What TensorRT for RTX builds for by default: one engine for Ampere, Ada, Blackwell and later.
PORTABLE = "8.0+"
# Of compute capability 8.0 and later these are data-centre and Jetson chips: TensorRT for RTX has no kernels for
# them (its ComputeCapability knows SM75, SM80, SM86, SM89, SM120 and SM121).
_NOT_RTX = ("8.7", "9.0", "10.0", "10.1", "10.3", "11.0")
# cuDeviceGetAttribute
_MAJOR, _MINOR = 75, 76
_CUDA_MAJORS = range(11, 20)  # that a package may be named after


@dataclass(frozen=True)
class Fingerprint:
    """What an engine was made with and for."""

    flavour: str  # rtx or trt
    version: str  # of TensorRT
    compute_capability: str  # of the GPU that runs it, as in 8.7; PORTABLE; "" where it is not known
    driver: str  # CUDA version of the driver that it was built under, as in 12.6; "": built without a GPU
    precision: str  # of the ONNX file
    onnx_sha256: str  # of the ONNX file
    system: str  # as in linux-aarch64

    def __post_init__(self) -> None:
        if self.flavour not in MODULES:
            raise ValueError(f"flavour {self.flavour!r} is none of {', '.join(MODULES)}")

    def digest(self) -> str:
        """Give 16 hexadecimal digits for file names; the same for all drivers, since engines outlive a new one."""
        values = {**asdict(self), "driver": ""}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Gpu:
    """The first NVIDIA GPU of this machine, as its driver tells."""

    compute_capability: str  # as in 8.7
    driver: str  # the CUDA version that the driver brings, as in 12.6
    memory: int  # bytes


@dataclass(frozen=True)
class Machine:
    """What an engine meets on this machine."""

    flavour: str
    version: str  # of the installed TensorRT; "" where it is not installed
    gpu: Gpu | None
    system: str
    cuda: str = ""  # that TensorRT is built with, as far as its package says it: 13


def misfit(engine: Fingerprint, machine: Machine) -> str | None:
    """Return one line that says why an engine cannot run here; None where it fits.

    The rules are NVIDIA's. Classic TensorRT (developer guide, Engine Compatibility): an engine runs with the
    exact version that built it, on the same platform and, unless asked for more, the same compute capability.
    TensorRT for RTX (developer guide, Engine Compatibility and CPU-Only AOT): engines are not compatible between
    releases either; they do run on both operating systems, by default from compute capability 8.0 on, and on 7.5
    where they were built for it.
    """
    title = TITLES[engine.flavour]
    if engine.flavour != machine.flavour:
        return f"is an engine of {title}, not of {TITLES[machine.flavour]}"
    if machine.gpu is None or lacks(machine):
        return lacks(machine)
    if release(engine.version) != release(machine.version):
        return f"was built by {title} {engine.version or '(unknown)'}, this is {machine.version}"
    if engine.flavour == "trt" and engine.system != machine.system:
        return f"was built on {engine.system or 'an unknown system'}, this is {machine.system}"
    return _wrong_gpu(engine, machine.gpu)


def lacks(machine: Machine) -> str | None:
    """Return one line that says what no engine of a flavour can do without here; None where it is all there."""
    if machine.gpu is None:
        return "needs an NVIDIA GPU and its driver, and finds none"
    if not machine.version:
        return f"needs {TITLES[machine.flavour]}, which is not installed"
    return needs_newer_driver(machine.cuda, machine.gpu.driver)


def needs_newer_driver(cuda: str, driver: str) -> str | None:
    """Return one line where a driver is too old for what was built with a version of CUDA, else None.

    NVIDIA (CUDA Compatibility, Minor Version Compatibility): a driver runs what was built with a toolkit of the
    same major version, or of an older one.

    Args:
        cuda: that something was built with, as in 13 or 13.0; "": not known.
        driver: the CUDA version that the driver brings.
    """
    if release(cuda)[:1] <= release(driver)[:1]:
        return None
    return f"needs a driver for CUDA {cuda}, this one is for CUDA {driver}"


def _wrong_gpu(engine: Fingerprint, gpu: Gpu) -> str | None:
    built, has = engine.compute_capability, gpu.compute_capability
    if engine.flavour == "rtx" and has in _NOT_RTX:
        return f"{TITLES['rtx']} does not run on compute capability {has}; use ONNX Runtime or classic TensorRT"
    if (release(has) >= (8, 0)) if built == PORTABLE else (built == has):
        return None
    wanted = "8.0 and later" if built == PORTABLE else built or "(unknown)"
    return f"was built for compute capability {wanted}, this GPU has {has}"


def this_machine(flavour: str) -> Machine:
    """Look at this machine as an engine of a flavour meets it; where there is a GPU, its module is imported."""
    gpu = find_gpu()
    version = ""
    if gpu and find_spec(MODULES[flavour]):
        try:
            version = str(importlib.import_module(MODULES[flavour]).__version__)
        except (ImportError, OSError, RuntimeError):  # installed, but its libraries do not load
            version = ""
    return Machine(flavour, version, gpu, system(), packaged_cuda(flavour) if version else "")


@cache
def packaged_cuda(flavour: str) -> str:
    """Return major version of the CUDA that TensorRT is built with, as in tensorrt-rtx-cu13; "" where not said."""
    for major in reversed(_CUDA_MAJORS):
        with contextlib.suppress(PackageNotFoundError):
            distribution(f"{MODULES[flavour]}-cu{major}")
            return str(major)
    return ""


def system() -> str:
    """Return operating system and processor, as in linux-x86_64."""
    return f"{platform.system()}-{platform.machine()}".lower()


@cache
def find_gpu() -> Gpu | None:
    """Return the first GPU that the driver shows; None without a driver or a GPU. Makes no CUDA context."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    return read_gpu(cuda)


def read_gpu(cuda: Any) -> Gpu | None:
    """Return the first GPU that a loaded CUDA driver library shows."""
    device, version = ctypes.c_int(), ctypes.c_int()
    major, minor, memory = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
    calls: tuple[Callable[[], int], ...] = (
        lambda: cuda.cuInit(0),
        lambda: cuda.cuDeviceGet(ctypes.byref(device), 0),  # fails where there is none
        lambda: cuda.cuDriverGetVersion(ctypes.byref(version)),
        lambda: cuda.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device),
        lambda: cuda.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device),
        lambda: cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device),
    )
    if any(call() != 0 for call in calls):
        return None
    driver = f"{version.value // 1000}.{version.value % 1000 // 10}"
    return Gpu(f"{major.value}.{minor.value}", driver, memory.value)
