"""3 s of audio to probabilities: PyTorch eager against ONNX Runtime, in one run.

    python benchmarks/latency.py RUN BUNDLE [--json benchmarks/results/latency-<machine>.json]

Two rounds: all cores, and one thread, which is what a busy device leaves.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fdan_edge.bench import bench, machine
from fdan_edge.cli import show, show_bench
from fdan_edge.files import write_json
from fdan_edge.runners import open_runner


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="+", help="runs and bundles; ratios are to the first")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results: dict[str, object] = {"machine": machine()}
    for threads in (0, 1):
        runners = [(target, open_runner(target, threads)) for target in arguments.targets]
        rows = bench(runners, runs=arguments.runs, threads=threads)
        show.out.print(f"\n[bold]{'all cores' if threads == 0 else 'one thread'}[/]")
        show_bench.latency(rows)
        results["all_cores" if threads == 0 else "one_thread"] = [row.to_dict() for row in rows]
    if arguments.json:
        write_json(arguments.json, results)


if __name__ == "__main__":
    main()
