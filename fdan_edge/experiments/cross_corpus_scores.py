"""Score a row over its seeds: means, intervals, and the differences to training on the source alone."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fdan_edge.evaluation.confidence_intervals import Interval, percentiles, uar_draws
from fdan_edge.evaluation.predictions import Predictions
from fdan_edge.experiments.cross_corpus import TableLine, Trial


@dataclass(frozen=True)
class Difference:
    """A row's mean UAR less that of another, over the seeds that both have."""

    uar: float
    interval: Interval  # of the same draws of speakers for both

    @property
    def clear(self) -> bool:
        """Tell whether the interval excludes 0."""
        low, high = self.interval
        return low > 0 or high < 0


@dataclass(frozen=True)
class RowScores:
    """The scores of a row of a task; shares of 1."""

    seeds: list[int]
    uar: list[float]  # of each seed
    war: list[float]
    interval: Interval | None  # of the mean UAR over draws of the target's speakers; the seeds are not drawn
    difference: Difference | None  # None: it is `source`, or that has no scores of these seeds or recordings
    of_term: Difference | None = None  # the same to `joint`, which hears the target and aligns nothing

    @property
    def mean_uar(self) -> float:
        """Average UAR over the seeds."""
        return statistics.mean(self.uar)

    @property
    def mean_war(self) -> float:
        """Average WAR over the seeds."""
        return statistics.mean(self.war)


def row_scores(line: TableLine, source: TableLine | None, joint: TableLine | None = None) -> RowScores | None:
    """Score a row, beside `source` and `joint` of the same task; None: there are none yet."""
    scored = _scored(line)
    if not scored:
        return None
    draws = _mean_draws(scored) if _same_recordings(scored) else None
    return RowScores(
        seeds=[trial.seed for trial in scored],
        uar=[_test(trial, "uar") for trial in scored],
        war=[_test(trial, "war") for trial in scored],
        interval=None if draws is None else percentiles(draws),
        difference=_compared(line, scored, source),
        of_term=None if line.name == "source" else _compared(line, scored, joint),
    )


def _compared(line: TableLine, scored: list[Trial], other: TableLine | None) -> Difference | None:
    return None if other is None or other.name == line.name else _difference(scored, _scored(other))


def _difference(scored: list[Trial], source: list[Trial]) -> Difference | None:
    both = {trial.seed for trial in scored} & {trial.seed for trial in source}
    ours, theirs = ([trial for trial in trials if trial.seed in both] for trials in (scored, source))
    if not both or not _same_recordings([*ours, *theirs]):
        return None
    uar = statistics.mean(_test(t, "uar") for t in ours) - statistics.mean(_test(t, "uar") for t in theirs)
    # Sums of the same shares in another order differ in their last digit, which is no difference.
    return Difference(uar, percentiles(np.round(_mean_draws(ours) - _mean_draws(theirs), 12)))


def _scored(line: TableLine) -> list[Trial]:
    return [trial for trial in line.chosen if trial.metrics]


def _test(trial: Trial, name: str) -> float:
    assert trial.metrics is not None
    return float(trial.metrics["test"][name])


def _predictions(trial: Trial) -> Predictions:
    """Give its predictions, sorted, so that the draws of all trainings are of the same speakers."""
    assert trial.outcome is not None
    assert trial.outcome.predictions is not None
    predictions = trial.outcome.predictions
    return Predictions(predictions.labels, sorted(predictions.recordings, key=lambda recording: recording.key))


def _same_recordings(trials: list[Trial]) -> bool:
    """Tell whether all tested the same recordings: a file that came or went would change what is drawn."""
    recordings = [_predictions(trial).recordings for trial in trials]
    return len({tuple((item.key, item.emotion) for item in of_trial) for of_trial in recordings}) == 1


def _mean_draws(trials: list[Trial]) -> NDArray[np.float64]:
    """Compute the UAR of each draw of speakers, the mean over trainings, (resamples,)."""
    return np.asarray(np.mean([_draws(_predictions(trial)) for trial in trials], axis=0))


def _draws(predictions: Predictions) -> NDArray[np.float64]:
    speakers = [recording.speaker for recording in predictions.recordings]
    return uar_draws(predictions.true, predictions.recognized, predictions.labels, speakers)
