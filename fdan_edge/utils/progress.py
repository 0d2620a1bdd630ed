"""Progress on standard error: a bar on a terminal, nothing elsewhere, and nothing where messages are not shown."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text
from typing_extensions import Self

from fdan_edge.utils import messages

T = TypeVar("T")

console = Console(stderr=True, highlight=False)
_SECONDS = 1 / 8  # between two drawings of a line
_SHORTEST_BAR, _LONGEST_BAR = 5, 20  # cells
_outer: list[str] = []  # names of the blocks that bars and messages are nested in


@contextlib.contextmanager
def nested(name: str) -> Iterator[None]:
    """Put this name before bars, and print no messages, while the block runs: for one of many trainings."""
    _outer.append(name)
    try:
        yield
    finally:
        _outer.pop()


def bar() -> Progress:
    """Create a progress display, drawn only where `bars_shown`."""
    return Progress(
        *(TextColumn(name, markup=False) for name in _outer),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not bars_shown(),
    )


def track(items: Sequence[T] | Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Iterate over `items` with a progress bar."""
    count = len(items) if isinstance(items, Sequence) else total
    with bar() as progress:
        yield from progress.track(items, total=count, description=description)


def print_line(message: str) -> None:
    """Print one plain line above the bar; nothing within `nested`."""
    if not _outer:
        console.print(message, soft_wrap=True, markup=False)


def bars_shown() -> bool:
    """Return whether bars are drawn: on a terminal, where a program asked for them by `messages.shown`."""
    return console.is_terminal and messages.are_shown()


class TrainingLine:
    """Draws one line on a terminal that shows how far a training is; nothing elsewhere.

    The training loop draws it itself, without a thread that would take time from it.

    Args:
        epochs: of the whole training.
        steps: of an epoch.
        done_epochs: those that an earlier session has done.
    """

    def __init__(self, epochs: int, steps: int, done_epochs: int) -> None:
        self.best_uar: float | None = None  # share of 1, of the best epoch; for the loop to set
        self._epochs, self._steps = epochs, steps
        self._epoch, self._step = min(done_epochs + 1, epochs), 0
        self._values: Mapping[str, float] = {}
        self._rate: float | None = None
        # The time of two epochs, so that what happens between epochs is in it as often as it should be.
        self._times: deque[tuple[float, int]] = deque(maxlen=2 * steps + 1)
        self._drawn = 0.0
        self._live = Live(console=console, auto_refresh=False, transient=True) if bars_shown() else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
            self._draw(time.monotonic())
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def advance(
        self, epoch: int, step: int, values: Mapping[str, float] | None = None, rate: float | None = None
    ) -> None:
        """Note that step `step` of epoch `epoch` is done, both from 1.

        Args:
            values: means of the loss terms by name, the most important first; None: as before.
            rate: voices per second; None: as before.
        """
        if not self._live:
            return
        now = time.monotonic()
        self._epoch, self._step = epoch, step
        self._values = self._values if values is None else dict(values)
        self._rate = self._rate if rate is None else rate
        self._times.append((now, (epoch - 1) * self._steps + step))
        if now - self._drawn >= _SECONDS or step == self._steps:
            self._draw(now)

    def _draw(self, now: float) -> None:
        assert self._live
        self._drawn = now
        # A terminal breaks the line when the last cell is filled.
        self._live.update(self._line(console.width - 1), refresh=True)

    def _line(self, width: int) -> Text:
        """Build the line of so many cells; the bar gets what the rest leaves."""
        parts = fit_width(self._parts(), width)
        room = width - sum(part.cell_len + 1 for part in parts)
        if room >= _SHORTEST_BAR:
            parts.insert(1, self._bar(min(room, _LONGEST_BAR)))
        line = Text(" ", no_wrap=True, end="").join(parts)
        line.truncate(max(width, 0))
        return line

    def _parts(self) -> list[tuple[int, Text]]:
        """Return the line's parts in their order, each with its rank: 0 is the last to be left out."""
        terms = [f"{name} {value:.3f}" for name, value in self._values.items()]
        return [
            (0, Text(f"epoch {self._epoch}/{self._epochs}", "bold")),
            (4, Text(f"{self._step}/{self._steps}")),
            *((2 if not i else 5 + i, Text(term)) for i, term in enumerate(terms)),
            *([(3, Text(f"best UAR {100 * self.best_uar:.1f} %"))] if self.best_uar is not None else []),
            *([(5, Text(f"{self._rate:.0f} voices/s"))] if self._rate is not None else []),
            (1, Text(f"ETA {_clock(self._remaining())}")),
        ]

    def _bar(self, cells: int) -> Text:
        done = cells * self._step // self._steps
        block = "-" if console.options.ascii_only else "\N{BOX DRAWINGS HEAVY HORIZONTAL}"
        return Text.assemble((done * block, "bar.complete"), ((cells - done) * block, "bar.back"))

    def _remaining(self) -> float | None:
        """Estimate the seconds until the training ends, at the pace of the last two epochs."""
        if len(self._times) < 2:
            return None
        (first, before), (last, done) = self._times[0], self._times[-1]
        return (self._epochs * self._steps - done) * (last - first) / max(done - before, 1)


def fit_width(parts: Sequence[tuple[int, Text]], width: int) -> list[Text]:
    """Keep the parts that fit into so many cells: the highest ranks are left out, the lowest never."""
    kept = list(parts)
    while len(kept) > 1 and sum(part.cell_len + 1 for _, part in kept) - 1 > width:
        kept.remove(max(kept, key=lambda part: part[0]))
    return [part for _, part in kept]


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return "-:--:--"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
