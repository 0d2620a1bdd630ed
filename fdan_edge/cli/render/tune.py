"""What `fdan-edge tune` prints for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from fdan_edge.cli.render.console import out

if TYPE_CHECKING:
    from fdan_edge.tuning.results import Tuned

_MOST = 10  # trials; tuning.md has all


def tuned(done: Tuned) -> None:
    """The best trials, which settings matter, and what to do next."""
    from fdan_edge.tuning.results import percent, ranked, shown, state

    names = [one.name for one in done.terms.space]
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("trial", "UAR %", *names):
        table.add_column(column, justify="right")
    table.add_column("")
    for one in ranked(done.trials)[:_MOST]:
        values = [shown(one.settings[name]) if name in one.settings else "" for name in names]
        table.add_row(str(one.number), percent(one.uar), *values, state(one, done.terms))
    out.print(table, soft_wrap=False)
    if len(done.trials) > _MOST:
        out.print(f"and {len(done.trials) - _MOST} more in tuning.md")
    if done.importance:
        out.print("importance: " + ", ".join(f"{name} {share:.2f}" for name, share in done.importance.items()))
    out.print(f"folder {done.folder}: best.toml, tuning.md, tuning.json, tuning.png, trials", markup=False)
    if done.best:
        _next(done)


def _next(done: Tuned) -> None:
    out.print("the best UAR of many is too good; what the settings are worth says the test part:")
    sources = [f"--speech {source}" for source in done.terms.speech]
    sources += [f"--faces {source}" for source in done.terms.faces]
    train = f"next: fdan-edge train {done.folder / 'best.toml'} --out runs/best {' '.join(sources)}"
    out.print(train, markup=False)
