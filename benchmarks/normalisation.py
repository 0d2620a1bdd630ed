"""What normalisation across corpora is worth: one setting changed at a time; source only and DIDAN.

    python benchmarks/normalisation.py --speech ravdess:PATH --speech emodb:PATH --out runs/normalisation \\
           --set frozen_stages=3 --set masks=0 --set balanced=true --set epochs=15

Trains by the tasks of `fdan-edge reproduce didan`, and takes up what is there. Writes OUT/normalisation.md and
.json after every change. Lambda is given, not chosen anew for each change: rows differ in the one setting alone.
"""

from __future__ import annotations

import argparse
import statistics
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from fdan_edge.data.corpora import parse_source
from fdan_edge.experiments import cross_corpus
from fdan_edge.experiments.paper_tables import run_row
from fdan_edge.utils.files import write_json, write_text
from fdan_edge.utils.machine import machine_info

#: title -> what is changed
CHANGES: dict[str, list[str]] = {
    "as the defaults: level = peak, trim_db = 40, channel = none": [],
    "level = speech (mean of what is heard)": ["level=speech"],
    "level = none (not normalised)": ["level=none"],
    "trim_db = 0 (silence kept)": ["trim_db=0"],
    "channel = window (each window's mean spectrum taken off)": ["channel=window"],
    "channel = match (source given the target's mean spectrum)": ["channel=match"],
}
ROWS = ("source", "didan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", action="append", required=True, help="corpus:path, two or more")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--transfer-weight", type=float, default=0.1, help="DIDAN's lambda")
    parser.add_argument("--backbone", default="whisper_tiny")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument("--done-only", action="store_true", help="train nothing; write what is there")
    arguments = parser.parse_args()
    made: list[dict[str, Any]] = []
    for title, change in CHANGES.items():
        made.append({"change": title, "settings": change, "uar": scores(change, arguments)})
        write(made, arguments)
        print(title, made[-1]["uar"], flush=True)


def scores(change: list[str], arguments: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """UAR in percent of every row, task and seed."""
    request = cross_corpus.TaskRequest(
        [parse_source(text) for text in arguments.speech],
        [],
        arguments.out / ("+".join(change) or "default"),
        seeds=arguments.seeds,
        rows=ROWS,
        backbone=arguments.backbone,
        settings=[*arguments.settings, *change],
        lambdas=[arguments.transfer_weight],
    )
    lines = cross_corpus.plan(request)
    if not arguments.done_only:
        lines = cross_corpus.carry_out(lines, lambda _: None)
    found: dict[str, dict[str, list[float]]] = {row: {} for row in ROWS}
    for line in lines:
        outcomes = [run_row(trial.run) for trial in line.trials if trial.run.finished]
        done = [outcome.metrics["test"]["uar"] for outcome in outcomes if outcome.metrics]
        found[line.name][str(line.task)] = [round(100 * uar, 2) for uar in done]
    return found


def write(made: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    """The table, and all of it as JSON."""
    columns = [(row, task) for row in ROWS for task in made[0]["uar"][row]]
    lines = ["| UAR %, mean of the seeds | " + " | ".join(f"{row}, {task}" for row, task in columns) + " |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for one in made:
        values = [one["uar"][row].get(task) or [] for row, task in columns]
        cells = [
            f"{statistics.mean(v):.1f} ({' / '.join(f'{uar:.1f}' for uar in v)})" if v else "-" for v in values
        ]
        lines.append(f"| {one['change']} | " + " | ".join(cells) + " |")
    settings, seeds = ", ".join(arguments.settings), ", ".join(map(str, arguments.seeds))
    text = f"{arguments.backbone}, {settings}; lambda {arguments.transfer_weight}. In brackets seeds {seeds}."
    write_text(arguments.out / "normalisation.md", "\n".join([*lines, "", text, ""]))
    stamp = {"date": datetime.now(timezone.utc).isoformat(timespec="seconds"), "machine": machine_info()}
    given = {**vars(arguments), "out": str(arguments.out)}
    write_json(arguments.out / "normalisation.json", {**stamp, **given, "rows": made})


if __name__ == "__main__":
    main()
