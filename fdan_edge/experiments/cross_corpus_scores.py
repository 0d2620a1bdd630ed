"""What the seeds of a row say together, how sure that is, and by how much it is better than `source`."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fdan_edge.evaluation.confidence_intervals import Interval, percentiles, uar_draws
from fdan_edge.evaluation.predictions import Predictions
from fdan_edge.experiments.cross_corpus import Line, Trial


@dataclass(frozen=True)
class Difference:
    """A row's mean UAR less that of another, over the seeds that both have."""

    uar: float
    interval: Interval  # of the same draws of speakers for both

    @property
    def clear(self) -> bool:
        """Whether the interval excludes 0."""
        low, high = self.interval
        return low > 0 or high < 0


@dataclass(frozen=True)
class Result:
    """The scores of a row of a task; shares of 1."""

    seeds: list[int]
    uar: list[float]  # of each seed
    war: list[float]
    interval: Interval | None  # of the mean UAR over draws of the target's speakers; the seeds are not drawn
    difference: Difference | None  # None: it is `source`, or that has no scores of these seeds or recordings
    of_term: Difference | None = None  # the same to `joint`, which hears the target and aligns nothing

    @property
    def mean_uar(self) -> float:
        """Over the seeds."""
        return statistics.mean(self.uar)

    @property
    def mean_war(self) -> float:
        """Over the seeds."""
        return statistics.mean(self.war)


def result(line: Line, source: Line | None, joint: Line | None = None) -> Result | None:
    """The scores of a row, beside those of `source` and `joint` of the same task; None: there are none yet."""
    done = _scored(line)
    if not done:
        return None
    draws = _mean_draws(done) if _same_recordings(done) else None
    return Result(
        seeds=[trial.seed for trial in done],
        uar=[_test(trial, "uar") for trial in done],
        war=[_test(trial, "war") for trial in done],
        interval=None if draws is None else percentiles(draws),
        difference=_compared(line, done, source),
        of_term=None if line.name == "source" else _compared(line, done, joint),
    )


def _compared(line: Line, done: list[Trial], other: Line | None) -> Difference | None:
    return None if other is None or other.name == line.name else _difference(done, _scored(other))


def _difference(done: list[Trial], source: list[Trial]) -> Difference | None:
    both = {trial.seed for trial in done} & {trial.seed for trial in source}
    ours, theirs = ([trial for trial in trials if trial.seed in both] for trials in (done, source))
    if not both or not _same_recordings([*ours, *theirs]):
        return None
    uar = statistics.mean(_test(t, "uar") for t in ours) - statistics.mean(_test(t, "uar") for t in theirs)
    # Sums of the same shares in another order differ in their last digit, which is no difference.
    return Difference(uar, percentiles(np.round(_mean_draws(ours) - _mean_draws(theirs), 12)))


def _scored(line: Line) -> list[Trial]:
    return [trial for trial in line.chosen if trial.metrics]


def _test(trial: Trial, name: str) -> float:
    assert trial.metrics is not None
    return float(trial.metrics["test"][name])


def _said(trial: Trial) -> Predictions:
    """What was recognised, sorted, so that the draws of all trainings are of the same speakers."""
    assert trial.outcome is not None
    assert trial.outcome.predictions is not None
    said = trial.outcome.predictions
    return Predictions(said.labels, sorted(said.recordings, key=lambda one: one.key))


def _same_recordings(trials: list[Trial]) -> bool:
    """A file that came or went between two trainings would change what is drawn."""
    return len({tuple((one.key, one.emotion) for one in _said(trial).recordings) for trial in trials}) == 1


def _mean_draws(trials: list[Trial]) -> NDArray[np.float64]:
    """The UAR of each draw of speakers, the mean over trainings, (resamples,)."""
    return np.asarray(np.mean([_draws(_said(trial)) for trial in trials], axis=0))


def _draws(said: Predictions) -> NDArray[np.float64]:
    return uar_draws(said.true, said.recognized, said.labels, [one.speaker for one in said.recordings])
