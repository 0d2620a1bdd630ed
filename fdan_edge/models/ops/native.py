"""The compiled ops: whether this installation has them, and what PyTorch must know of them.

`fdan_edge._C` (sources in cuda/) registers `torch.ops.fdan_edge.lmmd` through torch's stable ABI, so one build
serves PyTorch 2.11 and later. Without it everything works on the PyTorch reference, slower.
"""

from __future__ import annotations

import importlib
import os
import warnings
from dataclasses import dataclass
from functools import cache

import torch

#: Compiles the ops in a checkout, for doctor and warnings.
BUILD = "pip install --no-build-isolation -e . in a checkout of fdan-edge"
BUILD_CUDA = f"FDAN_EDGE_CUDA=all {BUILD}"


@dataclass(frozen=True)
class NativeStatus:
    """What `fdan_edge._C` offers here."""

    cpu: bool
    cuda: bool  # compiled for CUDA, whether or not there is a GPU
    architectures: tuple[int, ...]  # of CUDA, such as 75 or 120
    detail: str  # why something is missing, or what is there


def native_status() -> NativeStatus:
    """Return what the compiled ops offer here; they were loaded when this module was imported."""
    return _STATUS


def _load() -> NativeStatus:
    """Load the compiled ops; with FDAN_EDGE_REQUIRE_NATIVE=1 in the environment it is an error to have none."""
    try:
        importlib.import_module("fdan_edge._C")
    except ImportError as error:
        if os.environ.get("FDAN_EDGE_REQUIRE_NATIVE", "0") not in ("", "0"):
            raise ImportError(f"FDAN_EDGE_REQUIRE_NATIVE is set, and {_why_not(error)}; {BUILD}") from error
        return NativeStatus(False, False, (), _why_not(error))
    _register()
    listed = torch.ops.fdan_edge.cuda_architectures.default()
    architectures = tuple(int(name) for name in listed.split(";") if name)
    level = ("16-byte vectors", "AVX2", "AVX-512")[torch.ops.fdan_edge.cpu_level.default(2)]
    where = "CUDA " + ", ".join(f"sm_{name}" for name in architectures) if architectures else "no CUDA"
    return NativeStatus(True, bool(architectures), architectures, f"CPU ({level}), {where}")


def _why_not(error: ImportError) -> str:
    if isinstance(error, ModuleNotFoundError):
        return "fdan_edge._C is not compiled"
    return f"fdan_edge._C cannot be loaded: {error}"


def serves(device: torch.device) -> bool:
    """Tell whether the compiled op runs on this device; where it does not, warn once and say why."""
    status = native_status()
    if device.type == "cpu" and status.cpu:
        return True
    if device.type == "cuda" and status.cuda:
        capability = torch.cuda.get_device_capability(device)
        if covers(capability, status.architectures):
            return True
        warn_once(f"compiled for {status.detail}, not for this GPU's sm_{capability[0]}{capability[1]}")
        return False
    if device.type in ("cpu", "cuda"):
        warn_once(status.detail if not status.cpu else f"compiled for {status.detail}; {BUILD_CUDA}")
    return False


# As torch.compiler.assume_constant_result marks it, which imports the compiler: two seconds at every start.
serves._dynamo_marked_constant = True  # type: ignore[attr-defined]


def covers(capability: tuple[int, int], architectures: tuple[int, ...]) -> bool:
    """Tell whether code for `architectures` runs on a GPU of this compute capability.

    The build keeps PTX of its oldest architecture, which runs on everything later.
    """
    return bool(architectures) and divmod(min(architectures), 10) <= capability


@cache
def warn_once(reason: str) -> None:
    """Warn that LMMD is slower, and why; once for each reason in a process."""
    warnings.warn(f"LMMD runs on its PyTorch reference, slower: {reason}", RuntimeWarning, stacklevel=5)


def _register() -> None:
    """Register the norms' shapes; derivatives are in `models.layers.norm`, all about LMMD in `derivatives`."""
    fake = torch.library.register_fake
    fake("fdan_edge::norm_moments", lambda x: x.new_empty((2, x.shape[1]), dtype=torch.float64))
    fake("fdan_edge::norm_apply", lambda x, *_: torch.empty_like(x))
    fake("fdan_edge::norm_slope_sums", lambda _dy, _x, moments, *_: torch.empty_like(moments))
    fake("fdan_edge::norm_slopes", lambda _dy, x, *_: torch.empty_like(x))
    fake(
        "fdan_edge::norm_forward",
        lambda x, *_: (torch.empty_like(x), x.new_empty((2, x.shape[1]), dtype=torch.float64)),
    )
    fake(
        "fdan_edge::norm_backward",
        lambda _dy, x, _m, w, b, *_: (torch.empty_like(x), torch.empty_like(w), torch.empty_like(b)),
    )


_STATUS = _load()
