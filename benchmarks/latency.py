"""Everything of runs and bundles that runs here, in one run: 3 s of audio to probabilities.

    python benchmarks/latency.py RUN BUNDLE [--json benchmarks/results/latency-<machine>.json]

Two rounds: all cores, and one thread, which is what a busy device leaves.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fdan_edge.cli.actions import bench
from fdan_edge.cli.render import bench as show_bench
from fdan_edge.cli.render.console import out
from fdan_edge.profiling.bench import Plan
from fdan_edge.utils.files import write_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="+", help="runs and bundles; ratios are to the first")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--batches", default="", help="throughput at these too, e.g. 1,4,16")
    parser.add_argument("--estimate", default="", help="cards, e.g. rtx4060,orin-nano")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    selection = bench.Selection(options.targets, "", [], [])
    results: dict[str, object] = {}
    for threads, title in ((0, "all cores"), (1, "one thread")):
        plan = Plan(options.runs, 1, bench.sizes(options.batches), threads, options.starts)
        report = bench.measure(selection, plan, bench.cards(options.estimate))
        out.print(f"\n[bold]{title}[/]")
        show_bench.show(report)
        results[title.replace(" ", "_")] = bench.to_dict(report)
    if options.json:
        write_json(options.json, results)


if __name__ == "__main__":
    main()
