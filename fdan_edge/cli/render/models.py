"""What `fdan-edge models` prints: a table of the models of the package, and a model's card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markdown import Markdown
from rich.table import Table

from fdan_edge.cli.render.console import out, text
from fdan_edge.runtime import included

if TYPE_CHECKING:
    from fdan_edge.cli.actions.models import Row

_NOTHING = "-"
#: The column of noise: the mean over its kinds, whose names in about.json end so.
_NOISE = " 10 dB"


def listed(rows: Sequence[Row]) -> None:
    """Print a row for each model, and below them what the columns mean and what each may be used for."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for head in ("model", "MB", "ms", "classes", "new\nspeakers", "new\ncorpora", "noise,\n10 dB", "use"):
        table.add_column(head, justify="left" if head in ("model", "use") else "right", vertical="bottom")
    for row in rows:
        table.add_row(*_cells(row))
    out.print(table)
    out.print()
    for row in rows:
        out.print(_sentence(row), markup=False)
    out.print(_legend(rows), markup=False)


def card(markdown: str) -> None:
    """Print a model's card: laid out in a terminal, as it is to a file or another program."""
    if out.is_terminal:
        out.print(Markdown(markdown), soft_wrap=False)
    else:
        text(markdown)


def _cells(row: Row) -> list[str]:
    about = row.about
    speeds = row.speeds
    return [
        row.name,
        f"{row.bytes / 1e6:.1f}",
        f"{speeds[0].ms:.1f}" if speeds else _NOTHING,
        str(len(row.manifest.spec.labels)),
        _percent(row.new_speakers.get("uar")),
        _percent(about.mean_uar("corpora") if about else None),
        _percent(about.mean_uar("noise", _NOISE) if about else None),
        about.use if about else _NOTHING,
    ]


def _percent(share: float | None) -> str:
    return _NOTHING if share is None else f"{100 * share:.1f}"


def _sentence(row: Row) -> str:
    """Say what a model is, in a line for each thing."""
    default = " (the default)" if row.name == included.DEFAULT else ""
    classes = ", ".join(row.manifest.spec.labels)
    if row.about is None:
        return f"{row.name}{default}: {classes}"
    return (
        f"{row.name}{default}: {row.about.title}\n"
        f"  languages: {', '.join(row.about.languages)}\n"
        f"  classes: {classes}\n"
        f"  terms: {row.about.terms}"
    )


def _legend(rows: Sequence[Row]) -> str:
    """Say what the columns mean, and on which machines the times were measured."""
    machines = dict.fromkeys(
        f"{speed.threads} thread, {speed.machine}" for row in rows for speed in row.speeds[:1]
    )
    seconds = " or ".join(dict.fromkeys(f"{row.window_seconds:g} s" for row in rows))
    lines = [
        "",
        f"ms: for {seconds} of sound{''.join(f'; {machine}' for machine in machines)}",
        "new speakers, new corpora, noise: UAR in % on speech that was not trained on",
        "`fdan-edge models NAME` shows the card of one",
    ]
    return "\n".join(lines)
