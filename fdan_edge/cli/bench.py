"""The verb that times models: bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from fdan_edge.cli.model_choice import model_path
from fdan_edge.cli.options import AsJson, Threads, print_json
from fdan_edge.profiling.cards import CARDS


def bench(
    targets: Annotated[
        list[Path],
        typer.Argument(
            metavar="BUNDLE",
            parser=model_path,
            help="Bundles, .onnx files, run folders or names of `fdan-edge models`, timed in turn.",
        ),
    ],
    vs: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="BUNDLE", parser=model_path, help="Compare with it, pair by pair."),
    ] = None,
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
    from fdan_edge.cli.actions import bench as action
    from fdan_edge.cli.render import bench as show_bench
    from fdan_edge.profiling.bench import Plan
    from fdan_edge.utils.files import write_text

    plan = Plan(runs, batch, action.sizes(batches), threads, starts)
    names = [str(target) for target in targets]
    selection = action.Selection(names, str(vs) if vs else "", runtime, precision, everything)
    report = action.measure(selection, plan, action.cards(estimate))
    if markdown:
        write_text(markdown, show_bench.markdown(report, action.command()))
    print_json(action.to_dict(report)) if as_json else show_bench.show(report)
