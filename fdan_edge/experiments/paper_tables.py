"""Train the rows of the FDAN paper's tables on corpora at hand: a run folder for each row, protocol and seed.

It is OUT/CORPORA-PROTOCOL-KIND-BACKBONE-sSEED, e.g. runs/reproduce/savee-speaker-fdan-resnet34-s0. No table is in
its name, so a row that is in two tables is trained once.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch

from fdan_edge.config import DECISIVE, Config
from fdan_edge.data.corpora import Source, check_path
from fdan_edge.data.protocols import FOLDED
from fdan_edge.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    FdanEdgeError,
    TrainingError,
    one_line,
    unknown_choice,
)
from fdan_edge.evaluation.predictions import FILE, Predictions, load_predictions
from fdan_edge.experiments import paper_scores
from fdan_edge.experiments.crossval import RESULT, crossval
from fdan_edge.runs.run_folder import RunInfo, load_run
from fdan_edge.training.run import train
from fdan_edge.training.run_records import absolute
from fdan_edge.utils.files import write_json
from fdan_edge.utils.machine import machine_info
from fdan_edge.utils.small_files import read_json, read_json_lines

log = logging.getLogger(__name__)

#: What the paper says of its training (section 3.2); alpha and decay are the first of the values that it tried.
PAPER_RECIPE = (
    "optimizer=sgd",
    "momentum=0.99",
    "alpha=1e-3",
    "weight_decay=1e-3",
    "batch_size=32",
    "epochs=300",
)


@dataclass(frozen=True)
class Row:
    """What is trained in one row of a table."""

    title: str
    kind: str  # part of the run folder's name
    backbone: str | None = None  # None: the one that was asked for
    faces: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


ROWS = {
    "vgg16": Row("VGG-16", "plain", "vgg16"),
    "vgg19": Row("VGG-19", "plain", "vgg19"),
    "resnet18": Row("ResNet-18", "plain", "resnet18"),
    "resnet34": Row("ResNet-34", "plain", "resnet34"),
    "resnet50": Row("ResNet-50", "plain", "resnet50"),
    "plain": Row("plain backbone", "plain"),
    "fdan_1": Row("FDAN_1 (no cross-attention)", "fdan_1", faces=True, settings={"attention_layers": 0}),
    "fdan_2": Row("FDAN_2 (no LMMD)", "fdan_2", faces=True, settings={"alpha": 0.0}),
    "fdan": Row("FDAN", "fdan", faces=True),
    "multi": Row("FDAN, faces of several corpora", "multi", faces=True),
}
_BACKBONES = ("vgg16", "vgg19", "resnet18", "resnet34", "resnet50")
TABLES = {
    "table1": (*_BACKBONES, "fdan"),
    "table2": (*_BACKBONES, "fdan"),
    "table3": ("multi",),
    "table4": ("fdan_1", "fdan_2", "fdan"),
}
#: The table of cross-corpus tasks; see fdan_edge.experiments.cross_corpus.
CROSS_CORPUS = "didan"
#: Settings that have an option of their own, because rows differ in them.
_OPTIONS = {"backbone": "--backbone", "protocol": "--protocol", "seed": "--seeds"}


@dataclass(frozen=True)
class Request:
    """A table as it was asked for."""

    table: str
    speech: list[Source]
    faces: list[Source]
    out: Path
    protocols: Sequence[str] = ("random", "speaker")
    seeds: Sequence[int] = (0,)
    rows: Sequence[str] = ()  # none: the paper's of the table
    backbone: str = paper_scores.BACKBONE  # of FDAN and of the row `plain`
    settings: Sequence[str] = ()  # key=value
    paper_recipe: bool = False

    @property
    def corpora(self) -> tuple[str, ...]:
        """Give the names of the corpora of speech, sorted."""
        return _names(self.speech)

    def recipe(self, backbone: str = "") -> Config:
        """Make the settings that all rows share, and what the backbone (FDAN's, unless another is named) brings.

        Raises:
            ConfigError: an unknown setting, a wrong value, or one that makes the rows.
        """
        check_settings(self.settings, _OPTIONS)
        recipe = PAPER_RECIPE if self.paper_recipe else ()
        words = [f"backbone={backbone or self.backbone}", *recipe, *self.settings]
        config = Config.load(None, words, recipe="network")
        for name, row in (("attention_layers", "fdan_1"), ("alpha", "fdan_2")):
            if not getattr(config, name):
                raise ConfigError(f"--set {name}=0 makes every row of FDAN the row {row}; use --rows {row}")
        return config


@dataclass(frozen=True)
class Run:
    """One row under one protocol with one seed."""

    name: str  # of the row
    row: Row
    config: Config
    speech: list[Source]
    faces: list[Source]
    folder: Path
    target: list[Source] = field(default_factory=list)  # speech whose labels are not seen; none: no such corpus

    @property
    def finished(self) -> bool:
        """Tell whether the folder holds its scores."""
        return (self.folder / self.result).exists()

    @property
    def result(self) -> str:
        """Name the file that holds its scores: those of one training, or of all folds together."""
        return RESULT if self.config.protocol in FOLDED else "metrics.json"

    @property
    def trainings(self) -> list[Path]:
        """List the run folders that are there: one, or one for each fold."""
        return sorted(self.folder.glob("fold-*")) if self.config.protocol in FOLDED else [self.folder]


@dataclass(frozen=True)
class Outcome:
    """What a run gave: scores, or the reason why there are none, or scores and what is the matter with them."""

    metrics: dict[str, Any] | None = None  # as in metrics.json
    problem: str = ""
    seconds: float = 0.0  # of all its epochs
    versions: dict[str, str] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)  # the one on which it ended
    predictions: Predictions | None = None  # of the target, where the run has one


#: One outcome for each run, in their order; None: not run yet.
Outcomes: TypeAlias = list[Outcome | None]


def row_names(request: Request) -> list[str]:
    """Name the rows of a request in the paper's order; `plain` gives way to the same backbone's row of the paper.

    Without a choice they are the paper's, and before its FDAN the plain backbone that FDAN has here.

    Raises:
        ConfigError: an unknown table or row.
    """
    if request.table not in TABLES:
        raise ConfigError(unknown_choice("table", request.table, [*TABLES, CROSS_CORPUS]))
    own = TABLES[request.table]
    valid = [name for name in ROWS if name in own or name == "plain"]
    for name in request.rows:
        if name not in valid:
            raise ConfigError(unknown_choice(f"row of {request.table}", name, valid))
    wanted = set(request.rows or (own if "resnet34" not in own else (*own, "plain")))
    if "plain" in wanted and request.backbone in own:
        wanted = wanted - {"plain"} | {request.backbone}
    return [name for name in valid if name in wanted]


def plan(request: Request) -> list[Run]:
    """List the trainings of a table: seed by seed, so that a table of one seed is complete first.

    Raises:
        ConfigError: an unknown table, row or setting, or a value that cannot work.
        DataError: a path that is not there.
        CheckpointError: a folder holds a run of other settings or corpora.
    """
    names = row_names(request)
    if request.table == "table3" and len(_names(request.faces)) < 2:
        faces = ", ".join(map(str, request.faces)) or "none"
        raise ConfigError(f"table3 is FDAN with faces of two corpora; given: {faces}; repeat --faces corpus:path")
    for source in (*request.speech, *request.faces):
        check_path(source)
    runs = [
        _plan_run(request, name, protocol, seed)
        for seed in request.seeds
        for protocol in request.protocols
        for name in names
    ]
    for run in runs:
        check_same(run)
    return runs


def check_settings(settings: Sequence[str], options: dict[str, str]) -> None:
    """Raise ConfigError where `--set` names a setting that has an option of its own, because rows differ in it."""
    for word in settings:
        name = word.partition("=")[0].strip()
        if name in options:
            raise ConfigError(f"--set {word}: rows differ in it; use {options[name]}")


def _plan_run(request: Request, name: str, protocol: str, seed: int) -> Run:
    row = ROWS[name]
    recipe = request.recipe(row.backbone or request.backbone)
    config = replace(recipe, protocol=protocol, seed=seed, **row.settings)
    corpora = "+".join(request.corpora)
    folder = f"{corpora}-{config.protocol}-{row.kind}-{config.backbone}-s{config.seed}"
    return Run(name, row, config, request.speech, request.faces if row.faces else [], request.out / folder)


def _names(sources: Sequence[Source]) -> tuple[str, ...]:
    return tuple(sorted({source.corpus for source in sources}))


def check_same(run: Run) -> None:
    """Check that what is in the folder was trained with these settings and corpora.

    Raises:
        CheckpointError: the folder holds a run of other settings or corpora.
    """
    for folder in run.trainings:
        if not (folder / "run.toml").exists():
            continue
        config, info = load_run(folder)
        if run.config.protocol in FOLDED:  # each has a number of its own
            config = replace(config, fold=run.config.fold)
        for what, there, asked in _differences(run, config, info):
            raise CheckpointError(
                f"{folder}: holds a run with {what} = {there}, not {asked}; --out NAME keeps others apart"
            )


def _differences(run: Run, config: Config, info: RunInfo) -> Iterator[tuple[str, str, str]]:
    """List (name, value there, value asked for) of all in which the run in the folder differs."""
    for name in DECISIVE:
        there, asked = getattr(config, name), getattr(run.config, name)
        if there != asked:
            yield name, str(there), str(asked)
    for name in ("speech", "target", "faces"):
        words, asked_for = getattr(info, name), [absolute(source) for source in getattr(run, name)]
        if words != asked_for:
            yield name, ", ".join(words) or "none", ", ".join(asked_for) or "none"


def carry_out(runs: list[Run], after: Callable[[Outcomes], None]) -> Outcomes:
    """Read the finished runs, then train the others one after another; one that cannot be run stops no other.

    Args:
        runs: from `plan`.
        after: called at first and after every training with what there is.
    """
    outcomes: Outcomes = [run_row(run) if run.finished else None for run in runs]
    after(outcomes)
    finished = sum(outcome is not None for outcome in outcomes)
    if finished:
        log.info(f"{finished} of {len(runs)} runs are finished already")
    for index, run in enumerate(runs):
        if outcomes[index] is None:
            log.info(f"run {index + 1} of {len(runs)}: {run.folder.name}{_time_left(outcomes)}")
            outcomes[index] = run_row(run)
            after(outcomes)
    return outcomes


def run_row(run: Run) -> Outcome:
    """Train a run, or take it up where it was left, unless it is finished; then read what it gave."""
    try:
        if not run.finished:
            _train(run)
        return _read_outcome(run)
    except (FdanEdgeError, torch.OutOfMemoryError) as error:
        if run.finished and isinstance(error, TrainingError):  # it diverged, and an earlier epoch was scored
            return run_row(run)
        log.warning(f"{run.folder.name}: {one_line(error, 400)}")
        return Outcome(problem=one_line(error, 400))


def _train(run: Run) -> None:
    """Train a run as its protocol asks: one training, or one for each fold."""
    if run.row.faces and not run.faces:
        raise DataError("FDAN needs faces: --faces corpus:path")
    if run.config.protocol in FOLDED:
        crossval(run.config, run.speech, run.faces, run.folder)
    else:
        resume = (run.folder / "run.toml").exists()
        train(run.config, run.speech, run.folder, faces=run.faces, target=run.target, resume=resume)
    gpu = {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    write_json(run.folder / "machine.json", {**machine_info(), **gpu})


def _read_outcome(run: Run) -> Outcome:
    """Read what a finished run left.

    Raises:
        CheckpointError: its scores are damaged.
    """
    try:
        metrics = read_json(run.folder / run.result, finite=False)
        metrics = _as_one_training(metrics) if run.config.protocol in FOLDED else metrics
        _check_scores(metrics, run)
        lines = [read_json_lines(folder / "epochs.jsonl") for folder in run.trainings]
        if not lines:
            raise ValueError("its folds are not there any more")
        seconds = sum(float(line["seconds"]) for epochs in lines for line in epochs)
        file = run.folder / "machine.json"
        machine = read_json(file, finite=False) if file.exists() else {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{run.folder}: {run.result}, epochs.jsonl or machine.json is damaged ({one_line(error)}); "
            "without the folder the same command trains the run anew"
        ) from None
    problem = ""
    shortest = min(map(len, lines))
    if shortest < run.config.epochs:
        problem = (
            f"the training diverged after {shortest} of {run.config.epochs} epochs; "
            f"scores of epoch {metrics['best_epoch']}"
        )
    predictions = load_predictions(run.folder / FILE) if run.target else None
    return Outcome(metrics, problem, seconds, load_run(run.trainings[0])[1].versions, machine, predictions)


def _as_one_training(values: dict[str, Any]) -> dict[str, Any]:
    """Put a cross-validation's scores under the names that metrics.json of one training has for them."""
    folds = values["folds"]
    sizes = [fold["val"]["n"] for fold in folds]
    return {
        "protocol": values["protocol"],
        "audit": {"verdict": values["audit"]},
        "best_epoch": min(fold["best_epoch"] for fold in folds),
        "val": {"n": min(sizes), "most": max(sizes)},
        "test": values["pooled"],
    }


def _check_scores(metrics: dict[str, Any], run: Run) -> None:
    """Raise KeyError, TypeError or ValueError where something that a table shows is not there."""
    if run.target and not math.isfinite(metrics["target"]["information"]):
        raise ValueError("the target's information is no number")
    test = metrics["test"]
    shown = [test[name] for name in ("war", "uar", "wf1", "n")] + [metrics["val"]["n"], metrics["best_epoch"]]
    low, high = test["intervals"]["uar"]
    for number in (*shown, low, high):
        float(number)
    if not all(isinstance(text, str) for text in (metrics["protocol"], test["intervals"]["note"])):
        raise TypeError("protocol or note is no text")


def _time_left(outcomes: Outcomes) -> str:
    taken = [outcome.seconds for outcome in outcomes if outcome and outcome.seconds]
    if not taken:
        return ""
    minutes = sum(taken) / len(taken) * sum(outcome is None for outcome in outcomes) / 60
    return f"; about {max(1, round(minutes))} min left if the others take as long as those that are there"
