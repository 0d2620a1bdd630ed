"""Keep the log short, whatever strangers send: who may not connect must not fill a disk either."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from fdan_edge.errors import one_line, printable

#: Of messages that a stranger causes at will, and that help nobody.
_OF_STRANGERS = (
    "Invalid HTTP request received",
    "Unsupported upgrade request",
    "No supported WebSocket library",
    "Invalid UTF-8 sequence",
    "ASGI callable returned without",
)
_LINES, _SECONDS = 10, 60.0


class LogLimit(logging.Filter):
    """Drops what a stranger causes, shortens the rest to a line, and lets through some lines a minute.

    Args:
        count: is called for each message that a stranger caused.
        lines: that pass in `seconds`.
    """

    def __init__(
        self,
        count: Callable[[], None],
        lines: int = _LINES,
        seconds: float = _SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._count, self._lines, self._seconds, self._clock = count, lines, seconds, clock
        self._since, self._passed, self._dropped = clock(), 0, 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is written, as one line."""
        message = record.getMessage()
        if message.startswith(_OF_STRANGERS):
            self._count()
            return False
        if self._clock() >= self._since + self._seconds:
            self._since, self._passed = self._clock(), 0
        self._passed += 1
        if self._passed > self._lines:
            self._dropped += 1
            return False
        before = f"({self._dropped} lines were left out here) " if self._dropped else ""
        record.msg, record.args, self._dropped = before + _line(message, record), (), 0
        return True


def limit_log(name: str, count: Callable[[], None]) -> None:
    """Limit what a logger writes, in the place of an earlier limit."""
    logger = logging.getLogger(name)
    for limit in [limit for limit in logger.filters if isinstance(limit, LogLimit)]:
        logger.removeFilter(limit)
    logger.addFilter(LogLimit(count))


def _line(message: str, record: logging.LogRecord) -> str:
    """Write a record and the error that it carries as one line."""
    error = record.exc_info[1] if record.exc_info else None
    record.exc_info = record.exc_text = record.stack_info = None
    line = printable(" ".join(message.split()))
    return f"{line}: {type(error).__name__}: {printable(one_line(error))}" if error else line
