"""The verb that trains and scores every fold: crossval."""

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
    needs_one_process,
    needs_training,
    parsed,
    print_json,
)


def crossval(
    out: Annotated[Path, typer.Option(help="The folder to write; each fold is a run folder in it.")],
    config: ConfigFile = None,
    speech: Speech = [],  # noqa: B006
    faces: Faces = [],  # noqa: B006
    set_: Set = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Train every fold and score their tests together. Protocol kfold, unless --set protocol=loso.

    With several corpora, --set protocol=loco tests each on a model of the others; official runs published folds.

    The same command again goes on where it was stopped.
    """
    needs_one_process("crossval")
    needs_training()
    from fdan_edge.config import Config

    settings, voices = Config.load(config, set_, protocol="kfold"), parsed(speech, "--speech")

    # After the mistakes of a command line are told: PyTorch takes seconds.
    from fdan_edge.cli.render import training as show_training
    from fdan_edge.experiments.crossval import crossval as run_folds

    result = run_folds(settings, voices, parsed(faces), out)
    print_json(result.to_dict()) if as_json else show_training.crossvalidated(result)
