"""The verb that names the emotion in files: infer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fdan_edge.cli.options import Model, Precision, Rebuild, Runtime, Threads
from fdan_edge.errors import AudioError, MissingDependencyError


def infer(
    bundle: Model,
    paths: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Sound files or videos, or folders of sound files.")
    ],
    runtime: Runtime = None,
    precision: Precision = None,
    rebuild: Rebuild = False,
    windows: Annotated[
        bool,
        typer.Option("--windows", metavar="", help="Follow each file in time, as `fdan-edge stream` does."),
    ] = False,
    threads: Threads = 0,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="Print a line of JSON for each file.")
    ] = False,
) -> None:
    """Name the emotion in sound files. Exit code 1: some files could not be used; 2: none could."""
    from fdan_edge.audio import decode
    from fdan_edge.cli.render.recognitions import Recognitions
    from fdan_edge.cli.render.windows import Timelines
    from fdan_edge.runtime.opening import open_runner, open_stream_runner

    files = decode.find(paths)
    open_model = open_stream_runner if windows else open_runner
    with open_model(bundle, threads, artifact=precision, runtime=runtime, rebuild=rebuild) as runner:
        printer = (Timelines if windows else Recognitions)(as_json, files, runner.spec.labels)
        for path in files:
            try:
                printer.recognize(runner, path)
            except AudioError as error:
                printer.error(path, error)
            except MissingDependencyError as error:  # a video's; what else is there may be sound files
                printer.error(path, AudioError(f"{path}: {error}"))
    missed = len(files) - printer.count
    raise typer.Exit(0 if not missed else 1 if printer.count else 2)
