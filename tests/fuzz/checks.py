"""What must hold for every input, and what is a finding."""

from __future__ import annotations

import logging
import re
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from fdan_edge.data.corpora.own_labels import tell_once
from fdan_edge.errors import FdanEdgeError
from fdan_edge.server.protocol import Close
from fdan_edge.utils.messages import ROOT, warn_once

SECONDS = 10.0  # that an input may take
MEMORY = 256  # MiB that an input may add to the most that the process had before
LONGEST = 4000  # characters of a message

ACCEPTED, REFUSED = "accepted", "refused"


class Finding(Exception):  # noqa: N818 (what is wrong is elsewhere)
    """Raised by a parser's check for what was read silently and wrongly."""


class Hang(BaseException):
    """Raised in what takes longer than SECONDS; no parser catches it."""


@dataclass
class Outcome:
    """What came of an input.

    Args:
        kind: ACCEPTED, REFUSED, or what kind of finding it is.
        detail: the message of a refusal, or all that is known of a finding.
        place: where a finding comes from; those of one place are one.
    """

    kind: str
    detail: str = ""
    place: str = ""

    @property
    def is_finding(self) -> bool:
        """Tell whether it must be mended."""
        return self.kind not in (ACCEPTED, REFUSED)


class Lines(logging.Handler):
    """Keeps what the package logs for people."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.lines.append(record.getMessage())


@dataclass
class Check:
    """Runs one parser's check, with everything that must hold whatever the parser.

    Args:
        read: reads bytes, and raises `Finding` where they were read wrongly; it is given the logged lines too.
    """

    read: Callable[[bytes, list[str]], None]
    _lines: Lines = field(default_factory=Lines)

    def __call__(self, data: bytes) -> Outcome:
        """Read one input."""
        self._lines.lines.clear()
        warn_once.cache_clear()
        tell_once.cache_clear()
        before, begun = _peak(), time.monotonic()
        with _logged(self._lines):
            outcome = _outcome(self.read, data, self._lines.lines)
        if outcome.is_finding:
            return outcome
        if time.monotonic() - begun > SECONDS:
            return Outcome("hang", f"took {time.monotonic() - begun:.1f} s", "slow")
        if _peak() - before > MEMORY:
            return Outcome("memory", f"took {_peak() - before:.0f} MiB", "memory")
        return outcome if outcome.kind == REFUSED else _of_lines(self._lines.lines)


def _outcome(read: Callable[[bytes, list[str]], None], data: bytes, lines: list[str]) -> Outcome:
    try:
        with _limited():
            read(data, lines)
    except (FdanEdgeError, Close) as error:
        return _refused(error.reason if isinstance(error, Close) else str(error), error)
    except Finding as error:
        return Outcome("half-read", str(error), re.sub(r"/\S+/|[\d.]+", "#", str(error)))
    except Hang as error:
        return Outcome("hang", _trace(error), _place(error))
    except MemoryError as error:
        return Outcome("memory", _trace(error), _place(error))
    except Exception as error:
        return Outcome("traceback", _trace(error), _place(error))
    return Outcome(ACCEPTED)


def _refused(text: str, error: Exception) -> Outcome:
    if problem := _wrong_line(text):
        return Outcome("message", f"{problem}: {text!r}\n{_trace(error)}", f"{problem} {_place(error)}")
    return Outcome(REFUSED, text)


def _of_lines(lines: list[str]) -> Outcome:
    wrong = next((line for line in lines if _wrong_line(line)), None)
    return Outcome(ACCEPTED) if wrong is None else Outcome("message", f"logged {wrong!r}", "log")


def _wrong_line(text: str) -> str:
    if len(text.splitlines()) != 1:
        return "no single line"
    return f"more than {LONGEST} characters" if len(text) > LONGEST else ""


def _peak() -> float:
    status = Path("/proc/self/status").read_text()  # getrusage counts what the process that started this one took
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def _place(error: BaseException) -> str:
    """Name an exception by its class and the innermost lines of the package that it went through."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "fdan_edge" in f.filename]
    where = ", ".join(f"{f.filename.rpartition('fdan_edge/')[2]}:{f.name}" for f in frames[-2:])
    return f"{type(error).__name__} in {where}"


@contextmanager
def _logged(handler: Lines) -> Iterator[None]:
    log = logging.getLogger(ROOT)
    before = log.level, log.propagate, log.handlers
    log.handlers = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.level, log.propagate, log.handlers = before


@contextmanager
def _limited() -> Iterator[None]:
    """Interrupt Python that takes too long; what hangs in a library, the parent process ends."""

    def late(_signal: int, _frame: FrameType | None) -> None:
        raise Hang(f"longer than {SECONDS:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
