"""Stop a run of ONNX Runtime that takes too long: a thread that looks after all of them. Imports no torch.

ONNX Runtime looks at `RunOptions.terminate` between two operators. A single one that takes hours cannot be stopped
from within its process; so a program may say what happens then (`at_last`).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from typing_extensions import Self

_TICK = 0.25  # s between two looks
GRACE = 5.0  # s after which a run that was told to stop has not


class within:  # noqa: N801 (used as a function)
    """Tell ONNX Runtime to stop a run that the block makes if it takes longer.

    A class and not a generator: each call of a model comes through here.

    Args:
        limit: seconds that it may take, to a quarter of a second; not counted while the process is stopped.
        options: the run's `onnxruntime.RunOptions`.
        what: runs, for the last message.
    """

    __slots__ = ("_runs", "limit", "options", "spent", "what")

    def __init__(self, limit: float, options: Any, what: str) -> None:
        self.limit, self.options, self.what = limit, options, what
        self.spent = 0.0  # s; those in which this process was stopped do not count

    def __enter__(self) -> Self:
        watch = _get()
        self._runs = watch.runs
        self._runs.add(self)
        if not watch.wanted.is_set():
            watch.wanted.set()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runs.discard(self)

    @property
    def is_over(self) -> bool:
        """After the block: whether its options can't be told to stop any more, and serve another run.

        The watch may be at a look that began before the run's end; that look is the last which counts.
        """
        return self.spent + _TICK <= self.limit


class _Watch:
    """Looks after the runs of this process; its thread waits while there is none."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.runs: set[within] = set()
        self.wanted = threading.Event()
        threading.Thread(target=self._look, name="fdan-edge deadline", daemon=True).start()

    def _look(self) -> None:
        while True:
            self.wanted.wait()
            time.sleep(_TICK)
            for run in list(self.runs):
                run.spent += _TICK
                if run.spent > run.limit:
                    run.options.terminate = True
                if run.spent > run.limit + GRACE and _at_last:
                    _at_last(f"{run.what}: gave no answer within {run.limit + GRACE:g} s, and cannot be stopped")
            if not self.runs:
                self.wanted.clear()
                if self.runs:  # one came between the two lines
                    self.wanted.set()


_watch: _Watch | None = None
_at_last: Callable[[str], object] | None = None
_lock = threading.Lock()


def end_process_with(at_last: Callable[[str], object] | None) -> None:
    """Set what is called, with one line, where a run cannot be stopped; for programs, not for libraries."""
    global _at_last
    _at_last = at_last


def _get() -> _Watch:
    """Return the watch of this process; a fork has none of its parent's threads."""
    global _watch
    if _watch is None or _watch.process != os.getpid():
        with _lock:
            if _watch is None or _watch.process != os.getpid():
                _watch = _Watch()
    return _watch
