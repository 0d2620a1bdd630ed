"""The CUDA versions of what is installed, and whether they fit each other. Imports no torch of its own accord."""

from __future__ import annotations

import contextlib
import importlib
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

from fdan_edge.runtime.deploy_targets import release
from fdan_edge.runtime.tensorrt import compatibility

#: How to mend what does not fit.
REMEDY = "update NVIDIA's driver, or install packages for the CUDA that it has"


def fitting() -> str:
    """Name the CUDA versions of driver, PyTorch, TensorRT, pycuda and nvcc, as far as they are here.

    Raises:
        RuntimeError: two of them do not go together; one line.
    """
    gpu = compatibility.find_gpu()
    built = {name: version for name, look in _BUILT.items() if (version := look())}
    nvcc = _nvcc()
    for name, version in built.items() if gpu else ():
        if gpu and (reason := compatibility.needs_newer_driver(version, gpu.driver)):
            raise RuntimeError(f"{name} {reason}")
    torch = built.get("torch", "")
    if nvcc and torch and release(nvcc)[:1] != release(torch)[:1]:
        raise RuntimeError(f"nvcc {nvcc} compiles nothing for torch, which is built with CUDA {torch}")
    parts = {"driver": gpu.driver if gpu else "none", **built, **({"nvcc": nvcc} if nvcc else {})}
    return ", ".join(f"{name} {version}" for name, version in parts.items())


def _torch() -> str:
    with contextlib.suppress(ImportError, OSError):
        return importlib.import_module("torch").version.cuda or ""
    return ""


def _tensorrt(flavour: str) -> str:
    return compatibility.packaged_cuda(flavour) if find_spec(compatibility.MODULES[flavour]) else ""


def _pycuda() -> str:
    with contextlib.suppress(ImportError, OSError):  # it needs the driver's library
        return ".".join(str(part) for part in importlib.import_module("pycuda.driver").get_version()[:2])
    return ""


def _nvcc() -> str:
    command = shutil.which("nvcc")
    if not command:
        return ""
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=False, timeout=20)
    told = re.search(r"release (\d+\.\d+)", done.stdout)
    return told[1] if told else ""


_BUILT: dict[str, Callable[[], str]] = {
    "torch": _torch,
    "tensorrt_rtx": partial(_tensorrt, "rtx"),
    "tensorrt": partial(_tensorrt, "trt"),
    "pycuda": _pycuda,
}
