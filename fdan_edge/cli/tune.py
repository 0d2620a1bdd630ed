"""The verb that searches for settings: tune."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fdan_edge.cli.options import (
    AsJson,
    ConfigFile,
    Faces,
    Set,
    Speech,
    needs_packages,
    needs_training,
    parsed,
    print_json,
)
from fdan_edge.errors import INSTALL_TUNE

SPACE_HELP = "What to search: NAME=LOW..HIGH (with :log or :linear, if wanted) or NAME=A,B,C; repeat for more."


def tune(
    out: Annotated[Path, typer.Option(help="The folder to write; each trial's run folders are in it.")],
    config: ConfigFile = None,
    speech: Speech = [],  # noqa: B006
    faces: Faces = [],  # noqa: B006
    set_: Set = [],  # noqa: B006
    space: Annotated[
        list[str],
        typer.Option(
            "--space",
            metavar="NAME=...",
            help=SPACE_HELP,
            show_default="alpha, weight_decay, attention_layers, lr",
        ),
    ] = [],  # noqa: B006
    trials: Annotated[int, typer.Option(metavar="N", min=1, max=100_000, help="Of all processes together.")] = 20,
    folds: Annotated[
        int,
        typer.Option(metavar="K", min=1, max=1000, help="Groups of speakers to validate on; 1: as train does."),
    ] = 3,
    sampler: Annotated[str, typer.Option(metavar="NAME", help="tpe, gp, qmc, random or grid.")] = "tpe",
    pruner: Annotated[
        str, typer.Option(metavar="NAME", help="Ends poor trials early: median, hyperband or none.")
    ] = "median",
    as_json: AsJson = False,
) -> None:
    """Search for the settings that train best, on validation folds; the test part is not looked at.

    The same command again goes on where it was stopped; in a second terminal, it works on the same trials.
    """
    needs_training()
    needs_packages(("optuna",), "tune", INSTALL_TUNE)
    from fdan_edge.config import Config

    settings, voices = Config.load(config, set_), parsed(speech, "--speech")

    # After the mistakes of a command line are told: PyTorch takes seconds.
    from fdan_edge.cli.render import tune as show_tune
    from fdan_edge.tuning.search import Search
    from fdan_edge.tuning.search import tune as run_search

    search = Search(tuple(space), trials, folds, sampler, pruner)
    result = run_search(settings, voices, parsed(faces), out, search)
    print_json(result.to_dict()) if as_json else show_tune.tuned(result)
