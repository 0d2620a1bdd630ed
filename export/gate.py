"""The gate: an artifact must recognise recordings as the trained model does, waveform to label.

fp32 may differ in nothing that matters. A lower precision is judged by two figures:

- The total variation distance between its probabilities and PyTorch's, in the mean over recordings. It needs no
  labels, and no unseen recording: of what the model was trained on, answers are softened first (`distances`).
- The UAR that it loses on unseen recordings with labels, and the paired 95 % interval of that loss. One of 26
  recordings is worth 4 points of UAR: so a loss above the limit is refused only where it surely is one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import softmax

from fdan_edge.evaluation.confidence_intervals import FEW, Interval, percentiles, uar_draws
from fdan_edge.evaluation.metrics import score
from fdan_edge.runtime.manifest import DistanceReport, GateReport, SpeedReport, StreamReport
from fdan_edge.runtime.runner import Probabilities

DIFFERENCE = 1e-3  # of a probability, in fp32
#: Total variation distance that a lower precision may have in the mean; from benchmarks/export_gate.py.
DISTANCE = {"fp16": 0.01, "int8": 0.08}
#: What is left of a distance on recordings that the model was trained on, once answers are softened: 0.5 to 0.9
#: (benchmarks/export_gate.py). Unsoftened it was 0.2 to 0.6 with a head that was fitted on them.
OF_TRAINED_ON = 0.6
_HOTTEST, _SMALLEST = 4.0, 1e-9  # temperature; probability, whose logarithm is taken
#: UAR that a lower precision may lose, in points of 100.
LOSS = {"fp16": 0.5, "int8": 1.0}


@dataclass(frozen=True)
class Answers:
    """What the PyTorch model says of recordings; artifacts are compared to it."""

    expected: Probabilities  # (recordings, C)
    true: list[int]  # the class of each of the first `judged` recordings
    labels: tuple[str, ...]
    speakers: list[str | None]  # of each of the first `judged` recordings
    source: str  # which the first `judged` recordings are, for people
    truth: str = "the labels"  # what `true` is: the labels, or what PyTorch recognises
    trained_on: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))  # (recordings,); empty: none
    temperature: float = 1.0  # that softens answers to those it was trained on; from `temperature_for`

    @property
    def judged(self) -> int:
        """On how many recordings, the first, labels and UAR are counted; the others serve distances only."""
        return len(self.true)

    @property
    def has_labels(self) -> bool:
        """Whether a loss of UAR can be counted: the labels are known, and the recordings unseen."""
        return self.truth == "the labels" and not self.trained_on[: self.judged].any()


@dataclass(frozen=True)
class Check:
    """What was compared, the differences found, and whether they are allowed."""

    precision: str
    clips: int
    source: str  # which clips, for people
    trained_on: bool  # whether the model was trained on them
    max_difference: float  # of any probability
    mean_difference: float
    flips: int  # clips whose label differs
    reference_uar: float  # of the PyTorch model on these clips, share of 1
    uar: float
    loss: float  # of UAR, in points of 100
    loss_interval: Interval  # 95 %, of equal draws for both
    truth: str  # what UAR is counted against
    has_labels: bool  # whether the loss was judged
    distance: DistanceReport | None  # None: in fp32
    passed: bool

    def report(
        self, onnx_sha256: str, largest_half: float | None, speed: SpeedReport | None, stream: StreamReport | None
    ) -> GateReport:
        """Give the record for bundle.json, rounded.

        Args:
            onnx_sha256: of the file that was compared.
            largest_half: that it must hold in half precision.
            speed: how fast it is.
            stream: the comparison of its stream graph.
        """
        low, high = (round(edge, 3) for edge in self.loss_interval)
        return GateReport(
            precision=self.precision,
            clips=self.clips,
            source=self.source,
            max_difference=round(self.max_difference, 6),
            mean_difference=round(self.mean_difference, 6),
            flips=self.flips,
            reference_uar=round(self.reference_uar, 6),
            uar=round(self.uar, 6),
            loss=round(self.loss, 6),
            loss_interval=(low, high),
            truth=self.truth,
            passed=self.passed,
            allowed=self.allowed(),
            line=self.line(),
            largest_half=largest_half,
            speed=speed,
            onnx_sha256=onnx_sha256,
            stream=stream,
            distance=self.distance,
            trained_on=self.trained_on,
        )

    def allowed(self) -> str:
        """Say the limits of this precision, for people."""
        if self.precision == "fp32":
            return f"difference {DIFFERENCE:g}, no label"
        distance = f"mean total variation distance {DISTANCE[self.precision]:g}"
        points = "1 point" if LOSS[self.precision] == 1 else f"{LOSS[self.precision]:g} points"
        return f"{distance}, {points} of UAR" if self.has_labels else distance

    def line(self) -> str:
        """Say the result in one line, for people."""
        clips = f"{self.clips} real clips ({self.source})"
        labels = "1 label differs" if self.flips == 1 else f"{self.flips} labels differ"
        if self.precision == "fp32":
            largest = f"largest probability difference {self.max_difference:.1e} (allowed {DIFFERENCE:g})"
            return f"{clips}: {largest}, {labels}"
        counted = f"{self._loss()}, {labels}" if self.has_labels else f"{labels} from PyTorch's"
        return f"{clips}: {counted}; {_distance(self.distance)}"

    def _loss(self) -> str:
        low, high = self.loss_interval
        limit = LOSS[self.precision]
        unsure = self.loss > limit + 1e-9 and loss_is_allowed(limit, self.loss, self.loss_interval)
        allowed = f"allowed {limit:g}{', too few clips to tell' if unsure else ''}"
        return (
            f"UAR {100 * self.uar:.1f} % against {100 * self.reference_uar:.1f} %, "
            f"loss {self.loss:+.1f} ({low:+.1f} to {high:+.1f}; {allowed})"
        )


def compare(answers: Answers, probabilities: Probabilities, precision: str, strictness: float = 1.0) -> Check:
    """Compare the reference's probabilities with an artifact's.

    Args:
        answers: of the reference.
        probabilities: of the artifact, (recordings, C).
        precision: fp32, fp16 or int8.
        strictness: share of the distance's limit that is allowed.
    """
    judged = slice(answers.judged)
    difference = np.abs(answers.expected[judged] - probabilities[judged])
    flips = int((answers.expected[judged].argmax(1) != probabilities[judged].argmax(1)).sum())
    reference, uar, interval = _uars(answers, probabilities[judged])
    loss, largest = 100 * (reference - uar), float(difference.max())
    distance = None if precision == "fp32" else _measure(answers, probabilities, DISTANCE[precision] * strictness)
    # Written so that NaN fails.
    if distance is None:
        passed = largest <= DIFFERENCE and flips == 0
    else:
        passed = distance.mean <= distance.limit and (
            not answers.has_labels or loss_is_allowed(LOSS[precision], loss, interval)
        )
    return Check(
        precision=precision,
        clips=answers.judged,
        source=answers.source,
        trained_on=bool(answers.trained_on[judged].any()),
        max_difference=largest,
        mean_difference=float(difference.mean()),
        flips=flips,
        reference_uar=reference,
        uar=uar,
        loss=loss,
        loss_interval=interval,
        truth=answers.truth,
        has_labels=answers.has_labels,
        distance=distance,
        passed=passed,
    )


def total_variation(one: NDArray[np.floating[Any]], other: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Compute the total variation distance of probabilities (n, C) of the same recordings, (n,): 0 to 1.

    It is the probability by which any set of classes differs at most: half the sum of all differences.
    """
    distances: NDArray[np.float64] = 0.5 * np.abs(np.asarray(one, np.float64) - other).sum(axis=1)
    return distances


def temperature_for(expected: Probabilities, accuracy: float) -> float:
    """Find the temperature at which answers are as sure, in the mean, as unseen recordings are recognised.

    A model is surer of what it was trained on, and there rounding moves its answers less.

    Args:
        expected: answers to recordings that the model was trained on, (n, C).
        accuracy: share of unseen recordings that it recognises.
    """

    def excess(temperature: float) -> float:
        return float(soften(expected, temperature).max(axis=1).mean()) - accuracy

    if excess(1.0) <= 0:
        return 1.0
    return _HOTTEST if excess(_HOTTEST) >= 0 else float(brentq(excess, 1.0, _HOTTEST, xtol=1e-4))


def soften(probabilities: Probabilities, temperature: float) -> NDArray[np.float64]:
    """Divide the logits of probabilities (n, C) by a temperature."""
    logits = np.log(np.maximum(np.asarray(probabilities, np.float64), _SMALLEST))
    softened: NDArray[np.float64] = softmax(logits / temperature, axis=1)
    return softened


def distances(answers: Answers, probabilities: Probabilities) -> NDArray[np.float64]:
    """Compute how far an artifact is from PyTorch on each recording, (recordings,), as if all were unseen."""
    values = total_variation(answers.expected, probabilities)
    if answers.trained_on.any():
        seen = answers.trained_on
        soft = [soften(part[seen], answers.temperature) for part in (answers.expected, probabilities)]
        values[seen] = np.minimum(total_variation(*soft) / OF_TRAINED_ON, 1.0)
    return values


def loss_is_allowed(limit: float, loss: float, interval: Interval) -> bool:
    """Tell whether a loss of UAR passes; all in points.

    One above the limit passes only where the recordings are too few to tell it from none: its interval holds 0.
    """
    return loss <= limit + 1e-9 or interval[0] <= 0


def _measure(answers: Answers, probabilities: Probabilities, limit: float) -> DistanceReport:
    values = distances(answers, probabilities)
    return DistanceReport(
        clips=len(values),
        trained_on=int(answers.trained_on.sum()),
        mean=round(float(values.mean()), 6),
        largest=round(float(values.max()), 6),
        limit=limit,
        temperature=round(answers.temperature, 4),
    )


def _distance(distance: DistanceReport | None) -> str:
    assert distance is not None  # of lower precisions there is one
    trained_on = f", {distance.trained_on} of them trained on" if distance.trained_on else ""
    return (
        f"total variation distance {distance.mean:.4f} in the mean "
        f"(allowed {distance.limit:g}; {distance.clips} clips{trained_on})"
    )


def _uars(answers: Answers, probabilities: Probabilities) -> tuple[float, float, Interval]:
    """Give UAR of the reference and of others, and the interval of the loss in points, of the same draws."""
    labels, speakers = list(answers.labels), answers.speakers
    if len(set(speakers)) < FEW:  # draws of a few speakers are too narrow, and rounding does not go by speaker
        speakers = [None] * len(speakers)
    both = (answers.expected[: answers.judged], probabilities)
    predictions = [[int(i) for i in values.argmax(1)] for values in both]
    reference, uar = (score(answers.true, predicted, labels).uar for predicted in predictions)
    before, after = (uar_draws(answers.true, predicted, labels, speakers) for predicted in predictions)
    # Equal answers differ in the last digit of their sums, which is no loss.
    return reference, uar, percentiles(np.round(100 * (before - after), 9))
