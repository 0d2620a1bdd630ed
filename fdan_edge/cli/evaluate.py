"""The verb that scores a model: evaluate."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer

from fdan_edge.cli.model_choice import model_path
from fdan_edge.cli.options import AsJson, Speech, Threads, needs_training, parsed, print_json
from fdan_edge.errors import ConfigError


class Part(str, Enum):
    """Which of a run's recordings to score."""

    test = "test"
    val = "val"
    train = "train"
    all = "all"


def evaluate(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            parser=model_path,
            help="A run folder, a bundle, an .onnx file or a name of `fdan-edge models`.",
        ),
    ],
    speech: Speech = [],  # noqa: B006
    part: Annotated[Part, typer.Option(help="Which of the run's recordings to score.")] = Part.test,
    run: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Run folder of a bundle that was moved: it knows which speech was trained on."),
    ] = None,
    pictures: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="DIR", help="Draw confusion matrix and reliability diagram here (.png and .svg)."),
    ] = None,
    tsne: Annotated[
        bool,
        typer.Option("--tsne", metavar="", help="Draw the features of voices and faces too (a run folder's)."),
    ] = False,
    faces: Annotated[
        list[str],
        typer.Option("--faces", metavar="CORPUS:PATH", help="Faces of --tsne.", show_default="the run's own"),
    ] = [],  # noqa: B006
    threads: Threads = 0,
    as_json: AsJson = False,
) -> None:
    """Score a model on speech that it was not trained on. Exit code 1: some recordings were broken."""
    needs_training()
    from fdan_edge.cli.render import evaluation as show_evaluation
    from fdan_edge.evaluation.score_model import Drawing
    from fdan_edge.evaluation.score_model import evaluate as score
    from fdan_edge.runtime.included import introduce

    if (tsne and pictures is None) or (faces and not tsne):
        raise ConfigError("--faces goes with --tsne, and --tsne with --pictures DIR, where it is drawn")
    sources = parsed(speech, "--speech")
    introduce(model)
    drawing = Drawing(pictures, tsne, parsed(faces) or None) if pictures else None
    evaluation = score(model, sources, part.value, run=run, drawing=drawing, threads=threads)
    print_json(evaluation.to_dict()) if as_json else show_evaluation.evaluated(evaluation)
    raise typer.Exit(1 if evaluation.broken else 0)
