"""Cross-corpus tasks: every ordered pair of the given corpora is one, a labelled source and an unlabelled target.

A run folder for each task, row, weight and seed: OUT/SOURCE-to-TARGET-ROW-BACKBONE-lWEIGHT-sSEED, e.g.
runs/reproduce/emodb-to-casia-didan-resnet34-l10-s0.

How much a row's alignment weighs is chosen without labels of the target: all weights are trained with the first
seed, and the one whose model tells most about the target is trained with the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

from fdan_edge.config import Config
from fdan_edge.data.corpora import Source, check_path
from fdan_edge.errors import ConfigError, unknown_choice
from fdan_edge.experiments import paper_scores, paper_tables
from fdan_edge.experiments.paper_tables import (
    CROSS_CORPUS,
    Outcome,
    Outcomes,
    Row,
    Run,
    check_same,
    check_settings,
    run_row,
)

log = logging.getLogger(__name__)

#: Settings that have an option of their own, because rows differ in them.
_OPTIONS = {
    "backbone": "--backbone",
    "seed": "--seeds",
    "method": "--rows",
    "aligned_layers": "--rows",
    "transfer_weight": "--lambdas",
    "alpha": "--lambdas",
}


@dataclass(frozen=True)
class Weight:
    """The setting that weighs what a row aligns, and the values that are tried."""

    setting: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class TaskRow(Row):
    """What is trained in one row."""

    weight: Weight | None = None


#: A decade to each side of 1, where the term is about as large as the cross-entropy.
_DECADES = Weight("transfer_weight", (0.1, 1.0, 10.0))
#: CORAL is divided by 4 d^2, which makes it small.
_CORAL = Weight("transfer_weight", (1.0, 10.0, 100.0))
#: DANN's reversed gradient is that of a cross-entropy; above 1 it outweighs that of the emotions.
_DANN = Weight("transfer_weight", (0.1, 0.3, 1.0))
#: LMMD towards the faces acts on two networks and has its ramp; the paper's alpha (1e-3) moves next to nothing.
_FACES = Weight("alpha", (0.1, 1.0))

ROWS = {
    "source": TaskRow("source only", "source", settings={"method": "source"}),
    # What the other rows do beside their term: the norms' statistics are of both corpora together.
    "joint": TaskRow("joint, no term", "joint", settings={"method": "didan", "transfer_weight": 0.0}),
    "mmd": TaskRow("MMD", "mmd", settings={"method": "mmd"}, weight=_DECADES),
    "lmmd": TaskRow("LMMD, pseudo-labels", "lmmd", settings={"method": "lmmd"}, weight=_DECADES),
    "coral": TaskRow("CORAL", "coral", settings={"method": "coral"}, weight=_CORAL),
    "dann": TaskRow("DANN", "dann", settings={"method": "dann"}, weight=_DANN),
    "didan": TaskRow("DIDAN", "didan", settings={"method": "didan"}, weight=_DECADES),
    "didan_layers": TaskRow("DIDAN, all layers", "didan_layers", settings={"method": "didan"}, weight=_DECADES),
    "bridge": TaskRow("FDAN, faces as bridge", "bridge", faces=True, settings={"method": "fdan"}, weight=_FACES),
    # Two weights at once would be a grid of their products; alpha is the smaller one of `bridge`.
    "didan_faces": TaskRow(
        "DIDAN with faces",
        "didan_faces",
        faces=True,
        settings={"method": "didan", "alpha": _FACES.values[0]},
        weight=_DECADES,
    ),
}


@dataclass(frozen=True)
class Task:
    """Train on one corpus with its labels, recognise the emotions of another."""

    source: Source
    target: Source

    def __str__(self) -> str:
        return f"{self.source.corpus} to {self.target.corpus}"


@dataclass(frozen=True)
class TaskRequest:
    """The table as it was asked for."""

    speech: list[Source]
    faces: list[Source]
    out: Path
    seeds: Sequence[int] = (0,)
    rows: Sequence[str] = ()  # none: all, those of faces where there are any
    backbone: str = paper_scores.BACKBONE
    settings: Sequence[str] = ()  # key=value
    lambdas: Sequence[float] = ()  # of every row; none: each row's own

    table = CROSS_CORPUS

    @property
    def corpora(self) -> tuple[str, ...]:
        """Give the names of the corpora of speech, sorted."""
        return tuple(sorted(source.corpus for source in self.speech))

    @property
    def tasks(self) -> list[Task]:
        """List every ordered pair of corpora, each followed by its reverse."""
        return [task for a, b in combinations(self.speech, 2) for task in (Task(a, b), Task(b, a))]

    def recipe(self) -> Config:
        """Make the settings that all rows share.

        Raises:
            ConfigError: an unknown setting, a wrong value, or one in which rows differ.
        """
        check_settings(self.settings, _OPTIONS)
        config = Config.load(None, [f"backbone={self.backbone}", *self.settings], recipe="network")
        if config.protocol != "speaker":
            raise ConfigError(f"--set protocol={config.protocol}: {CROSS_CORPUS} tests on the whole target corpus")
        return config


@dataclass(frozen=True)
class Trial:
    """One training of a task: a row with one weight and one seed."""

    task: Task
    weight: float | None  # None: the row has none
    run: Run
    outcome: Outcome | None = None  # None: not run yet

    @property
    def seed(self) -> int:
        """Give the training's seed."""
        return self.run.config.seed

    @property
    def metrics(self) -> dict[str, Any] | None:
        """Give its scores, as in metrics.json; None: there are none yet."""
        return self.outcome.metrics if self.outcome else None

    @property
    def information(self) -> float | None:
        """Give how much the model tells about the target, in nats; no labels are needed for it."""
        return float(self.metrics["target"]["information"]) if self.metrics else None


@dataclass(frozen=True)
class TableLine:
    """A line of one task's table: a row, and all trainings that it may be made of."""

    task: Task
    name: str
    row: TaskRow
    trials: list[Trial]  # seed by seed, and of a seed all weights in rising order

    @property
    def grid(self) -> list[Trial]:
        """List the trainings with the first seed: all weights."""
        return [trial for trial in self.trials if trial.seed == self.trials[0].seed]

    @property
    def choice(self) -> Trial | None:
        """Choose a weight: give its training with the first seed; None: not known yet, or all failed.

        It is the one with the highest mutual information between the target's recordings and the classes that
        are recognised, H(mean p) - mean H(p) (Bridle, Heading, MacKay, NIPS 1991); of equal ones the smallest
        weight. A training that diverged is taken only where all did.
        """
        if len(self.grid) == 1:
            return self.grid[0]
        if any(trial.outcome is None for trial in self.grid):
            return None
        scored = [trial for trial in self.grid if trial.metrics]
        sound = [trial for trial in scored if trial.outcome and not trial.outcome.problem]
        return max(sound or scored, key=lambda trial: trial.information or 0.0, default=None)

    @property
    def chosen(self) -> list[Trial]:
        """List the trainings whose scores the table shows, one for each seed; none while there is no choice."""
        choice = self.choice
        return [trial for trial in self.trials if trial.weight == choice.weight] if choice else []

    @property
    def wanted(self) -> list[Trial]:
        """List the trainings to run, as far as this is known."""
        return [*self.grid, *self.chosen[1:]]


def row_names(request: TaskRequest) -> list[str]:
    """Name the rows of a request, in the table's order; without a choice those of faces only where there are any.

    Raises:
        ConfigError: an unknown row.
    """
    for name in request.rows:
        if name not in ROWS:
            raise ConfigError(unknown_choice(f"row of {CROSS_CORPUS}", name, list(ROWS)))
    if request.rows:
        return [name for name in ROWS if name in request.rows]
    return [name for name, row in ROWS.items() if request.faces or not row.faces]


def plan(request: TaskRequest) -> list[TableLine]:
    """List the lines of all tasks, each with every training that the choice of its weight may need.

    Raises:
        ConfigError: less than two corpora, one twice or without labels, an unknown row or setting, or a value that
            cannot work.
        DataError: a path that is not there.
        CheckpointError: a folder holds a run of other settings or corpora.
    """
    corpora = ", ".join(map(str, request.speech)) or "none"
    if len(request.speech) < 2:
        raise ConfigError(
            f"{CROSS_CORPUS} needs two corpora of speech; given: {corpora}; repeat --speech corpus:path"
        )
    if len(set(request.corpora)) < len(request.speech):
        raise ConfigError(f"{CROSS_CORPUS} takes every corpus once; given: {corpora}")
    if "unlabelled" in request.corpora:
        raise ConfigError(f"{CROSS_CORPUS} scores every corpus, for which it needs labels; given: {corpora}")
    for source in (*request.speech, *request.faces):
        check_path(source)
    lines = [_plan_line(request, task, name) for task in request.tasks for name in row_names(request)]
    for line in lines:
        for trial in line.trials:
            check_same(trial.run)
    return lines


def _plan_line(request: TaskRequest, task: Task, name: str) -> TableLine:
    row = ROWS[name]
    values: Sequence[float | None] = sorted(set(request.lambdas or row.weight.values)) if row.weight else [None]
    trials = [_plan_trial(request, task, name, weight, seed) for seed in request.seeds for weight in values]
    return TableLine(task, name, row, trials)


def _plan_trial(request: TaskRequest, task: Task, name: str, weight: float | None, seed: int) -> Trial:
    row, config = ROWS[name], replace(request.recipe(), seed=seed)
    settings = dict(row.settings)
    if row.weight:
        settings[row.weight.setting] = weight
    if name == "didan_layers":
        settings["aligned_layers"] = (*(str(n + 1) for n in range(config.fc_layers)), "output")
    weighed = "" if weight is None else f"-l{weight:g}"
    folder = f"{task.source.corpus}-to-{task.target.corpus}-{row.kind}-{config.backbone}{weighed}-s{seed}"
    faces = request.faces if row.faces else []
    run = Run(name, row, replace(config, **settings), [task.source], faces, request.out / folder, [task.target])
    return Trial(task, weight, run)


def carry_out(lines: list[TableLine], after: Callable[[list[TableLine]], None]) -> list[TableLine]:
    """Train seed by seed, so that a table of one is complete first; finished runs are read.

    A training that fails stops no other; it is tried again at the next call.

    Args:
        lines: from `plan`.
        after: called at first and after every training with what there is.
    """
    known = {t.run.folder: run_row(t.run) for line in lines for t in line.trials if t.run.finished}
    if known:
        log.info(f"{len(known)} runs are finished already")

    def keep(runs: list[Run], outcomes: Outcomes) -> None:
        known.update({run.folder: outcome for run, outcome in zip(runs, outcomes, strict=True) if outcome})
        after(_with_outcomes(lines, known))

    # With the first seed all weights are trained, and with that it is known what is trained with the others.
    for seed in dict.fromkeys(trial.seed for line in lines for trial in line.trials):
        wanted = [t.run for line in _with_outcomes(lines, known) for t in line.wanted if t.seed == seed]
        runs = [run for run in wanted if run.folder not in known]
        paper_tables.carry_out(runs, partial(keep, runs))
    return _with_outcomes(lines, known)


def _with_outcomes(lines: list[TableLine], known: dict[Path, Outcome]) -> list[TableLine]:
    return [
        replace(line, trials=[replace(trial, outcome=known.get(trial.run.folder)) for trial in line.trials])
        for line in lines
    ]
