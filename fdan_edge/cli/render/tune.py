"""What `fdan-edge tune` prints for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from fdan_edge.cli.render.console import out

if TYPE_CHECKING:
    from fdan_edge.tuning.results import TuningResult

_MOST = 10  # trials; tuning.md has all


def tuned(result: TuningResult) -> None:
    """Print the best trials, which settings matter, and what to do next."""
    from fdan_edge.tuning.results import outcome, percent, ranked, short_value

    names = [dimension.name for dimension in result.setup.space]
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("trial", "UAR %", *names):
        table.add_column(column, justify="right")
    table.add_column("")
    for trial in ranked(result.trials)[:_MOST]:
        values = [short_value(trial.settings[name]) if name in trial.settings else "" for name in names]
        table.add_row(str(trial.number), percent(trial.uar), *values, outcome(trial, result.setup))
    out.print(table, soft_wrap=False)
    if len(result.trials) > _MOST:
        out.print(f"and {len(result.trials) - _MOST} more in tuning.md")
    if result.importance:
        out.print("importance: " + ", ".join(f"{name} {share:.2f}" for name, share in result.importance.items()))
    out.print(f"folder {result.folder}: best.toml, tuning.md, tuning.json, tuning.png, trials", markup=False)
    if result.best:
        _next(result)


def _next(result: TuningResult) -> None:
    out.print("the best UAR of many is too good; what the settings are worth says the test part:")
    sources = [f"--speech {source}" for source in result.setup.speech]
    sources += [f"--faces {source}" for source in result.setup.faces]
    train = f"next: fdan-edge train {result.folder / 'best.toml'} --out runs/best {' '.join(sources)}"
    out.print(train, markup=False)
