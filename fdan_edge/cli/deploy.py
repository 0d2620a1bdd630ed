"""The verbs that carry a trained model to a device: export, infer, bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from fdan_edge.cli.options import (
    AsJson,
    Precision,
    Rebuild,
    Runtime,
    Speech,
    Threads,
    needs_training,
    parsed,
    print_json,
)
from fdan_edge.errors import AudioError, ConfigError, MissingDependencyError
from fdan_edge.profiling.roofline import CARDS
from fdan_edge.runtime.deploy_targets import TARGETS

_TARGET_HELP = f"Where it will run: {', '.join(TARGETS)}; repeat for more."


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    out: Annotated[Path, typer.Option(help="The bundle to write.")],
    target: Annotated[list[str], typer.Option("--target", metavar="NAME", help=_TARGET_HELP)] = [],  # noqa: B006
    precision: Annotated[
        list[str],
        typer.Option(
            metavar="NAME",
            help="fp32, fp16 or int8; repeat for more.",
            show_default="cpu: fp32, others: fp16",
        ),
    ] = [],  # noqa: B006
    onnx: Annotated[
        bool, typer.Option("--onnx", metavar="", help="Write model.onnx for target cpu (the default).")
    ] = False,
    trt: Annotated[
        bool, typer.Option("--trt", metavar="", help="For the TensorRT that is installed here too; needs one.")
    ] = False,
    student: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="BACKBONE", help="Train a smaller network from RUN first, in OUT-student."),
    ] = None,
    set_: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change one setting of the student.")
    ] = [],  # noqa: B006
    triton: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="DIR", help="Write a model repository for NVIDIA Triton too."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", metavar="", help="Keep an int8 that is not faster than fp32.")
    ] = False,
    speech: Speech = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Turn a run's acoustic path into a bundle for where it will run.

    Each file is run over held-out recordings beside the PyTorch model, and refused where it recognises worse.
    """
    needs_training()
    from fdan_edge.cli.render import export as show_export
    from fdan_edge.export.distil import distil
    from fdan_edge.export.pipeline import export as make
    from fdan_edge.export.plan import installed_target, plan
    from fdan_edge.export.triton import check_place, write_repository
    from fdan_edge.runtime.bundle import check_out

    required = installed_target().name if trt else ""
    targets = [*(["cpu"] if onnx or not target else []), *target, *([required] if trt else [])]
    if student:
        plan(targets, precision)  # a mistake costs no training
    check_out(out)
    name = out.resolve().name
    if triton:
        check_place(triton, out, name)
    sources = parsed(speech)
    if set_ and not student:
        raise ConfigError("--set changes a student; name its network with --student")
    if student:
        run = distil(run, student, out.resolve().with_name(f"{name}-student"), set_, sources)
    made = make(
        run, out, targets=targets, precisions=precision, speech=sources or None, force=force, required=required
    )
    written = write_repository(out, triton, name) if triton else []
    print_json(show_export.exported_dict(made, written)) if as_json else show_export.exported(made, written)


def infer(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle, an .onnx file or a run folder.")],
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
    from fdan_edge.cli.render.tables import Recognitions
    from fdan_edge.cli.render.windows import Timelines
    from fdan_edge.runtime.opening import open_runner, open_stream_runner

    files = decode.find(paths)
    opened = open_stream_runner if windows else open_runner
    with opened(bundle, threads, artifact=precision, runtime=runtime, rebuild=rebuild) as runner:
        printer = (Timelines if windows else Recognitions)(as_json, files, runner.spec.labels)
        for path in files:
            try:
                printer.hear(runner, path)
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
    from fdan_edge.cli import bench_rows
    from fdan_edge.cli.render import bench as show_bench
    from fdan_edge.profiling.bench import Plan
    from fdan_edge.utils.files import write_text

    plan = Plan(runs, batch, bench_rows.sizes(batches), threads, starts)
    names = [str(target) for target in targets]
    wanted = bench_rows.Wanted(names, str(vs) if vs else "", runtime, precision, everything)
    report = bench_rows.measure(wanted, plan, bench_rows.cards(estimate))
    if markdown:
        write_text(markdown, show_bench.markdown(report, bench_rows.command()))
    print_json(bench_rows.to_dict(report)) if as_json else show_bench.show(report)
