"""The first GPU's primary context, by pycuda: retained once, current while it is used. Imports no torch."""

from __future__ import annotations

import contextlib
import importlib
import threading
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

from fdan_edge.errors import MissingDependencyError

INSTALL_PYCUDA = "pip install pycuda (it is compiled: CUDA's headers and a C++ compiler must be there)"
# CU_STREAM_NON_BLOCKING: a launch on the default stream, such as PyTorch's in another thread, does not wait for
# this stream. Of a blocking one it would end a recording, and fail itself.
NON_BLOCKING = 1

_lock = threading.Lock()
_retained: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()  # by pycuda's module


def import_pycuda() -> Any:
    """Import pycuda's driver module.

    Raises:
        MissingDependencyError: it is not installed, or finds no CUDA driver.
    """
    try:
        return importlib.import_module("pycuda.driver")
    except ImportError:
        raise MissingDependencyError("pycuda", "TensorRT", INSTALL_PYCUDA) from None


def primary_context(cuda: Any) -> Any:
    """Return the first GPU's primary context, which TensorRT and PyTorch use too, without making it current.

    It is given back at the end of the process only. pycuda's `detach` (`context` in its cuda.hpp) does nothing on
    another thread than that which took it, and leaves the device current on that one.

    Args:
        cuda: pycuda's driver module.

    Raises:
        cuda.Error: there is no GPU.
    """
    with _lock:
        if cuda not in _retained:
            cuda.init()
            _retained[cuda] = cuda.Device(0).retain_primary_context()
        return _retained[cuda]


@contextlib.contextmanager
def current(context: Any) -> Iterator[None]:
    """Make a context current on this thread, and what was current before afterwards."""
    context.push()
    try:
        yield
    finally:
        context.pop()
