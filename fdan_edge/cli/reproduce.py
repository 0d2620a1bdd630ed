"""The verb that makes the papers' tables: reproduce."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from fdan_edge.cli.options import AsJson, Faces, Speech, needs_one_process, needs_training, parsed


def _short_for(corpus: str) -> Any:
    return typer.Option(metavar="PATH", help=f"Short for --speech {corpus}:PATH.", show_default=False)


def reproduce(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="table1, table2, table3, table4 or didan.")],
    speech: Speech = [],  # noqa: B006
    emodb: Annotated[Optional[Path], _short_for("emodb")] = None,  # noqa: UP045
    enterface: Annotated[Optional[Path], _short_for("enterface")] = None,  # noqa: UP045
    casia: Annotated[Optional[Path], _short_for("casia")] = None,  # noqa: UP045
    ravdess: Annotated[Optional[Path], _short_for("ravdess")] = None,  # noqa: UP045
    faces: Faces = [],  # noqa: B006
    out: Annotated[Path, typer.Option(help="Where the run folders and the table go.")] = Path("runs/reproduce"),
    protocol: Annotated[
        list[str],
        typer.Option(metavar="NAME", help="How speech is split; repeat for more.", show_default="random, speaker"),
    ] = [],  # noqa: B006
    seeds: Annotated[str, typer.Option(metavar="N,N", help="Seeds of the trainings.")] = "0",
    rows: Annotated[
        str, typer.Option(metavar="ROW,ROW", help="Some rows only, `plain` too.", show_default="the paper's")
    ] = "",
    backbone: Annotated[str, typer.Option(metavar="NAME", help="Of FDAN, `plain` and all of didan.")] = "resnet34",
    lambdas: Annotated[
        str, typer.Option(metavar="N,N", help="didan: weights to choose from.", show_default="each row's own")
    ] = "",
    set_: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change one setting of all rows.")
    ] = [],  # noqa: B006
    paper_recipe: Annotated[
        bool, typer.Option("--paper-recipe", metavar="", help="SGD, momentum 0.99, 300 epochs, as in the paper.")
    ] = False,
    markdown: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="FILE", help="Write the table here too.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train the rows of one of the paper's tables; print our scores beside the published ones.

    didan: every corpus is recognised by what was trained on each other one, with methods that align the two.
    The same command goes on where it was stopped. Exit code 1: some rows could not be run.
    """
    needs_one_process("reproduce")
    needs_training()
    from fdan_edge.cli.actions.reproduce import Options, Output, run

    named = {"emodb": emodb, "enterface": enterface, "casia": casia, "ravdess": ravdess}
    sources = parsed([*(f"{corpus}:{path}" for corpus, path in named.items() if path), *speech], "--speech")
    options = Options(seeds, rows, backbone, set_, protocol, lambdas, paper_recipe)
    raise typer.Exit(run(table, sources, parsed(faces), out, options, Output(markdown, as_json)))
