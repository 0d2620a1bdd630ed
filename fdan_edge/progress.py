"""Progress on standard error: a bar on a terminal, nothing or plain lines elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")

console = Console(stderr=True, highlight=False)
_of: list[str] = []  # what bars are parts of; nothing is said of their insides


@contextlib.contextmanager
def part(name: str) -> Iterator[None]:
    """Within, bars stand behind this name, and nothing is said: for one of many trainings."""
    _of.append(name)
    try:
        yield
    finally:
        _of.pop()


def bar() -> Progress:
    """A progress display that shows only on a terminal."""
    return Progress(
        *(TextColumn(name, markup=False) for name in _of),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def track(items: Sequence[T] | Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Iterate over `items` with a progress bar."""
    count = len(items) if isinstance(items, Sequence) else total
    with bar() as progress:
        yield from progress.track(items, total=count, description=description)


def say(message: str) -> None:
    """One plain line for the person who waits; standard output is kept for results."""
    if _of:
        return
    console.print(message, soft_wrap=True, markup=False)
