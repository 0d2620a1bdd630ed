"""The verbs and their options."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from fdan_edge import __version__
from fdan_edge.errors import INSTALL_TRAINING, AudioError, ConfigError, DataError, MissingDependencyError

if TYPE_CHECKING:
    from fdan_edge.corpora import Source

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

SPEECH_HELP = "Speech as corpus:path, e.g. ravdess:/data/ravdess; repeat for more."
FACES_HELP = "Faces as corpus:path, e.g. fer2013:/data/fer2013; repeat for more. None: the plain backbone."
TARGET_HELP = "Speech to adapt to, heard without its labels: corpus:path, or unlabelled:path; repeat for more."
METHOD_HELP = "How to adapt to --target: didan, mmd, lmmd, coral, dann, fdan (faces as a bridge), source (not)."

Speech = Annotated[
    list[str], typer.Option("--speech", metavar="CORPUS:PATH", help=SPEECH_HELP, show_default=False)
]
Faces = Annotated[list[str], typer.Option("--faces", metavar="CORPUS:PATH", help=FACES_HELP, show_default=False)]
ConfigFile = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Argument(metavar="CONFIG.toml", help="Settings as TOML.", show_default=False),
]
Set = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change one setting; repeat for more.")]
AsJson = Annotated[bool, typer.Option("--json", metavar="", help="Print JSON for programs.")]
Threads = Annotated[int, typer.Option(metavar="N", min=0, max=1024, help="Threads of the runtime; 0: all cores.")]


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
    _needs_training()
    from fdan_edge.checkpoint import load_run
    from fdan_edge.cli import show
    from fdan_edge.config import load_config
    from fdan_edge.fit import fit

    if resume:
        if config or set_ or speech or faces or target or method:
            raise ConfigError("--resume takes settings and corpora from the run folder; give only --out")
        settings, info = load_run(out)
        speech, faces, target = info.speech, info.faces, info.target
    else:
        chosen = [f"method={method}"] if method else []
        settings = load_config(config, [*set_, *chosen], **({"method": "didan"} if target else {}))
    fitted = fit(
        settings, _sources(speech, "--speech"), _sources(faces), out, target=_sources(target), resume=resume
    )
    _print_json(fitted.metrics) if as_json else show.fitted(fitted.folder, fitted.metrics)


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
    _needs_training()
    from fdan_edge.cli import show
    from fdan_edge.config import load_config
    from fdan_edge.crossval import crossval as run_folds

    settings = load_config(config, set_, protocol="kfold")
    done = run_folds(settings, _sources(speech, "--speech"), _sources(faces), out)
    _print_json(done.to_dict()) if as_json else show.crossvalidated(done)


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
    _needs_training()
    from fdan_edge.cli import show
    from fdan_edge.scoring import Drawing, score_target

    if (tsne and pictures is None) or (faces and not tsne):
        raise ConfigError("--faces goes with --tsne, and --tsne with --pictures DIR, where it is drawn")
    sources = _sources(speech, "--speech")
    drawing = Drawing(pictures, tsne, _sources(faces) or None) if pictures else None
    done = score_target(target, sources, part.value, run=run, drawing=drawing, threads=threads)
    _print_json(done.to_dict()) if as_json else show.evaluation(done)
    raise typer.Exit(1 if done.broken else 0)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    out: Annotated[Path, typer.Option(help="The bundle to write.")],
    onnx: Annotated[
        bool, typer.Option("--onnx", metavar="", help="Write model.onnx (always done; --trt builds on it).")
    ] = True,
    trt: Annotated[bool, typer.Option("--trt", metavar="", help="Build a TensorRT engine too.")] = False,
    speech: Speech = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Turn a run's acoustic path into model.onnx (and an engine), checked against PyTorch on real clips."""
    _needs_training()
    from fdan_edge.cli import show
    from fdan_edge.export.pipeline import export as make

    del onnx  # the ONNX file is always made; the flag is there because commands read well with it
    made = make(run, out, trt=trt, speech=_sources(speech) or None)
    _print_json(show.exported_dict(made)) if as_json else show.exported(made)


@app.command()
def infer(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle, an .onnx file or a run folder.")],
    paths: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Sound files or videos, or folders of sound files.")
    ],
    threads: Threads = 0,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="Print a line of JSON for each file.")
    ] = False,
) -> None:
    """Name the emotion in sound files. Exit code 1: some files could not be used; 2: none could."""
    from fdan_edge import audio
    from fdan_edge.cli import show
    from fdan_edge.infer import recognise
    from fdan_edge.runners import open_runner

    files = audio.find(paths)
    with open_runner(bundle, threads) as runner:
        printer = show.Recognitions(as_json, files, runner.spec.labels)
        for path in files:
            try:
                printer.result(recognise(runner, path))
            except AudioError as error:
                printer.error(path, error)
            except MissingDependencyError as error:  # a video's; what else is there may be sound files
                printer.error(path, AudioError(f"{path}: {error}"))
    missed = len(files) - printer.count
    raise typer.Exit(0 if not missed else 1 if printer.count else 2)


@app.command()
def bench(
    targets: Annotated[
        list[Path],
        typer.Argument(metavar="BUNDLE", help="Bundles, .onnx files or run folders, timed in turn."),
    ],
    runs: Annotated[int, typer.Option(metavar="N", min=5, help="Timed calls of each.")] = 50,
    batch: Annotated[int, typer.Option(metavar="N", min=1, max=1024, help="Windows per call.")] = 1,
    threads: Threads = 0,
    as_json: AsJson = False,
) -> None:
    """Time models from waveform to probabilities: latency, real-time factor, cold start, memory."""
    from contextlib import ExitStack

    from fdan_edge.bench import bench as measure
    from fdan_edge.bench import machine
    from fdan_edge.cli import show
    from fdan_edge.runners import open_runner

    with ExitStack() as stack:
        runners = [(str(t), stack.enter_context(open_runner(t, threads))) for t in targets]
        rows = measure(runners, runs=runs, batch=batch, threads=threads)
    if as_json:
        _print_json({"machine": machine(), "latency": [row.to_dict() for row in rows]})
    else:
        show.latency(rows)


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
    _needs_training()
    from fdan_edge.cli.reproduce import Output, Words, run

    named = {"emodb": emodb, "enterface": enterface, "casia": casia, "ravdess": ravdess}
    sources = _sources([*(f"{corpus}:{path}" for corpus, path in named.items() if path), *speech], "--speech")
    words = Words(seeds, rows, backbone, set_, protocol, lambdas, paper_recipe)
    raise typer.Exit(run(table, sources, _sources(faces), out, words, Output(markdown, as_json)))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where the run and the bundle go.")] = Path("demo"),
) -> None:
    """Everything on a small synthetic corpus, in minutes, on a CPU: train, score, export, run, time."""
    _needs_training()
    from fdan_edge.cli.demo import run_demo

    run_demo(out)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what works on this machine, and how to get the rest."""
    from fdan_edge.cli import show
    from fdan_edge.doctor import examine

    findings = examine()
    _print_json([vars(f) for f in findings]) if as_json else show.findings(findings)


@data_app.command()
def scan(
    sources: Annotated[list[str], typer.Argument(metavar="CORPUS:PATH...", help="What to look at.")],
    as_json: AsJson = False,
) -> None:
    """Count what a corpus holds per class and speaker; name broken, unlabelled and duplicate files.

    Exit code 1 if any is broken.
    """
    from fdan_edge.cli import show
    from fdan_edge.scan import scan as look

    found = [one for source in _sources(sources) for one in look(source)]
    _print_json([f.to_dict() for f in found]) if as_json else show.scans(found)
    raise typer.Exit(1 if any(f.broken for f in found) else 0)


@data_app.command()
def cache(
    clear: Annotated[bool, typer.Option("--clear", metavar="", help="Remove the log-mels and faces.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say where log-mels and faces of corpora are kept between trainings, and how much they take."""
    _needs_training()
    from fdan_edge import cache as kept
    from fdan_edge.cli import show

    size = kept.size()
    if clear:
        kept.clear()
    if as_json:
        _print_json({"folder": str(kept.folder()), "bytes": size, "cleared": clear})
    else:
        show.cache(kept.folder(), size, cleared=clear)


def _sources(words: list[str], required: str = "") -> list[Source]:
    from fdan_edge.corpora import parse_source

    if required and not words:
        raise DataError(f"no speech given; write {required} corpus:path, e.g. {required} synthetic:")
    return [parse_source(word) for word in words]


def _needs_training() -> None:
    """Fail with the pip command where only the runtime is installed."""
    from importlib.util import find_spec

    for package in (
        "torch",
        "torchvision",
        "librosa",
        "sklearn",
        "safetensors",
        "matplotlib",
        "onnx",
        "onnxruntime",
        "onnxscript",
        "PIL",
        "tomli_w",
    ):
        if find_spec(package) is None:
            raise MissingDependencyError(package, "this command", INSTALL_TRAINING)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2))
