"""CUDA graphs of a stream, by the CUDA driver's own functions. Imports no torch.

pycuda has no stream capture in its releases (2026.1 is the newest looked at), so these six functions are called
by ctypes, on the handle of pycuda's stream.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable
from typing import Any

# CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: what other threads do meanwhile is not forbidden.
_THREAD_LOCAL = 1


class CudaGraphError(RuntimeError):
    """The driver refused a step; one line."""


class CudaGraph:
    """Work of a stream, recorded once and launched as one. Free it by `close` while its context is current.

    Args:
        stream: the stream's handle, an address.
        work: puts the work on the stream; it must not wait for the GPU.
        driver: the CUDA driver library; None: as it is installed.

    Raises:
        CudaGraphError: the work cannot be captured; the stream is as before.
    """

    def __init__(self, stream: int, work: Callable[[], None], driver: Any = None) -> None:
        self._driver = driver or _driver()
        self._stream = ctypes.c_void_p(stream)
        self._launchable = ctypes.c_void_p()
        graph = self._record(work)
        try:
            self._call("cuGraphInstantiateWithFlags", ctypes.byref(self._launchable), graph, ctypes.c_ulonglong(0))
        finally:
            self._driver.cuGraphDestroy(graph)

    def launch(self) -> None:
        """Put the recorded work on the stream.

        Raises:
            CudaGraphError: the driver refused it.
        """
        self._call("cuGraphLaunch", self._launchable, self._stream)

    def close(self) -> None:
        """Free the graph."""
        if self._launchable.value:
            self._driver.cuGraphExecDestroy(self._launchable)
            self._launchable = ctypes.c_void_p()

    def _record(self, work: Callable[[], None]) -> ctypes.c_void_p:
        graph = ctypes.c_void_p()
        self._call("cuStreamBeginCapture_v2", self._stream, _THREAD_LOCAL)
        try:
            work()
        except BaseException:
            # Without an end, everything later on this stream fails.
            self._driver.cuStreamEndCapture(self._stream, ctypes.byref(graph))
            if graph.value:
                self._driver.cuGraphDestroy(graph)
            raise
        self._call("cuStreamEndCapture", self._stream, ctypes.byref(graph))
        return graph

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._driver, name)(*arguments)
        if code:
            raise CudaGraphError(f"{name}: {_reason(self._driver, code)}")


def _driver() -> Any:
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise CudaGraphError(f"no CUDA driver: {error}") from None


def _reason(driver: Any, code: int) -> str:
    text = ctypes.c_char_p()
    with contextlib.suppress(AttributeError):
        driver.cuGetErrorString(code, ctypes.byref(text))
    return text.value.decode() if text.value else f"error {code}"
