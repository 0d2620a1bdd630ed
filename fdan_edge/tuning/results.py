"""What a tuning came to: tables for people and programs, a picture, and the best settings as a CONFIG.toml."""

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
from fdan_edge.tuning.study import Study, Terms, Tried
from fdan_edge.utils.files import write_json, write_text

NOTE = (
    "UAR on validation folds. That of the best trial is too good, as the best of many noisy numbers is; what its "
    "settings are worth says the test part, which no trial has seen."
)
_FOR_IMPORTANCE = 10  # finished trials, below which it is a guess


@dataclass(frozen=True)
class Tuned:
    """A study as it stands."""

    folder: Path
    terms: Terms
    trials: list[Tried]  # in the order of their beginning
    importance: dict[str, float]  # of each setting for the UAR, in sum 1; {} where too little is known

    @property
    def best(self) -> Tried | None:
        """The finished trial of the highest UAR."""
        return best_of(self.trials)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "note": NOTE,
            **{name.removeprefix("--"): value for name, value in self.terms.options().items()},
            "epochs": self.terms.config.epochs,
            "best": asdict(self.best) if self.best else None,
            "importance": self.importance,
            "trials": [asdict(one) for one in self.trials],
            "versions": {**versions(), "optuna": optuna.__version__},
        }


def best_of(trials: list[Tried]) -> Tried | None:
    """The finished trial of the highest UAR, the first of equal ones."""
    finished = [one for one in trials if one.state == "complete" and one.uar is not None]
    return max(finished, key=lambda one: one.uar or 0.0, default=None)


def ranked(trials: list[Tried]) -> list[Tried]:
    """Finished trials, best first, then pruned ones by how far they came, then others."""
    states = ("complete", "pruned", "running", "failed")
    return sorted(
        trials, key=lambda one: (states.index(one.state), -one.step * (one.state == "pruned"), -(one.uar or 0.0))
    )


def shown(value: Any) -> str:
    """A setting's value, short."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def write(study: Study) -> Tuned:
    """Write best.toml, tuning.json, tuning.md and the pictures, and remove weights that nobody needs any more.

    To be called while no other process does.
    """
    trials = study.tried()
    done = Tuned(study.folder, study.terms, trials, _importance(study, trials))
    write_json(study.folder / "tuning.json", done.to_dict())
    write_text(study.folder / "tuning.md", markdown(done))
    if done.best:
        write_text(study.folder / "best.toml", _best_toml(done, done.best))
    if any(one.uar is not None for one in trials):
        plots.tuning(_drawn(done), _title(done), study.folder / "tuning")
    _tidy(done)
    return done


def markdown(done: Tuned) -> str:
    """All trials as a table, best first."""
    names = [one.name for one in done.terms.space]
    rows = [["trial", "UAR %", "each fold", *names, "state"]]
    rows.append(["---:", "---:", "---", *["---:"] * len(names), "---"])
    for one in ranked(done.trials):
        folds = " ".join(f"{100 * uar:.1f}" for uar in one.folds)
        values = [shown(one.settings[name]) if name in one.settings else "" for name in names]
        ended = state(one, done.terms).replace("|", "\\|")
        rows.append([str(one.number), percent(one.uar), folds, *values, ended])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    searched = f"Sampler {done.terms.sampler}, pruner {done.terms.pruner}; space: "
    space = ", ".join(f"`{one}`" for one in done.terms.space)
    return "\n".join([f"# {_title(done)}", "", NOTE, "", f"{searched}{space}.", "", *lines, ""])


def percent(uar: float | None) -> str:
    """A UAR in percent, without the sign."""
    return "" if uar is None else f"{100 * uar:.1f}"


def state(one: Tried, terms: Terms) -> str:
    """How a trial ended, for people."""
    if one.state in ("pruned", "running"):
        return f"{one.state} at epoch {one.step} of {terms.steps}"
    return f"failed: {one.reason}" if one.state == "failed" else "finished"


def _title(done: Tuned) -> str:
    folds = "the validation part" if done.terms.folds == 1 else f"{done.terms.folds} validation folds"
    count = len(done.trials)
    return f"{count} trial{'s' if count > 1 else ''} of {done.terms.config.backbone} on {folds}"


def _best_toml(done: Tuned, best: Tried) -> str:
    config = replace(done.terms.config, **best.settings)
    head = f"# fdan-edge tune, trial {best.number} of {len(done.trials)}: validation UAR {percent(best.uar)} %\n"
    return head + tomli_w.dumps(config_to_dict(config))


def _importance(study: Study, trials: list[Tried]) -> dict[str, float]:
    """Each setting's share of the variance of the UAR, by fANOVA over finished trials."""
    if sum(one.state == "complete" for one in trials) < _FOR_IMPORTANCE:
        return {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            found = get_param_importances(study.optuna, evaluator=FanovaImportanceEvaluator(seed=0))
    except RuntimeError:  # all values are equal
        return {}
    return {name: round(float(value), 3) for name, value in found.items()}


def _drawn(done: Tuned) -> plots.Tuning:
    ended = [one for one in done.trials if one.state != "running"]
    points = [plots.Point(one.number, one.uar, one.state, one.settings) for one in ended]
    settings = []
    for one in done.terms.space:
        ends = (one.low, one.high) if isinstance(one, Range) else None
        logarithmic = isinstance(one, Range) and one.log
        settings.append(plots.Setting(one.name, ends, logarithmic, done.importance.get(one.name)))
    return plots.Tuning(points, done.best.number if done.best else 0, settings)


def _tidy(done: Tuned) -> None:
    """Of finished trials only the best keeps weights; of it those of the kept epochs."""
    for one in done.trials:
        if one.state == "running":
            continue
        kept = ("checkpoint.safetensors",) if one == done.best else ()
        for path in (done.folder / "trials" / one.name).glob("fold-*/*.safetensors"):
            if path.name not in kept:
                path.unlink(missing_ok=True)
