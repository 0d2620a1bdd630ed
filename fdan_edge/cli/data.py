"""The verbs that look at corpora and their cached features: data scan, data cache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from fdan_edge.cli import USER_ERROR
from fdan_edge.cli.options import AsJson, needs_training, parsed, print_json
from fdan_edge.errors import DataError, LabelError

app = typer.Typer(name="data", help="Look at corpora before training.", no_args_is_help=True, add_completion=False)


@app.command()
def scan(
    sources: Annotated[list[str], typer.Argument(metavar="CORPUS:PATH...", help="What to look at.")],
    table: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="FILE", help="Write its files and labels as a table to complete: .csv or .tsv."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Count what a corpus holds per class and speaker; name broken, unlabelled and duplicate files.

    Exit code 1 if any is broken, or sound is left out that nothing but its name or a folder's permissions hides.
    """
    from fdan_edge.cli.render import data as show_data
    from fdan_edge.data.corpora.own_table import check_new
    from fdan_edge.data.scan import scan as scan_source
    from fdan_edge.data.scan import write_table

    if table:
        if len(sources) > 1:
            raise DataError(f"--table writes a table of one corpus; {len(sources)} are given")
        check_new(table)
    try:
        scans = [result for source in parsed(sources) for result in scan_source(source)]
    except LabelError as error:
        show_data.mistaken(error)
        raise typer.Exit(USER_ERROR) from None
    print_json([result.to_dict() for result in scans]) if as_json else show_data.scanned(scans, hint=not table)
    if table:
        show_data.written(table, write_table(parsed(sources)[0], table))
    raise typer.Exit(1 if any(result.broken or result.left_out for result in scans) else 0)


@app.command()
def cache(
    clear: Annotated[bool, typer.Option("--clear", metavar="", help="Remove the log-mels and faces.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say where log-mels and faces of corpora are kept between trainings, and how much they take."""
    needs_training()
    from fdan_edge.cli.render import data as show_data
    from fdan_edge.features import store

    size = store.size()
    if clear:
        store.clear()
    if as_json:
        print_json({"folder": str(store.folder()), "bytes": size, "cleared": clear})
    else:
        show_data.cached(store.folder(), size, cleared=clear)
