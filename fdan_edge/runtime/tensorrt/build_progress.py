"""What TensorRT does while it builds an engine, as progress bars that Ctrl-C can stop. Imports no torch."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from rich.progress import TaskID
from typing_extensions import Self

from fdan_edge.utils.progress import bar


class BuildProgress:
    """Bars of one build, while the block runs; Ctrl-C ends it at the next step, by KeyboardInterrupt.

    Args:
        title: what is built.
    """

    def __init__(self, title: str) -> None:
        self.stopped = False  # by Ctrl-C
        self._previous_handler: Any = None  # what Ctrl-C did
        self._title = title
        self._bars = bar()
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        # An exception of Python's own handler would be lost in the C++ that calls the monitor and the logger.
        if threading.current_thread() is threading.main_thread():
            self._previous_handler = signal.signal(signal.SIGINT, self._stop)
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()
        if self._previous_handler is not None:
            signal.signal(signal.SIGINT, self._previous_handler)
        if self.stopped:
            raise KeyboardInterrupt

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stopped = True

    def attach(self, tensorrt: Any, config: Any) -> None:
        """Have a builder's configuration report its phases."""
        self._monitor = _monitor(tensorrt, self)  # which must live as long as the build
        config.progress_monitor = self._monitor

    def begin(self, phase: str, inside: str | None, steps: int) -> None:
        """Return a phase begins; the outermost has the build's title."""
        self._tasks[phase] = self._bars.add_task(phase if inside else self._title, total=steps)

    def step(self, phase: str, step: int) -> bool:
        """Return a step of a phase is done; gives whether to go on."""
        if phase in self._tasks:
            self._bars.update(self._tasks[phase], completed=step + 1)
        return not self.stopped

    def end(self, phase: str) -> None:
        """Return a phase is done, or given up."""
        if phase in self._tasks:
            self._bars.remove_task(self._tasks.pop(phase))


def _monitor(tensorrt: Any, progress: BuildProgress) -> Any:
    class Monitor(tensorrt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            tensorrt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            progress.begin(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return progress.step(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            progress.end(phase_name)

    return Monitor()
