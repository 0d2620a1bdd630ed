"""The root of the command line: every verb is a file of its own beside this one, imported when it is called."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from fdan_edge._version import __version__
from fdan_edge.cli import USER_ERROR
from fdan_edge.errors import printable
from fdan_edge.utils import messages

#: What the help says of each verb, in its order. The file of that name holds a function of that name, or `app`.
VERBS = {
    "train": "Train a model from speech.",
    "crossval": "Train every fold, and score their tests together.",
    "tune": "Search for the settings that train best.",
    "evaluate": "Score a model on speech that it was not trained on.",
    "runs": "Compare trainings: progress, scores, settings.",
    "export": "Turn a trained run into a bundle for where it will run.",
    "infer": "Name the emotion in sound files.",
    "models": "List the models that come with the package.",
    "bench": "Time a bundle: latency, throughput, start, memory.",
    "stream": "Name the emotion of who speaks, as they speak.",
    "serve": "Show emotions live in a browser, with its microphone.",
    "reproduce": "Train the rows of one of the paper's tables.",
    "demo": "Train, export, run and time a model on synthetic speech.",
    "doctor": "Say what works on this machine, and how to get the rest.",
    "data": "Look at corpora before training.",
}


class VerbGroup(TyperGroup):
    """A group that imports a verb's file when that verb is called: --help needs none of them."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = {name: TyperCommand(name, help=text) for name, text in VERBS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Find the verb that `args` begin with, and load it."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, load_verb(name) if name else None, rest


def load_verb(name: str) -> Any:
    """Import the file of a verb and build its command, a TyperCommand or a TyperGroup."""
    module = import_module(f"fdan_edge.cli.{name}")
    verb = getattr(module, "app", None)
    if verb is None:
        verb = typer.Typer(add_completion=False)
        verb.command(name)(getattr(module, name))
    return typer.main.get_command(verb)


app = typer.Typer(
    name="fdan-edge",
    cls=VerbGroup,
    help="Speech emotion recognition for the edge: train with faces, run with the voice alone.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Typer's rich help takes 0.15 s to import, half of the time of --help; verbs have it
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fdan-edge {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[  # noqa: ARG001 -- its callback does it
        bool, typer.Option("--version", metavar="", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", metavar="", help="Say more: which runtimes were left out, and why.")
    ] = False,
) -> None:
    from fdan_edge.runtime import deadline

    deadline.end_process_with(_give_up)
    if verbose:
        messages.show_all()


def _give_up(message: str) -> NoReturn:
    """End the process from another thread: an operator of a model does not end, and nothing can stop it."""
    try:
        print(f"error: {printable(message)}", file=sys.stderr, flush=True)  # noqa: T201
    finally:  # nobody may be there to read it
        os._exit(USER_ERROR)
