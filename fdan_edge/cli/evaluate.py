"""The verb that scores a model: evaluate."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from fdan_edge.cli.model_choice import model_path
from fdan_edge.cli.options import AsJson, Speech, Threads, needs_training, parsed, print_json
from fdan_edge.errors import ConfigError

_USUAL_LIMIT = 300  # of `fdan_edge.evaluation.robustness`, which imports too much for --help


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
    robustness: Annotated[
        bool,
        typer.Option(
            "--robustness", metavar="", help="Score in noise and rooms, over telephones and through codecs too."
        ),
    ] = False,
    noise: Annotated[
        list[Path],
        typer.Option("--noise", metavar="PATH", help="Recorded noise of --robustness, files or folders."),
    ] = [],  # noqa: B006
    limit: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            metavar="N", min=0, help="Recordings of --robustness at most; 0: all.", show_default=str(_USUAL_LIMIT)
        ),
    ] = None,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="DIR", help="Where --robustness writes its files.", show_default="a run's own folder"
        ),
    ] = None,
    threads: Threads = 0,
    as_json: AsJson = False,
) -> None:
    """Score a model on speech that it was not trained on. Exit code 1: some recordings were broken."""
    needs_training()
    from fdan_edge.cli.render import evaluation as show_evaluation
    from fdan_edge.evaluation.score_model import Drawing
    from fdan_edge.evaluation.score_model import evaluate as score
    from fdan_edge.evaluation.score_model import evaluate_robustness as score_robustness
    from fdan_edge.runtime.included import introduce

    if (tsne and pictures is None) or (faces and not tsne):
        raise ConfigError("--faces goes with --tsne, and --tsne with --pictures DIR, where it is drawn")
    if robustness and (pictures or tsne):
        raise ConfigError("--robustness draws a picture of its own; --pictures and --tsne go without it")
    if not robustness and (noise or limit is not None or out):
        raise ConfigError("--noise, --limit and --out go with --robustness")
    sources = parsed(speech, "--speech")
    introduce(model)
    if robustness:
        most = _USUAL_LIMIT if limit is None else limit
        options: dict[str, Any] = {"noise": noise, "limit": most, "out": out, "threads": threads}
        scored = score_robustness(model, sources, part.value, run=run, **options)
        print_json(scored.to_dict()) if as_json else show_evaluation.disturbed(scored)
        raise typer.Exit(1 if scored.broken else 0)
    drawing = Drawing(pictures, tsne, parsed(faces) or None) if pictures else None
    evaluation = score(model, sources, part.value, run=run, drawing=drawing, threads=threads)
    print_json(evaluation.to_dict()) if as_json else show_evaluation.evaluated(evaluation)
    raise typer.Exit(1 if evaluation.broken else 0)
