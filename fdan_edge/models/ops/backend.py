"""Which LMMD runs where: the compiled op, the Triton kernel, or the PyTorch reference."""

from __future__ import annotations

import importlib
import os
from functools import cache
from importlib.util import find_spec
from typing import Any, cast

import torch
from torch import Tensor

from fdan_edge.errors import ConfigError, MissingDependencyError, unknown_choice
from fdan_edge.models.ops.derivatives import register
from fdan_edge.models.ops.native import serves

#: Names the backend, in the environment; read once in a process.
VARIABLE = "FDAN_EDGE_LMMD"
BACKENDS = ("cuda", "triton", "reference")

_LIBRARY = torch.library.Library("fdan_edge", "FRAGMENT")  # type: ignore[no-untyped-call]
#: As in cuda/library.cpp.
_SCHEMA = (
    "(Tensor z_visual, Tensor z_acoustic, Tensor y_visual, Tensor y_acoustic, int num_classes, bool shared_only, "
    "int kernels, float ratio, bool gradient) -> (Tensor, Tensor)"
)


@cache
def chosen() -> str:
    """Return the backend that FDAN_EDGE_LMMD names; `cuda`, the compiled op, where it names none.

    Raises:
        ConfigError: an unknown one.
    """
    name = os.environ.get(VARIABLE) or BACKENDS[0]
    if name not in BACKENDS:
        raise ConfigError(unknown_choice(VARIABLE, name, BACKENDS))
    return name


def op_for(device: torch.device, plain: bool) -> str:
    """Return the name of the op that serves a call, "" for the reference.

    Args:
        device: of the features.
        plain: labels are indices and features are not float64, which is what the Triton kernel takes; what it does
            not take goes the way of `cuda`.

    Raises:
        ConfigError: FDAN_EDGE_LMMD has an unknown value.
        MissingDependencyError: it asks for Triton, which is not installed.
    """
    if chosen() == "reference":
        return ""
    if chosen() == "triton" and plain and _runs_triton(device):
        return "lmmd_triton"
    return "lmmd" if serves(device) else ""


# As torch.compiler.assume_constant_result marks it, which imports the compiler: two seconds at every start.
op_for._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _runs_triton(device: torch.device) -> bool:
    """Tell whether Triton has a way to this device: on a CPU only its interpreter does."""
    if device.type != "cuda" and not (device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"):
        return False
    if find_spec("triton") is None:
        raise MissingDependencyError("triton", f"{VARIABLE}=triton", "pip install triton")
    register_triton()
    return True


@cache
def register_triton() -> None:
    """Define the Triton kernel as an op of the schema of `lmmd`, for torch.compile, with its derivatives."""
    for name in ("lmmd_triton", "lmmd_triton_forward"):
        _LIBRARY.define(name + _SCHEMA)  # type: ignore[no-untyped-call]
        for key in ("CPU", "CUDA"):
            _LIBRARY.impl(name, _triton, key)  # type: ignore[no-untyped-call]
    register("lmmd_triton")


def _triton(*inputs: Any) -> tuple[Tensor, Tensor]:
    """Import Triton in the first call: that takes half a second."""
    module = importlib.import_module("fdan_edge.models.ops.lmmd_triton")
    return cast("tuple[Tensor, Tensor]", module.lmmd_triton(*inputs))
