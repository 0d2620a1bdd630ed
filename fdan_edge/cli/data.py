"""The verbs that look at corpora and their cached features: data scan, data cache."""

from __future__ import annotations

from typing import Annotated

import typer

from fdan_edge.cli.options import AsJson, needs_training, parsed, print_json

app = typer.Typer(name="data", help="Look at corpora before training.", no_args_is_help=True, add_completion=False)


@app.command()
def scan(
    sources: Annotated[list[str], typer.Argument(metavar="CORPUS:PATH...", help="What to look at.")],
    as_json: AsJson = False,
) -> None:
    """Count what a corpus holds per class and speaker; name broken, unlabelled and duplicate files.

    Exit code 1 if any is broken.
    """
    from fdan_edge.cli.render import data as show_data
    from fdan_edge.data.scan import scan as scan_source

    scans = [result for source in parsed(sources) for result in scan_source(source)]
    print_json([result.to_dict() for result in scans]) if as_json else show_data.scanned(scans)
    raise typer.Exit(1 if any(result.broken for result in scans) else 0)


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
