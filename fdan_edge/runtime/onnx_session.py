"""ONNX Runtime, opened so that it sends nothing and leaves the terminal to us. Imports no torch.

Its own lines, about a GPU that it does not find or a core that it may not use, are for its developers. What its
import writes is logged with level DEBUG; what goes wrong later is in its exceptions too.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

from fdan_edge.errors import MissingDependencyError
from fdan_edge.utils import c_messages, telemetry

log = logging.getLogger(__name__)

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_FATAL = 4  # of its levels the one that it ends the process with
# CUDA rounds the factors of an fp32 convolution to 11 bits unless told not to: not what the export has checked.
_OPTIONS: dict[str, dict[str, str]] = {CUDA: {"use_tf32": "0"}}


def import_onnxruntime() -> Any:
    """Import ONNX Runtime, silent and without telemetry.

    Raises:
        MissingDependencyError: it is not installed.
    """
    telemetry.turn_off()
    try:
        with c_messages.logged(log) if "onnxruntime" not in sys.modules else contextlib.nullcontext():
            import onnxruntime
    except ImportError:
        command = "pip install onnxruntime (or onnxruntime-gpu for CUDA)"
        raise MissingDependencyError("onnxruntime", "running a model", command) from None
    _silence(onnxruntime)
    return onnxruntime


def open_session(model: str | bytes, providers: Sequence[str] = (CPU,), **options: Any) -> Any:
    """Open a model in ONNX Runtime.

    Args:
        model: an .onnx file or its content.
        providers: execution providers, the first one preferred. Where it cannot start, the CPU runs the model.
        options: attributes of `onnxruntime.SessionOptions`, such as intra_op_num_threads.

    Returns:
        An `onnxruntime.InferenceSession`.

    Raises:
        Exception: of a class of ONNX Runtime's own: the model is none, or does not run.
        MissingDependencyError: ONNX Runtime is not installed.
    """
    onnxruntime = import_onnxruntime()
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = _FATAL
    for name, value in options.items():
        setattr(settings, name, value)
    named = [(name, _OPTIONS.get(name, {})) for name in providers]
    try:
        # Its own way of falling back prints to standard output, which is kept for results.
        return onnxruntime.InferenceSession(model, settings, providers=named, enable_fallback=False)
    except (ValueError, RuntimeError):
        if tuple(providers) == (CPU,):
            raise
    return onnxruntime.InferenceSession(model, settings, providers=[(CPU, {})], enable_fallback=False)


@cache
def _silence(onnxruntime: Any) -> None:
    onnxruntime.set_default_logger_severity(_FATAL)
    if telemetry.is_too_late():
        onnxruntime.disable_telemetry_events()
        log.warning(
            f"ONNX Runtime was imported before fdan_edge, with its telemetry on: set {telemetry.VARIABLE}=1, or "
            "import fdan_edge first"
        )
