"""ONNX Runtime, opened so that it sends nothing and leaves the terminal to us. Imports no torch.

Its own lines, about a GPU that it does not find or a core that it may not use, are for its developers. What its
import writes is logged with level DEBUG; what goes wrong later is in its exceptions too.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

from fdan_edge.errors import MissingDependencyError, one_line
from fdan_edge.utils import c_messages, telemetry

log = logging.getLogger(__name__)

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_FATAL = 4  # of its levels the one that it ends the process with
# CUDA rounds the factors of an fp32 convolution to 11 bits unless told not to: not what the export has checked.
_OPTIONS: dict[str, dict[str, str]] = {CUDA: {"use_tf32": "0"}}
#: Bytes that what models compute may take on the CPU; 16 windows of any network of this project take less.
MOST_MEMORY = 768 << 20
_LIMITS = {CUDA: {"gpu_mem_limit": str(4 << 30)}}  # with weights, and what cuDNN tries out
_MEMORY = re.compile("Available memory of|[Ff]ailed to allocate|bad.?alloc|out of memory", re.IGNORECASE)


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


def open_session(
    model: str | bytes,
    providers: Sequence[str] = (CPU,),
    *,
    limited: bool = False,
    folded: bool = True,
    **options: Any,
) -> Any:
    """Open a model in ONNX Runtime.

    Args:
        model: an .onnx file or its content.
        providers: execution providers, the first one preferred. Where it cannot start, the CPU runs the model.
        limited: what all such sessions compute shares MOST_MEMORY; their weights are not counted.
        folded: what depends on constants alone is computed here, without a limit, not in each run.
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
    if limited:
        _limit_memory(onnxruntime)
        settings.add_session_config_entry("session.use_env_allocators", "1")
    named = [(name, _OPTIONS.get(name, {}) | (_LIMITS.get(name, {}) if limited else {})) for name in providers]
    rules = {"enable_fallback": False, "disabled_optimizers": [] if folded else ["ConstantFolding"]}
    try:
        # Its own way of falling back prints to standard output, which is kept for results.
        session = onnxruntime.InferenceSession(model, settings, providers=named, **rules)
    except (ValueError, RuntimeError) as error:
        if tuple(providers) == (CPU,):
            raise
        reason = one_line(error)
        session = onnxruntime.InferenceSession(model, settings, providers=[(CPU, {})], **rules)
        log.debug(f"ONNX Runtime could not start {providers[0]}: {reason}")
    with contextlib.suppress(AttributeError):
        session._model_bytes = None  # it would keep the file in memory for a fallback that is off
    return session


def run_options() -> Any:
    """Return options of one run, whose lines stay off the terminal too."""
    options = import_onnxruntime().RunOptions()
    options.log_severity_level = _FATAL
    return options


def is_memory_error(error: BaseException) -> bool:
    """Tell whether ONNX Runtime says that memory is out, or that MOST_MEMORY is."""
    return isinstance(error, MemoryError) or bool(_MEMORY.search(str(error)))


@cache
def _limit_memory(onnxruntime: Any) -> None:
    """Give this process's sessions on the CPU one arena of a limited size; weights are not kept in it."""
    kind = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    memory = onnxruntime.OrtMemoryInfo("Cpu", kind, 0, onnxruntime.OrtMemType.DEFAULT)
    with contextlib.suppress(RuntimeError, ValueError):  # the program that imports us has one already
        onnxruntime.create_and_register_allocator(memory, onnxruntime.OrtArenaCfg({"max_mem": MOST_MEMORY}))


@cache
def _silence(onnxruntime: Any) -> None:
    onnxruntime.set_default_logger_severity(_FATAL)
    if telemetry.is_too_late():
        onnxruntime.disable_telemetry_events()
        log.warning(
            f"ONNX Runtime was imported before fdan_edge, with its telemetry on: set {telemetry.VARIABLE}=1, or "
            "import fdan_edge first"
        )
