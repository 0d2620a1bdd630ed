"""One thread at a time where TensorRT builds, loads and frees. Imports no torch.

TensorRT calls our logger and our progress bars while it has a lock of its own, and they need Python's. Who frees
an object of TensorRT has Python's lock and waits for TensorRT's: two threads would wait for each other for ever,
and so would one in which the garbage collector runs in a callback. So what is TensorRT's is freed at a known
place, never by the collector, and within `alone`.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import traceback
from collections.abc import Callable, Iterator

from fdan_edge.errors import FdanEdgeError

log = logging.getLogger(__name__)

_lock = threading.RLock()
_waiting: list[Callable[[], None]] = []


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Keep other threads from building, loading and freeing; what waits to be freed is freed first."""
    with _lock:
        while _waiting:
            try:
                _waiting.pop()()
            except FdanEdgeError as error:
                log.debug(f"could not be freed: {error}")
        yield


def later(free: Callable[[], None]) -> None:
    """Have `free` called by the next `alone`: for finalisers, which run anywhere."""
    _waiting.append(free)


@contextlib.contextmanager
def nothing_in_tracebacks() -> Iterator[None]:
    """Let an error of the block hold nothing of the functions that it came through: they are over.

    Else objects of TensorRT live as long as the error, and are freed by the collector where that is in a cycle.
    """
    try:
        yield
    except BaseException as error:
        before: BaseException | None = error
        while before:
            traceback.clear_frames(before.__traceback__)
            before = before.__context__
        raise
