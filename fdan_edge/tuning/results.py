"""Write what a tuning came to: tables, a picture, and the best settings as a CONFIG.toml."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import optuna
import tomli_w
from optuna.exceptions import ExperimentalWarning
from optuna.importance import FanovaImportanceEvaluator, get_param_importances

from fdan_edge.config import config_to_dict
from fdan_edge.evaluation import plots
from fdan_edge.runs.provenance import versions
from fdan_edge.tuning.search_space import Range
from fdan_edge.tuning.study import Study, StudySetup, TrialRecord
from fdan_edge.utils.files import write_json, write_text

NOTE = (
    "UAR on validation folds. That of the best trial is too good, as the best of many noisy numbers is; what its "
    "settings are worth says the test part, which no trial has seen."
)
_FOR_IMPORTANCE = 10  # finished trials, below which it is a guess


@dataclass(frozen=True)
class TuningResult:
    """A study so far: its trials, and how much each setting matters."""

    folder: Path
    setup: StudySetup
    trials: list[TrialRecord]  # in the order of their beginning
    importance: dict[str, float]  # of each setting for the UAR, in sum 1; {} where too little is known

    @property
    def best(self) -> TrialRecord | None:
        """Find the finished trial of the highest UAR."""
        return best_of(self.trials)

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON."""
        return {
            "note": NOTE,
            **{name.removeprefix("--"): value for name, value in self.setup.options().items()},
            "epochs": self.setup.config.epochs,
            "best": asdict(self.best) if self.best else None,
            "importance": self.importance,
            "trials": [asdict(trial) for trial in self.trials],
            "versions": {**versions(), "optuna": optuna.__version__},
        }


def best_of(trials: list[TrialRecord]) -> TrialRecord | None:
    """Find the finished trial of the highest UAR, the first of equal ones."""
    finished = [trial for trial in trials if trial.state == "complete" and trial.uar is not None]
    return max(finished, key=lambda trial: trial.uar or 0.0, default=None)


def ranked(trials: list[TrialRecord]) -> list[TrialRecord]:
    """Sort trials: finished ones, best first, then pruned ones by how far they came, then others."""
    states = ("complete", "pruned", "running", "failed")
    return sorted(
        trials,
        key=lambda trial: (
            states.index(trial.state),
            -trial.step * (trial.state == "pruned"),
            -(trial.uar or 0.0),
        ),
    )


def short_value(value: Any) -> str:
    """Write a setting's value, short."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def write(study: Study) -> TuningResult:
    """Write best.toml, tuning.json, tuning.md and the pictures, and remove weights that nobody needs any more.

    Call it within `study.locked()`: another process may write the same files.
    """
    trials = study.trials()
    result = TuningResult(study.folder, study.setup, trials, importance(study, trials))
    write_json(study.folder / "tuning.json", result.to_dict())
    write_text(study.folder / "tuning.md", markdown(result))
    if result.best:
        write_text(study.folder / "best.toml", _best_toml(result, result.best))
    if any(trial.uar is not None for trial in trials):
        plots.tuning(_plotted(result), _title(result), study.folder / "tuning")
    _remove_weights(result)
    return result


def markdown(result: TuningResult) -> str:
    """Write all trials as a Markdown table, best first."""
    names = [dimension.name for dimension in result.setup.space]
    rows = [["trial", "UAR %", "each fold", *names, "state"]]
    rows.append(["---:", "---:", "---", *["---:"] * len(names), "---"])
    for trial in ranked(result.trials):
        folds = " ".join(f"{100 * uar:.1f}" for uar in trial.folds)
        values = [short_value(trial.settings[name]) if name in trial.settings else "" for name in names]
        ended = outcome(trial, result.setup).replace("|", "\\|")
        rows.append([str(trial.number), percent(trial.uar), folds, *values, ended])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    searched = f"Sampler {result.setup.sampler}, pruner {result.setup.pruner}; space: "
    space = ", ".join(f"`{dimension}`" for dimension in result.setup.space)
    return "\n".join([f"# {_title(result)}", "", NOTE, "", f"{searched}{space}.", "", *lines, ""])


def percent(uar: float | None) -> str:
    """Write a UAR in percent, without the sign."""
    return "" if uar is None else f"{100 * uar:.1f}"


def outcome(trial: TrialRecord, setup: StudySetup) -> str:
    """Say how a trial ended."""
    if trial.state in ("pruned", "running"):
        return f"{trial.state} at epoch {trial.step} of {setup.steps}"
    return f"failed: {trial.reason}" if trial.state == "failed" else "finished"


def _title(result: TuningResult) -> str:
    folds = "the validation part" if result.setup.folds == 1 else f"{result.setup.folds} validation folds"
    count = len(result.trials)
    return f"{count} trial{'s' if count > 1 else ''} of {result.setup.config.backbone} on {folds}"


def _best_toml(result: TuningResult, best: TrialRecord) -> str:
    config = replace(result.setup.config, **best.settings)
    head = f"# fdan-edge tune, trial {best.number} of {len(result.trials)}: validation UAR {percent(best.uar)} %\n"
    return head + tomli_w.dumps(config_to_dict(config))


def importance(study: Study, trials: list[TrialRecord]) -> dict[str, float]:
    """Compute each setting's share of the variance of the UAR, by fANOVA over finished trials."""
    if sum(trial.state == "complete" for trial in trials) < _FOR_IMPORTANCE:
        return {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            shares = get_param_importances(study.optuna, evaluator=FanovaImportanceEvaluator(seed=0))
    except RuntimeError:  # all values are equal
        return {}
    return {name: round(float(value), 3) for name, value in shares.items()}


def _plotted(result: TuningResult) -> plots.Tuning:
    ended = [trial for trial in result.trials if trial.state != "running"]
    points = [plots.Point(trial.number, trial.uar, trial.state, trial.settings) for trial in ended]
    settings = []
    for dimension in result.setup.space:
        ends = (dimension.low, dimension.high) if isinstance(dimension, Range) else None
        logarithmic = isinstance(dimension, Range) and dimension.log
        settings.append(plots.Setting(dimension.name, ends, logarithmic, result.importance.get(dimension.name)))
    return plots.Tuning(points, result.best.number if result.best else 0, settings)


def _remove_weights(result: TuningResult) -> None:
    """Remove the weights of ended trials; of the best one those of the chosen epoch stay."""
    for trial in result.trials:
        if trial.state == "running":
            continue
        kept = ("checkpoint.safetensors",) if trial == result.best else ()
        for path in (result.folder / "trials" / trial.name).glob("fold-*/*.safetensors"):
            if path.name not in kept:
                path.unlink(missing_ok=True)
