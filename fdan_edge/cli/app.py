"""The verbs and their options."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from fdan_edge._version import __version__
from fdan_edge.cli import deploy
from fdan_edge.cli.options import (
    METHOD_HELP,
    TARGET_HELP,
    AsJson,
    ConfigFile,
    Faces,
    Set,
    Speech,
    Threads,
    needs_one_process,
    needs_training,
    parsed,
    print_json,
)
from fdan_edge.cli.runs import runs
from fdan_edge.cli.serve import serve
from fdan_edge.cli.stream import stream
from fdan_edge.cli.tune import tune
from fdan_edge.errors import ConfigError

app = typer.Typer(
    name="fdan-edge",
    help="Speech emotion recognition for the edge: train with faces, run with the voice alone.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="Look at corpora before training.", no_args_is_help=True)
app.add_typer(data_app, name="data")


class Part(str, Enum):
    """Which of a run's recordings to score."""

    test = "test"
    val = "val"
    train = "train"
    all = "all"


def _short_for(corpus: str) -> Any:
    return typer.Option(metavar="PATH", help=f"Short for --speech {corpus}:PATH.", show_default=False)


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


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="The run folder to write.")],
    config: ConfigFile = None,
    speech: Speech = [],  # noqa: B006
    faces: Faces = [],  # noqa: B006
    target: Annotated[
        list[str], typer.Option("--target", metavar="CORPUS:PATH", help=TARGET_HELP, show_default=False)
    ] = [],  # noqa: B006
    method: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="NAME", help=METHOD_HELP, show_default="didan with --target, else fdan"),
    ] = None,
    set_: Set = [],  # noqa: B006
    resume: Annotated[bool, typer.Option("--resume", metavar="", help="Continue the training in --out.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train on speech, guided by faces or towards another corpus; leaves a run folder with scores and pictures."""
    needs_training()
    from fdan_edge.cli.render import tables
    from fdan_edge.config import load_config
    from fdan_edge.runs.run_folder import is_restarted, load_run
    from fdan_edge.training.distributed import agreed, is_main, joined
    from fdan_edge.training.run import fit

    if resume and (config or set_ or speech or faces or target or method):
        raise ConfigError("--resume takes settings and corpora from the run folder; give only --out")
    with joined():
        # torchrun that lost a process starts all of them anew with the same words.
        resume = agreed(resume or is_restarted(out))
        if resume:
            settings, info = load_run(out)
            speech, faces, target = info.speech, info.faces, info.target
        else:
            chosen = [f"method={method}"] if method else []
            settings = load_config(config, [*set_, *chosen], **({"method": "didan"} if target else {}))
        fitted = fit(
            settings, parsed(speech, "--speech"), parsed(faces), out, target=parsed(target), resume=resume
        )
        if is_main():
            print_json(fitted.metrics) if as_json else tables.fitted(fitted.folder, fitted.metrics)


@app.command()
def crossval(
    out: Annotated[Path, typer.Option(help="The folder to write; each fold is a run folder in it.")],
    config: ConfigFile = None,
    speech: Speech = [],  # noqa: B006
    faces: Faces = [],  # noqa: B006
    set_: Set = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Train every fold and score their tests together. Protocol kfold, unless --set protocol=loso.

    The same command again goes on where it was stopped.
    """
    needs_one_process("crossval")
    needs_training()
    from fdan_edge.cli.render import tables
    from fdan_edge.config import load_config
    from fdan_edge.experiments.crossval import crossval as run_folds

    settings = load_config(config, set_, protocol="kfold")
    done = run_folds(settings, parsed(speech, "--speech"), parsed(faces), out)
    print_json(done.to_dict()) if as_json else tables.crossvalidated(done)


app.command()(tune)


@app.command()
def evaluate(
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="A run folder, a bundle or an .onnx file.")],
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
    from fdan_edge.cli.render import tables
    from fdan_edge.evaluation.score_model import Drawing, score_target

    if (tsne and pictures is None) or (faces and not tsne):
        raise ConfigError("--faces goes with --tsne, and --tsne with --pictures DIR, where it is drawn")
    sources = parsed(speech, "--speech")
    drawing = Drawing(pictures, tsne, parsed(faces) or None) if pictures else None
    done = score_target(target, sources, part.value, run=run, drawing=drawing, threads=threads)
    print_json(done.to_dict()) if as_json else tables.evaluation(done)
    raise typer.Exit(1 if done.broken else 0)


app.command()(runs)
app.command()(deploy.export)
app.command()(deploy.infer)
app.command()(deploy.bench)
app.command()(stream)
app.command()(serve)


@app.command()
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
    from fdan_edge.cli.reproduce import Output, Words, run

    named = {"emodb": emodb, "enterface": enterface, "casia": casia, "ravdess": ravdess}
    sources = parsed([*(f"{corpus}:{path}" for corpus, path in named.items() if path), *speech], "--speech")
    words = Words(seeds, rows, backbone, set_, protocol, lambdas, paper_recipe)
    raise typer.Exit(run(table, sources, parsed(faces), out, words, Output(markdown, as_json)))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where the run and the bundle go.")] = Path("demo"),
) -> None:
    """Everything on a small synthetic corpus, in minutes, on a CPU: train, score, export, run, time."""
    needs_one_process("demo")
    needs_training()
    from fdan_edge.cli.demo import run_demo

    run_demo(out)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what works on this machine, and how to get the rest."""
    from fdan_edge.cli.render import tables
    from fdan_edge.profiling.doctor import examine

    findings = examine()
    print_json([vars(f) for f in findings]) if as_json else tables.findings(findings)


@data_app.command()
def scan(
    sources: Annotated[list[str], typer.Argument(metavar="CORPUS:PATH...", help="What to look at.")],
    as_json: AsJson = False,
) -> None:
    """Count what a corpus holds per class and speaker; name broken, unlabelled and duplicate files.

    Exit code 1 if any is broken.
    """
    from fdan_edge.cli.render import tables
    from fdan_edge.data.scan import scan as look

    found = [one for source in parsed(sources) for one in look(source)]
    print_json([f.to_dict() for f in found]) if as_json else tables.scans(found)
    raise typer.Exit(1 if any(f.broken for f in found) else 0)


@data_app.command()
def cache(
    clear: Annotated[bool, typer.Option("--clear", metavar="", help="Remove the log-mels and faces.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say where log-mels and faces of corpora are kept between trainings, and how much they take."""
    needs_training()
    from fdan_edge.cli.render import tables
    from fdan_edge.features import store as kept

    size = kept.size()
    if clear:
        kept.clear()
    if as_json:
        print_json({"folder": str(kept.folder()), "bytes": size, "cleared": clear})
    else:
        tables.cache(kept.folder(), size, cleared=clear)
