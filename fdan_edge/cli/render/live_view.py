"""The view that `fdan-edge stream` draws in place on a terminal: label, bars, a timeline."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType

from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text
from typing_extensions import Self, assert_never

from fdan_edge.cli.render.stream import clock
from fdan_edge.streaming.events import (
    UNKNOWN,
    Ended,
    Event,
    InputWarning,
    Lost,
    Result,
    Segment,
    Silence,
    Speech,
    describe,
)

CELL = 0.5  # s of a cell of the timeline
SILENT, GONE, WAITING, UNSURE = ".", "!", "-", "?"
_MEANINGS = (f"{UNSURE} {UNKNOWN}", f"{SILENT} silent", f"{WAITING} wait", f"{GONE} lost")
_KEPT = 1200  # cells
_SHOWN = 60.0  # s, where there is room
_ROW_SECONDS = (60, 30, 20, 15, 10, 5)
_MARGIN = 8  # columns of the clock before a row
_WARNED = 10.0  # s that a warning stays at least; then the next speech takes it away
_PERIOD, _IDLE = 0.1, 0.5  # s between two drawings: at least; at most
#: Of Okabe and Ito, and Tol: told apart by the colour-blind too, and black is readable on them.
_COLOURS = (
    "#d55e00",
    "#f0e442",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
    "#b09cff",
    "#ddcc77",
    "#aa4499",
    "#44aa99",
)
_GREY = "#bbbbbb"
_EIGHTHS = " ▏▎▍▌▋▊▉"


def letters(labels: Sequence[str]) -> dict[str, str]:
    """Choose a letter for each label: its first that no other has; digits where all are taken."""
    taken: dict[str, str] = {}
    for label in labels:
        own = [letter.upper() for letter in label if letter.isascii() and letter.isalnum()]
        candidates = [*own, *"0123456789*"]
        taken[label] = next(letter for letter in candidates if letter not in taken.values() or letter == "*")
    return taken


class Timeline:
    """The sound so far, a letter for each half second."""

    def __init__(self, marks: dict[str, str]) -> None:
        self._marks = {**marks, UNKNOWN: UNSURE}
        self.cells: deque[str] = deque(maxlen=_KEPT)  # the latest
        self._count = 0  # cells since the start
        self._mark = SILENT

    def __call__(self, event: Event) -> None:
        """Note an event."""
        match event:
            case Speech():
                self._from(event.time, WAITING)
            case Result():
                self._from(event.time, self._marks[event.label])
            case Segment():
                self._set(event.start, event.end, self._marks[event.label])
            case Silence():
                self._from(event.time + CELL / 2, SILENT)
            case Lost():
                self._from(event.time + event.seconds, SILENT)
                self._set(event.time, event.time + event.seconds, GONE)
            case InputWarning() | Ended():
                pass
            case _:
                assert_never(event)

    def grow(self, now: float) -> None:
        """Go on as it is until `now`."""
        more = int(now / CELL) + 1 - self._count
        if more > 0:
            self.cells.extend(self._mark for _ in range(min(more, _KEPT)))
            self._count += more

    def rows(self, width: int, most: int) -> list[tuple[float, str]]:
        """Give start and cells of the latest rows; each begins at a round time."""
        seconds = next((s for s in _ROW_SECONDS if s / CELL <= width), _ROW_SECONDS[-1])
        size = int(seconds / CELL)
        gone = self._count - len(self.cells)
        text = "".join(self.cells)
        last = max(0, self._count - 1) // size
        first = max(0, last - most + 1, -(-gone // size), last - math.ceil(_SHOWN / seconds))
        starts = [row * size for row in range(first, last + 1)]
        return [(start * CELL, text[start - gone : start - gone + size]) for start in starts]

    def _from(self, start: float, mark: str) -> None:
        """Set this mark from `start` on."""
        self.grow(start)
        self._set(start, self._count * CELL, mark)
        self._mark = mark

    def _set(self, start: float, end: float, mark: str) -> None:
        self.grow(end - CELL)
        gone = self._count - len(self.cells)
        for at in range(max(gone, int(start / CELL)), min(self._count, max(1, math.ceil(end / CELL)))):
            self.cells[at - gone] = mark


class View:
    """Draws events in place on a terminal: a context manager to call with events, and with none now and then.

    Args:
        title: what runs.
        labels: of the model.
        now: seconds of sound so far.
        console: a terminal.
    """

    def __init__(self, title: str, labels: Sequence[str], now: Callable[[], float], console: Console) -> None:
        self._title, self._now, self._console = title, now, console
        self._letters = letters(labels)
        self._colours = {label: _COLOURS[n % len(_COLOURS)] for n, label in enumerate(labels)}
        self._of_mark = {mark: self._colours[label] for label, mark in self._letters.items()} | {UNSURE: _GREY}
        self._timeline = Timeline(self._letters)
        self._result: Result | None = None
        self._speaking = False
        self._lost = 0.0
        self._warning: InputWarning | None = None
        self._drawn = -math.inf
        self._live = Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def __call__(self, events: Sequence[Event]) -> None:
        for event in events:
            self._note(event)
        self._timeline.grow(self._now())
        passed = time.monotonic() - self._drawn
        if passed >= (_PERIOD if events else _IDLE):
            self._live.update(self.picture(), refresh=True)
            self._drawn = time.monotonic()

    def picture(self) -> Group:
        """Draw all lines, at most as many as the terminal has."""
        width, height = self._console.size
        width = max(width, 20)
        parts = [[self._head(width)], self._label(width, 3), self._bars(width), self._foot(width)]
        free = height - sum(len(part) for part in parts) - 1  # a line of meanings
        if free < 6:  # no room for blanks and a few rows
            parts[1] = self._label(width, 1)
            free += 2
        blanks = len(parts) if free >= 6 else 0
        parts.insert(3, self._rows(width, max(1, free - blanks)))
        blank = [Text()] if blanks else []
        lines = [line for part in parts for line in (*part, *blank)]
        return Group(*lines[:height])

    def _note(self, event: Event) -> None:
        self._timeline(event)
        match event:
            case Speech():
                self._speaking, self._result = True, None
                if self._warning and event.time >= self._warning.time + _WARNED:
                    self._warning = None
            case Result():
                self._result = event
            case Silence():
                self._speaking = False
            case Lost():
                self._speaking = False
                self._lost += event.seconds
            case InputWarning():
                self._warning = event
            case Segment() | Ended():
                pass
            case _:
                assert_never(event)

    def _head(self, width: int) -> Text:
        now = clock(self._now())
        return Text.assemble((set_cell_size(self._title, width - len(now) - 1), "dim"), " ", (now, "bold"))

    def _label(self, width: int, height: int) -> list[Text]:
        """Draw a band with the label."""
        result = self._result
        if not self._speaking:
            text, style = "silent", "dim"
        elif result is None:
            text, style = "listening", "bold"
        else:
            colour = self._colours.get(result.label, _GREY)
            text, style = f"{result.label.upper()}  {100 * result.confidence:.0f} %", f"bold black on {colour}"
        left = max(0, width - cell_len(text)) // 2
        middle = Text(set_cell_size(" " * left + text, width), style)
        return [middle] if height == 1 else [Text(" " * width, style), middle, Text(" " * width, style)]

    def _bars(self, width: int) -> list[Text]:
        """Draw a bar for each label."""
        names = min(max(cell_len(name) for name in self._letters), max(5, width // 3))
        room = max(1, width - names - 10)
        return [self._bar(name, names, room) for name in self._letters]

    def _bar(self, label: str, names: int, room: int) -> Text:
        p = self._result.probabilities[label] if self._result else 0.0
        shown = self._speaking and self._result is not None
        best = shown and self._result is not None and label == self._result.label
        weight = "bold" if best else "" if shown else "dim"
        bar = _blocks(p, room, ascii_only=self._console.options.ascii_only)
        return Text.assemble(
            (f"{self._letters[label]} {set_cell_size(label, names)} ", weight),
            (bar, self._colours[label] if shown else "dim"),
            (f" {100 * p:3.0f} %", weight),
        )

    def _rows(self, width: int, most: int) -> list[Text]:
        lines = []
        for start, cells in self._timeline.rows(width - _MARGIN, most):
            line = Text(f"{clock(start):>{_MARGIN - 1}} ", "dim")
            for mark in cells:
                colour = self._of_mark.get(mark)
                line.append(mark, f"not dim black on {colour}" if colour else "bold red" if mark == GONE else "")
            lines.append(line)
        return [*lines, Text(_fitting(_MEANINGS, width), "dim")]

    def _foot(self, width: int) -> list[Text]:
        phrases = ["speaking" if self._speaking else "silent"]
        if self._result and self._result.latency is not None:
            phrases.append(f"latency {1000 * self._result.latency:.0f} ms")
        phrases.append(f"lost {self._lost:.1f} s")
        phrases.append("Ctrl-C ends")
        warning = [Text(set_cell_size(describe(self._warning), width), "bold yellow")] if self._warning else []
        return [*warning, Text(_fitting(phrases, width))]


def _fitting(phrases: Sequence[str], width: int) -> str:
    """Join as many of the first phrases as there is room for."""
    while phrases and cell_len("  ".join(phrases)) > width:
        phrases = phrases[:-1]
    return "  ".join(phrases)


def _blocks(p: float, room: int, *, ascii_only: bool) -> str:
    """Draw a bar of `room` columns."""
    if ascii_only:
        return ("#" * round(p * room)).ljust(room)
    eighths = round(p * room * 8)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()).ljust(room)
