"""The root of the command line: every verb is a file of its own beside this one."""

from __future__ import annotations

from typing import Annotated

import typer

from fdan_edge._version import __version__
from fdan_edge.cli.bench import bench
from fdan_edge.cli.crossval import crossval
from fdan_edge.cli.data import data_app
from fdan_edge.cli.demo import demo
from fdan_edge.cli.doctor import doctor
from fdan_edge.cli.evaluate import evaluate
from fdan_edge.cli.export import export
from fdan_edge.cli.infer import infer
from fdan_edge.cli.reproduce import reproduce
from fdan_edge.cli.runs import runs
from fdan_edge.cli.serve import serve
from fdan_edge.cli.stream import stream
from fdan_edge.cli.train import train
from fdan_edge.cli.tune import tune

app = typer.Typer(
    name="fdan-edge",
    help="Speech emotion recognition for the edge: train with faces, run with the voice alone.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data_app, name="data")
#: In the order of the help.
for verb in (
    train,
    crossval,
    tune,
    evaluate,
    runs,
    export,
    infer,
    bench,
    stream,
    serve,
    reproduce,
    demo,
    doctor,
):
    app.command()(verb)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fdan-edge {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", metavar="", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...
