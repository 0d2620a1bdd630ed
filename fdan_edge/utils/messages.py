"""Messages for people, through `logging`: silent in a library, a line each on standard error in the command line.

Modules write them with `log = logging.getLogger(__name__)`: `log.info` for what goes as planned, `log.warning` for
what is left out, lost or slower than it could be. `log.debug` is for what --verbose shows: lines that would be the
same at every call, and what libraries say for their own developers.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from functools import lru_cache

log = logging.getLogger(__name__)

#: The logger above all of this package's.
ROOT = "fdan_edge"
_KEPT = 1000  # messages that wait until a view is gone


class ConsoleHandler(logging.Handler):
    """Prints each record as one plain line on standard error, above a progress bar where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record; standard output is kept for results."""
        from fdan_edge.utils import progress  # rich takes a while to import, and many commands say nothing

        progress.print_line(self.format(record))


@contextlib.contextmanager
def shown() -> Iterator[None]:
    """Show messages and progress bars on standard error while the block runs: for programs, not for libraries."""
    logger = logging.getLogger(ROOT)
    if are_shown():
        yield
        return
    before = logger.level, logger.propagate
    handler = ConsoleHandler()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # other packages may give the root logger a handler, which would print all again
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = before


@contextlib.contextmanager
def kept_back() -> Iterator[None]:
    """Show what is said while the block runs at its end: a view fills the terminal until then."""
    from logging.handlers import MemoryHandler  # it takes a while to import

    def keeper(handler: logging.Handler) -> logging.Handler:
        return (
            MemoryHandler(_KEPT, logging.CRITICAL + 1, handler) if isinstance(handler, ConsoleHandler) else handler
        )

    logger = logging.getLogger(ROOT)
    before = logger.handlers
    logger.handlers = [keeper(handler) for handler in before]
    try:
        yield
    finally:
        for handler in set(logger.handlers) - set(before):
            handler.close()  # which passes on what it kept
        logger.handlers = before


def show_all() -> None:
    """Show messages of level DEBUG too, until the block of `shown` ends."""
    logging.getLogger(ROOT).setLevel(logging.DEBUG)


def are_shown() -> bool:
    """Return whether messages and progress bars are shown on standard error."""
    return any(isinstance(handler, ConsoleHandler) for handler in logging.getLogger(ROOT).handlers)


@lru_cache(maxsize=10_000)
def warn_once(text: str) -> None:
    """Warn of something, once in a process: a recording is read several times, for its hash and its features."""
    log.warning(text)
