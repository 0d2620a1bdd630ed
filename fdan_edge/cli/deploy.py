"""The verbs that carry a trained model to a device: export, infer, bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fdan_edge.cli.options import AsJson, Speech, Threads, needs_training, parsed, print_json
from fdan_edge.errors import AudioError, MissingDependencyError


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
    runs: Annotated[int, typer.Option(metavar="N", min=5, help="Timed calls of each.")] = 50,
    batch: Annotated[int, typer.Option(metavar="N", min=1, max=1024, help="Windows per call.")] = 1,
    threads: Threads = 0,
    as_json: AsJson = False,
) -> None:
    """Time models from waveform to probabilities: latency, real-time factor, cold start, memory."""
    from contextlib import ExitStack

    from fdan_edge.bench import bench as measure
    from fdan_edge.machine import machine
    from fdan_edge.cli import show_bench
    from fdan_edge.runners import open_runner

    with ExitStack() as stack:
        runners = [(str(t), stack.enter_context(open_runner(t, threads))) for t in targets]
        rows = measure(runners, runs=runs, batch=batch, threads=threads)
    if as_json:
        print_json({"machine": machine(), "latency": [row.to_dict() for row in rows]})
    else:
        show_bench.latency(rows)
