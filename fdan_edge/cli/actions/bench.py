"""Carry out `fdan-edge bench`: open all that is selected, time it, compare, estimate."""

from __future__ import annotations

import logging
import shlex
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from fdan_edge.cli.render.bench import Report
from fdan_edge.errors import ConfigError, unknown_choice
from fdan_edge.profiling.bench import Latency, Plan, Timed, bench, chosen, rounded
from fdan_edge.profiling.cards import Card, find_cards
from fdan_edge.profiling.compare import pairs
from fdan_edge.profiling.roofline import Estimate, calibrate, costs, estimate, estimates, is_fp32
from fdan_edge.runtime.deploy_targets import PRECISIONS
from fdan_edge.runtime.manifest import GraphCost
from fdan_edge.runtime.opening import Variant
from fdan_edge.runtime.runtime_choice import RUNTIMES
from fdan_edge.utils.machine import busy_warning, machine_info

log = logging.getLogger(__name__)

_MAX_BATCH = 1024


@dataclass(frozen=True)
class Selection:
    """What is timed: everything of the targets that runs here, or only some runtimes and precisions."""

    targets: list[str]
    vs: str  # compared with the one target; empty: nothing
    runtimes: list[str]
    precisions: list[str]
    foreign: bool = False  # also artifacts by runtimes that they were not made for


def measure(selection: Selection, plan: Plan, cards: list[Card]) -> Report:
    """Time all of it in one run.

    Raises:
        ConfigError: there is no such runtime or precision, `vs` with more than one target, or cards to estimate
            for with run folders only.
        BundleError: nothing of a target runs here, or its costs cannot be read.
    """
    _check(selection)
    with_costs = _with_costs(selection.targets) if cards else []
    here, warning = machine_info(), busy_warning()  # before our own load
    targets = list(dict.fromkeys([*selection.targets, *([selection.vs] if selection.vs else [])]))
    with ExitStack() as stack:
        variants = [v for target in targets for v in _chosen(target, selection)]
        contenders = [(v, stack.enter_context(v.open(plan.threads))) for v in variants]
        counted = {str(path): costs(path) for path in with_costs}  # what it cannot read fails before the timing
        if warning:
            log.warning(warning)
        timed = bench(contenders, plan)
    report = Report([entry.row for entry in timed], here)
    if selection.vs:
        ours, theirs = _of_target(timed, selection.targets[0]), _of_target(timed, selection.vs)
        report = replace(report, pairs=pairs(ours, theirs))
    return _with_estimates(report, counted, plan, cards) if cards else report


def _check(selection: Selection) -> None:
    for what, names, valid in (
        ("runtime", selection.runtimes, RUNTIMES),
        ("precision", selection.precisions, PRECISIONS),
    ):
        for name in names:
            if name not in valid:
                raise ConfigError(unknown_choice(what, name, valid))
    if selection.vs and (len(selection.targets) > 1 or selection.vs in selection.targets):
        raise ConfigError(
            f"--vs {selection.vs} compares with one other target; given: {', '.join(selection.targets)}"
        )


def _chosen(target: str, selection: Selection) -> list[Variant]:
    return chosen(target, selection.runtimes, selection.precisions, foreign=selection.foreign)


def _of_target(timed: list[Timed], target: str) -> list[Timed]:
    return [entry for entry in timed if entry.row.target == target]


def _with_costs(targets: list[str]) -> list[Path]:
    """Choose the targets that have costs.

    Raises:
        ConfigError: all are run folders.
    """
    paths = [Path(target) for target in targets if not (Path(target) / "run.toml").is_file()]
    if not paths:
        raise ConfigError("--estimate reads the costs of a bundle or an .onnx file; a run folder has none")
    return paths


def _with_estimates(
    report: Report, counted: dict[str, dict[str, GraphCost]], plan: Plan, cards: list[Card]
) -> Report:
    """Add estimates for the cards, and for this processor beside what was measured.

    Args:
        report: what was measured.
        counted: costs by target and artifact.
        plan: by which it was measured.
        cards: to estimate for.
    """
    by_target = [estimates(of_files, cards, plan.batch) for of_files in counted.values()]
    here = calibrate(plan.threads)
    checks: list[tuple[Latency, Estimate]] = []
    for row in report.rows:
        cost = counted.get(row.target, {}).get(row.artifact)
        if cost and row.runtime == "onnxruntime-cpu" and is_fp32(cost):
            checks.append((row, estimate(cost, here, artifact=row.artifact, batch=plan.batch)))
    return replace(report, estimates=list(chain.from_iterable(by_target)), checks=checks, here=here)


def to_dict(report: Report) -> dict[str, Any]:
    """Give plain values for JSON."""
    values: dict[str, Any] = {"machine": report.machine, "latency": [row.to_dict() for row in report.rows]}
    if report.pairs:
        values["versus"] = [pair.to_dict() for pair in report.pairs]
    if report.here:
        values["estimates"] = [
            rounded({**asdict(estimated), "bound": estimated.bound}) for estimated in report.estimates
        ]
        values["estimates_checked_here"] = {
            "gflops": round(report.here.peaks["fp32"] / 1e9, 1),
            "gigabytes_per_second": round(report.here.bandwidth / 1e9, 2),
            "rows": [_checked(row, estimated) for row, estimated in report.checks],
        }
    return values


def _checked(row: Latency, estimated: Estimate) -> dict[str, Any]:
    names = ("target", "artifact", "precision", "runtime")
    times = {
        "estimate": estimated.total,
        "fastest": row.min,
        "p50": row.p50,
        "estimate_over_fastest": estimated.total / row.min,
    }
    return {**{name: getattr(row, name) for name in names}, **rounded(times)}


def cards(words: str) -> list[Card]:
    """Parse a list of cards with commas."""
    return find_cards([word.strip() for word in words.split(",") if word.strip()])


def sizes(words: str) -> tuple[int, ...]:
    """Parse a list of batch sizes with commas.

    Raises:
        ConfigError: one is no size.
    """
    numbers = [word.strip() for word in words.split(",") if word.strip()]
    for word in numbers:
        if not word.isdecimal() or not 1 <= int(word) <= _MAX_BATCH:
            raise ConfigError(f"--batches {word!r} is not a batch size; valid: 1 to {_MAX_BATCH}, as in 1,4,16")
    return tuple(dict.fromkeys(int(word) for word in numbers))


def command() -> str:
    """Give the command line of this process."""
    return shlex.join(["fdan-edge", *sys.argv[1:]])
