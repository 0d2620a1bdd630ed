"""What `fdan-edge runs` prints, in as many columns as the terminal holds."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from fdan_edge.cli.render.console import errors, out
from fdan_edge.errors import printable
from fdan_edge.runs.index import DAMAGED, DIVERGED, TRAINING, UNFINISHED, RunRow, data_letters, differing

_STYLES = {TRAINING: "green", UNFINISHED: "yellow", DIVERGED: "red", DAMAGED: "red"}
_GAP = 2  # cells between columns
_LONGEST = 28  # cells of a setting's value
_WIDE = 10_000  # cells of what is no terminal


@dataclass(frozen=True)
class _Column:
    """One column of the table.

    rank: 0 is the last to be left out; those of rank 0 always stay.
    setting: whose values it shows, "" where it is none.
    """

    head: str
    cells: list[str]
    rank: int
    right: bool = True
    setting: str = ""

    @property
    def width(self) -> int:
        return max(map(cell_len, (*self.cells, *self.head.split("\n"))))


def compare(rows: Sequence[RunRow]) -> None:
    """Print a table of runs, what all have in common, and in what they differ."""
    if not rows:
        errors.print("no run folders there; `fdan-edge train --out runs/NAME` makes one", markup=False)
        return
    if not out.is_terminal and "COLUMNS" not in os.environ:
        out.width = _WIDE  # a file or another program has room for all
    width = out.width
    columns = [column for column in _columns(rows) if any(column.cells)]
    whole = [number for number, row in enumerate(rows) if row.state != DAMAGED]
    common = [c for c in columns if c.setting and len(whole) > 1 and len({c.cells[n] for n in whole}) == 1]
    shown = _fitting([column for column in columns if column not in common], width)
    if common:
        words = ", ".join(_named(column, column.cells[whole[0]]) for column in common)
        out.print(f"all: {words}", markup=False, soft_wrap=False, width=width)
    out.print(_table(shown, rows), soft_wrap=False, width=width)
    _settings([rows[number] for number in whole], {column.setting for column in shown}, width)
    _remarks(rows, width)


def _columns(rows: Sequence[RunRow]) -> list[_Column]:
    letters = data_letters(rows)

    def each(word: Callable[[RunRow], str]) -> list[str]:
        return [word(row) for row in rows]

    return [
        _Column("run", each(lambda r: printable(r.name)), 0, right=False),
        _Column("state", each(lambda r: r.state), 0, right=False),
        _Column("epochs", each(lambda r: "" if r.epochs is None else f"{r.done}/{r.epochs}"), 1, setting="epochs"),
        _Column("best", each(lambda r: _number(r.best_epoch)), 6),
        _Column("val\nUAR %", each(lambda r: _percent(r.val_uar)), 0),
        _Column("test\nUAR %", each(lambda r: _percent(r.test_uar)), 0),
        _Column("95 %\ninterval", each(_interval), 2),
        _Column("s per\nepoch", each(lambda r: _number(r.seconds, 1)), 4),
        _Column("voices\nper s", each(lambda r: _number(r.rate)), 7),
        _Column("steps\nskipped", each(lambda r: str(r.skipped) if r.skipped else ""), 1),
        _Column("data", letters if len(set(letters) - {""}) > 1 else [""] * len(rows), 0, right=False),
        _Column("method", each(lambda r: r.method or ""), 3, right=False, setting="method"),
        _Column("backbone", each(lambda r: r.backbone or ""), 3, right=False, setting="backbone"),
        _Column("seed", each(lambda r: _number(r.seed)), 5, setting="seed"),
        _Column("commit", each(_commit), 9, right=False, setting="commit"),
        _Column("begun (UTC)", each(_date), 8, right=False),
    ]


def _fitting(columns: Sequence[_Column], width: int) -> list[_Column]:
    """Choose columns: those of rank 0, and of the others, by rank, each that there is room for."""
    room = width + _GAP
    kept = []
    for column in sorted(columns, key=lambda c: c.rank):
        if not column.rank or column.width + _GAP <= room:
            kept.append(column)
            room -= column.width + _GAP
    return [column for column in columns if column in kept]


def _table(columns: Sequence[_Column], rows: Sequence[RunRow]) -> Table:
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False)
    for column in columns:
        fold = column.head == "run"
        table.add_column(
            column.head,
            justify="right" if column.right else "left",
            vertical="top",
            no_wrap=not fold,
            overflow="fold",
        )
    for number, row in enumerate(rows):
        cells = [Text(c.cells[number], _STYLES.get(row.state, "") if c.head == "state" else "") for c in columns]
        table.add_row(*cells)
    return table


def _settings(rows: Sequence[RunRow], shown: set[str], width: int) -> None:
    """Print the settings that differ: as columns where they fit, else each run's own beneath the usual ones."""
    cells_of = {name: [_value(v) for v in values] for name, values in differing(rows).items() if name not in shown}
    if not cells_of:
        return
    out.print()
    names = [printable(row.name) for row in rows]
    columns = [_Column(name, cells, 0, right=False) for name, cells in cells_of.items()]
    columns.insert(0, _Column("settings that differ", names, 0, right=False))
    if sum(c.width + _GAP for c in columns) - _GAP <= width:
        out.print(_table(columns, rows), soft_wrap=False, width=width)
        return
    usual = {name: Counter(filter(None, cells)).most_common(1)[0][0] for name, cells in cells_of.items()}
    line = f"settings that differ; most often: {_words(usual)}; otherwise:"
    out.print(line, markup=False, soft_wrap=False, width=width)
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, show_header=False)
    table.add_column(overflow="fold", max_width=width // 2)
    table.add_column(overflow="fold")
    for number, name in enumerate(names):
        own = {setting: cells[number] for setting, cells in cells_of.items() if cells[number] != usual[setting]}
        if own:
            table.add_row(Text(name), Text(_words(own)))
    out.print(table, soft_wrap=False, width=width)


def _words(settings: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items())


def _remarks(rows: Sequence[RunRow], width: int) -> None:
    """Print what the table does not say: damage, and data that cannot be compared."""
    lines = [f"{printable(row.name)}: {printable(row.problem)}" for row in rows if row.problem]
    if len(set(data_letters(rows)) - {""}) > 1:
        lines.append(
            "data: runs of different letters were made from different recordings: do not compare their scores"
        )
    if len(set(data_letters(rows, ["faces"])) - {""}) > 1:
        lines.append("not all runs with faces saw the same ones")
    if lines:
        out.print()
    for line in lines:
        out.print(line, style="yellow", markup=False, soft_wrap=False, width=width)


def _named(column: _Column, value: str) -> str:
    return value if column.setting in ("method", "backbone") else f"{column.setting} {value}"


def _value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        value = "+".join(map(str, value)) or "none"
    text = (
        f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
    )
    text = printable(text) or "none"
    return text if len(text) <= _LONGEST else f"...{text[3 - _LONGEST :]}"  # of a path the end says more


def _number(value: float | None, digits: int = 0) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _interval(row: RunRow) -> str:
    return " to ".join(f"{100 * edge:.1f}" for edge in row.test_interval) if row.test_interval else ""


def _commit(row: RunRow) -> str:
    return row.commit[:7] + ("+" if row.dirty else "") if row.commit else ""


def _date(row: RunRow) -> str:
    try:
        return datetime.fromisoformat(row.date).strftime("%Y-%m-%d %H:%M") if row.date else ""
    except ValueError:
        return ""
