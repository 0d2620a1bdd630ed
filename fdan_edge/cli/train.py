"""The verb that trains: train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from fdan_edge.cli.options import (
    ADAPT_HELP,
    METHOD_HELP,
    AsJson,
    ConfigFile,
    Faces,
    Set,
    Speech,
    needs_training,
    parsed,
    print_json,
)
from fdan_edge.errors import ConfigError


def train(
    out: Annotated[Path, typer.Option(help="The run folder to write.")],
    config: ConfigFile = None,
    speech: Speech = [],  # noqa: B006
    faces: Faces = [],  # noqa: B006
    target: Annotated[
        list[str],
        typer.Option("--adapt-to", "--target", metavar="CORPUS:PATH", help=ADAPT_HELP, show_default=False),
    ] = [],  # noqa: B006
    method: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="NAME", help=METHOD_HELP, show_default="didan with --adapt-to, else fdan"),
    ] = None,
    set_: Set = [],  # noqa: B006
    resume: Annotated[bool, typer.Option("--resume", metavar="", help="Continue the training in --out.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train on speech, guided by faces or towards another corpus; leaves a run folder with scores and pictures.

    Without settings the number of recordings decides what is trained: a head on frozen features, in seconds, or a
    network. Exit code 1: the model is no better than chance and should not be used.
    """
    needs_training()
    from fdan_edge.config import Config

    if resume and (config or set_ or speech or faces or target or method):
        raise ConfigError("--resume takes settings and corpora from the run folder; give only --out")
    chosen = [f"method={method}"] if method else []
    settings = Config.load(config, [*set_, *chosen], **({"method": "didan"} if target else {}))
    for words, option in ((speech, "" if resume else "--speech"), (faces, ""), (target, "")):
        parsed(words, option)

    # After the mistakes of a command line are told: PyTorch takes seconds.
    from fdan_edge.cli.render import training as show_training
    from fdan_edge.runs.run_folder import is_restarted, load_run
    from fdan_edge.training.distributed import broadcast, is_main, process_group
    from fdan_edge.training.run import train
    from fdan_edge.utils.launcher import is_launched

    with process_group():
        # torchrun that lost a process starts all of them anew with the same words.
        resume = broadcast(resume or is_restarted(out))
        if resume:
            settings, info = load_run(out)
            speech, faces, target = info.speech, info.faces, info.target
        result = train(
            settings, parsed(speech, "--speech"), out, faces=parsed(faces), target=parsed(target), resume=resume
        )
        if is_main():
            print_json(result.metrics) if as_json else show_training.trained(result.folder, result.metrics)
            # torchrun would take it for a failure, and begin again.
            useless = result.metrics["verdict"]["useless"] and not is_launched()
            raise typer.Exit(1 if useless else 0)
