"""What TensorRT does while it builds an engine, as progress bars that Ctrl-C can stop. Imports no torch."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from rich.progress import TaskID
from typing_extensions import Self

from fdan_edge.progress import bar


class Watch:
    """Bars of one build, while the block runs.

    Args:
        tensorrt: the module; versions before 8.6 have no progress monitor, and build without a bar.
        config: the builder's configuration, which gets the monitor.
        title: what is built.
    """

    def __init__(self, tensorrt: Any, config: Any, title: str) -> None:
        self.stopped = False  # by Ctrl-C
        self._title = title
        self._bars = bar()
        self._tasks: dict[str, TaskID] = {}
        self._config = config
        self._monitor = _monitor(tensorrt, self) if hasattr(tensorrt, "IProgressMonitor") else None

    def __enter__(self) -> Self:
        self._bars.start()
        if self._monitor:
            self._config.progress_monitor = self._monitor
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def begin(self, phase: str, inside: str | None, steps: int) -> None:
        """A phase begins; the outermost has the build's title."""
        self._tasks[phase] = self._bars.add_task(phase if inside else self._title, total=steps)

    def step(self, phase: str, step: int) -> bool:
        """A step of a phase is done; gives whether to go on."""
        if phase in self._tasks:
            self._bars.update(self._tasks[phase], completed=step + 1)
        return not self.stopped

    def end(self, phase: str) -> None:
        """A phase is done, or given up."""
        if phase in self._tasks:
            self._bars.remove_task(self._tasks.pop(phase))


def _monitor(tensorrt: Any, watch: Watch) -> Any:
    class Monitor(tensorrt.IProgressMonitor):  # type: ignore[misc]
        # An exception must not leave these: C++ calls them. Ctrl-C arrives in one of them, between its lines.
        def __init__(self) -> None:
            tensorrt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            try:
                watch.begin(phase_name, parent_phase, num_steps)
            except KeyboardInterrupt:
                watch.stopped = True

        def step_complete(self, phase_name: str, step: int) -> bool:
            try:
                return watch.step(phase_name, step)
            except KeyboardInterrupt:
                watch.stopped = True
                return False

        def phase_finish(self, phase_name: str) -> None:
            try:
                watch.end(phase_name)
            except KeyboardInterrupt:
                watch.stopped = True

    return Monitor()
