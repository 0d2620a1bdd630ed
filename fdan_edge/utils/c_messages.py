"""What C and C++ libraries write on standard error becomes messages of level DEBUG."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Iterator
from typing import IO

from fdan_edge.errors import printable

_STDERR = 2
_lock = threading.RLock()  # a process has one standard error


@contextlib.contextmanager
def logged(log: logging.Logger) -> Iterator[None]:
    """Log what is written to file descriptor 2 while the block runs, a line each, when it has ended.

    That is whatever any thread writes there, so the block should be short. Only one thread at a time is in such a
    block.
    """
    with _lock, contextlib.ExitStack() as stack:
        try:
            kept = os.dup(_STDERR)
        except OSError:  # it is closed: nothing is shown anyway
            yield
            return
        stack.callback(os.close, kept)
        written = stack.enter_context(os.fdopen(os.memfd_create("stderr"), "w+b"))
        if sys.stderr:
            sys.stderr.flush()
        os.dup2(written.fileno(), _STDERR)
        try:
            yield
        finally:
            os.dup2(kept, _STDERR)
            _log_lines(log, written)


def _log_lines(log: logging.Logger, written: IO[bytes]) -> None:
    written.seek(0)
    for line in written.read().decode(errors="replace").splitlines():
        log.debug("%s", printable(line))
