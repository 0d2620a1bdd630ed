"""The verbs that carry a trained model to a device: export, infer, bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from fdan_edge.cli.options import AsJson, Speech, Threads, needs_training, parsed, print_json
from fdan_edge.errors import AudioError, MissingDependencyError
from fdan_edge.roofline import CARDS


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
    needs_training()
    from fdan_edge.cli import show_export
    from fdan_edge.export.pipeline import export as make

    del onnx  # the ONNX file is always made; the flag is there because commands read well with it
    made = make(run, out, trt=trt, speech=parsed(speech) or None)
    print_json(show_export.exported_dict(made)) if as_json else show_export.exported(made)


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


def bench(
    targets: Annotated[
        list[Path],
        typer.Argument(metavar="BUNDLE", help="Bundles, .onnx files or run folders, timed in turn."),
    ],
    vs: Annotated[Optional[Path], typer.Option(metavar="BUNDLE", help="Compare with it, pair by pair.")] = None,  # noqa: UP045
    runtime: Annotated[list[str], typer.Option(metavar="NAME", help="Only this runtime; repeat for more.")] = [],  # noqa: B006
    precision: Annotated[
        list[str], typer.Option(metavar="NAME", help="Only fp32, fp16 or int8; repeat for more.")
    ] = [],  # noqa: B006
    everything: Annotated[
        bool, typer.Option("--all", metavar="", help="Also files by runtimes that they were not made for.")
    ] = False,
    runs: Annotated[int, typer.Option(metavar="N", min=5, help="Timed calls of each.")] = 50,
    batch: Annotated[int, typer.Option(metavar="N", min=1, max=1024, help="Windows per call.")] = 1,
    batches: Annotated[
        str, typer.Option(metavar="N,N", help="Throughput at these batches too, e.g. 1,4,16.")
    ] = "",
    starts: Annotated[int, typer.Option(metavar="N", min=0, max=100, help="Cold starts of each; 0: none.")] = 3,
    threads: Threads = 0,
    estimate: Annotated[
        str, typer.Option(metavar="CARD,CARD", help=f"Estimate for cards not at hand: {', '.join(CARDS)}.")
    ] = "",
    markdown: Annotated[Optional[Path], typer.Option(metavar="FILE", help="Write the tables as Markdown.")] = None,  # noqa: UP045
    as_json: AsJson = False,
) -> None:
    """Time everything in bundles that runs here: latency, parts, throughput, cold start, memory, energy."""
    from fdan_edge.bench import Plan
    from fdan_edge.cli import run_bench, show_bench
    from fdan_edge.files import write_text

    plan = Plan(runs, batch, run_bench.sizes(batches), threads, starts)
    names = [str(target) for target in targets]
    wanted = run_bench.Wanted(names, str(vs) if vs else "", runtime, precision, everything)
    report = run_bench.measure(wanted, plan, run_bench.cards(estimate))
    if markdown:
        write_text(markdown, show_bench.markdown(report, run_bench.command()))
    print_json(run_bench.to_dict(report)) if as_json else show_bench.show(report)
