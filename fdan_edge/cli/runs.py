"""The verb that compares run folders: runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fdan_edge.cli.options import AsJson, print_json

SORT_HELP = "name, uar (on validation: who chooses by the test has no test any more) or date (newest first)."


def runs(
    folders: Annotated[
        list[Path], typer.Argument(metavar="FOLDER...", help="Where to look, at any depth.", show_default="runs")
    ] = [],  # noqa: B006
    sort: Annotated[str, typer.Option(metavar="NAME", help=SORT_HELP)] = "name",
    as_json: AsJson = False,
) -> None:
    """Compare trainings: how far they are, their scores, and the settings in which they differ."""
    from fdan_edge.cli.render import runs as show_runs
    from fdan_edge.runs.index import find_runs, sort_runs

    rows = sort_runs(find_runs(folders or [Path("runs")]), sort)
    print_json([run.to_dict() for run in rows]) if as_json else show_runs.compare(rows)
