"""What an attack is, how one is judged, and the table of all outcomes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tests.attack.place import Impossible, Place

HELD, FAILED, SKIPPED = "held", "failed", "not run"


class Failed(Exception):  # noqa: N818 (not an error of the attack)
    """Raised by an attack that the program did not withstand; the message is the measured figure."""


#: Runs the attack and returns the measured figure.
Run: TypeAlias = Callable[[Place], str]


@dataclass(frozen=True)
class Attack:
    """One attack."""

    name: str
    tries: str  # what it does, one line
    bound: str  # what must hold
    run: Run
    quick: bool  # within about a second: the test suite runs it too
    waits: bool  # for time to pass, mostly: runs beside others of the kind
    long: bool  # takes minutes: runs where it is named, and with --all
    beside: bool = False  # times nothing that others could disturb much: two run at once


@dataclass(frozen=True)
class Outcome:
    """What came of an attack."""

    attack: Attack
    result: str  # HELD, FAILED or SKIPPED
    measured: str
    seconds: float


def attack(bound: str, *, quick: bool = False, waits: bool = False, long: bool = False) -> Callable[[Run], Attack]:
    """Make an attack of a function: its name is the name, the first line of its docstring says what it tries."""

    def make(run: Run) -> Attack:
        name, text = run.__name__.replace("_", "-"), run.__doc__ or ""
        return Attack(name, text.splitlines()[0].rstrip("."), bound, run, quick, waits, long)

    return make


def check(holds: bool, measured: str) -> str:
    """Return the figure.

    Raises:
        Failed: the bound does not hold.
    """
    if not holds:
        raise Failed(measured)
    return measured


def judge(one: Attack, place: Place) -> Outcome:
    """Run an attack. An error in it is a failure too: a program that does not answer may be the reason."""
    begun = time.monotonic()
    try:
        result, measured = HELD, one.run(place.for_attack(one.name))
    except Failed as error:
        result, measured = FAILED, str(error)
    except Impossible as error:
        result, measured = SKIPPED, str(error)
    except Exception as error:
        result, measured = FAILED, f"{type(error).__name__}: {error}"
    return Outcome(one, result, measured, time.monotonic() - begun)


def run_all(attacks: Sequence[Attack], place: Place, tell: Callable[[Outcome], None]) -> list[Outcome]:
    """Run attacks: those that wait all at once and, meanwhile, those on commands in pairs; then the others alone.

    Args:
        attacks: to run.
        place: where.
        tell: is called with each outcome as it comes.
    """

    def run(one: Attack) -> Outcome:
        outcome = judge(one, place)
        tell(outcome)
        return outcome

    waiting = [one for one in attacks if one.waits]
    beside = [one for one in attacks if one.beside and not one.waits]
    with ThreadPoolExecutor(max(1, len(waiting))) as crowd, ThreadPoolExecutor(2) as pairs:
        jobs = [crowd.submit(run, one) for one in waiting] + [pairs.submit(run, one) for one in beside]
        outcomes = [job.result() for job in jobs]
    return outcomes + [run(one) for one in attacks if not one.waits and not one.beside]


def table(outcomes: Sequence[Outcome]) -> Table:
    """Return the outcomes as a table, the failed ones last."""
    made = Table("attack", "bound", "outcome", "measured", "s", box=box.SIMPLE_HEAD, pad_edge=False)
    for outcome in sorted(outcomes, key=lambda one: one.result == FAILED):
        style = {HELD: "green", FAILED: "bold red"}.get(outcome.result, "yellow")
        texts = (outcome.attack.name, outcome.attack.bound, Text(outcome.result, style), outcome.measured)
        made.add_row(*(Text(text) if isinstance(text, str) else text for text in texts), f"{outcome.seconds:.1f}")
    return made


def summary(outcomes: Sequence[Outcome]) -> str:
    """Return the counts in one line."""
    counts = {kind: sum(one.result == kind for one in outcomes) for kind in (HELD, FAILED, SKIPPED)}
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)


def show(outcomes: Sequence[Outcome], console: Console | None = None) -> None:
    """Print the table and the counts."""
    console = console or Console(highlight=False)
    console.print(table(outcomes))
    console.print(summary(outcomes))
