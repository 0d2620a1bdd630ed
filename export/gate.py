"""The gate: an artifact must recognise held-out recordings as the trained model does, waveform to label."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdan_edge.audio import decode
from fdan_edge.data.corpora import Item
from fdan_edge.errors import AudioError, ExportError
from fdan_edge.evaluation.confidence_intervals import percentiles, uar_draws
from fdan_edge.evaluation.metrics import score
from fdan_edge.runtime.manifest import GateReport, SpeedReport, StreamReport
from fdan_edge.runtime.model_spec import ModelSpec
from fdan_edge.runtime.recognition import probabilities
from fdan_edge.runtime.runner import Runner
from fdan_edge.utils.progress import track

CLIPS = 512  # at most: more would cost minutes and move the UAR by tenths of a point
DIFFERENCE = 1e-3  # of a probability, in fp32
#: UAR that a precision may lose, in points of 100; fp32 may not change a label at all.
LOSS = {"fp32": 0.0, "fp16": 0.5, "int8": 1.0}


@dataclass(frozen=True)
class Check:
    """What was compared, the differences found, and whether they are allowed."""

    precision: str
    clips: int
    source: str  # which clips, for people
    max_difference: float  # of any probability
    mean_difference: float
    flips: int  # clips whose label differs
    reference_uar: float  # of the PyTorch model on these clips, share of 1
    uar: float
    loss: float  # of UAR, in points of 100
    loss_interval: tuple[float, float]  # 95 %, over speakers where they are known
    truth: str  # what UAR is counted against
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
        values: dict[str, Any] = {
            name: round(value, 6) if isinstance(value, float) else value for name, value in asdict(self).items()
        }
        return GateReport(
            **values | {"loss_interval": (low, high)},
            allowed=self.allowed(),
            line=self.line(),
            largest_half=largest_half,
            speed=speed,
            onnx_sha256=onnx_sha256,
            stream=stream,
        )

    def allowed(self) -> str:
        """Say the limits of this precision, for people."""
        if self.precision == "fp32":
            return f"difference {DIFFERENCE:g}, no label"
        return f"{LOSS[self.precision]:g} points of UAR"

    def line(self) -> str:
        """Say the result in one line, for people."""
        clips = f"{self.clips} real clips ({self.source})"
        labels = "1 label differs" if self.flips == 1 else f"{self.flips} labels differ"
        if self.precision == "fp32":
            largest = f"largest probability difference {self.max_difference:.1e} (allowed {DIFFERENCE:g})"
            return f"{clips}: {largest}, {labels}"
        low, high = self.loss_interval
        truth = "" if self.truth == "the labels" else f" by {self.truth}"
        return (
            f"{clips}: UAR {100 * self.uar:.1f} % against {100 * self.reference_uar:.1f} %{truth}, "
            f"loss {self.loss:+.1f} ({low:+.1f} to {high:+.1f}; allowed {LOSS[self.precision]:g}), "
            f"{labels}, largest probability difference {self.max_difference:.2f}"
        )


class HeldOut:
    """Recordings with the PyTorch model's probabilities of them, which artifacts are compared to.

    Args:
        items: recordings; at most `CLIPS` are taken, of all classes.
        source: which these are, for people.
        reference: the trained model.

    Raises:
        ExportError: none of the recordings can be read.
    """

    def __init__(self, items: list[Item], source: str, reference: Runner) -> None:
        self.source, self.spec = source, reference.spec
        self.waveforms, self.items = load_all(items, self.spec)
        if not self.items:
            raise ExportError(f"none of the {len(items)} clips for the check of the export could be read")
        self.expected = self.probabilities(reference)
        labels = self.spec.labels
        known = all(item.emotion in labels for item in self.items)
        self.truth = "the labels" if known else "what PyTorch recognises"
        named = [labels.index(item.emotion) for item in self.items] if known else self.expected.argmax(1)
        self.true = [int(index) for index in named]

    @property
    def seconds(self) -> NDArray[np.float64]:
        """The length of each recording, (recordings,)."""
        return np.array([len(waveform) / self.spec.sample_rate for waveform in self.waveforms])

    @property
    def windows(self) -> NDArray[np.float32]:
        """The first window of each recording, (recordings, window)."""
        return first_windows(self.waveforms, self.spec)

    def probabilities(self, runner: Runner) -> NDArray[np.float32]:
        """Run every recording, (recordings, C)."""
        return np.stack([probabilities(runner, w)[0] for w in track(self.waveforms, "check the export")])

    def check(self, runner: Runner, precision: str) -> Check:
        """Compare an artifact with the PyTorch model; the answer says whether it passes."""
        return compare(self, self.probabilities(runner), precision)


def load_all(items: list[Item], spec: ModelSpec) -> tuple[list[decode.Waveform], list[Item]]:
    """Load recordings as `infer` does, and leave out those that cannot be used."""
    waveforms, kept = [], []
    for item in items:
        try:
            waveforms.append(decode.load_speech(item.path, spec.sample_rate, spec.trim_db))
        except AudioError:
            continue  # reported when the corpus was read for training
        kept.append(item)
    return waveforms, kept


def first_windows(waveforms: list[decode.Waveform], spec: ModelSpec) -> NDArray[np.float32]:
    """Give the first window of each recording, (recordings, window)."""
    batches = (decode.window_batches(waveform, spec.window, spec.window_hop, 1) for waveform in waveforms)
    return np.concatenate([next(iter(batch)) for batch in batches])


def compare(held_out: HeldOut, probabilities: NDArray[np.float32], precision: str) -> Check:
    """Compare the reference's probabilities with others (recordings, C)."""
    difference = np.abs(held_out.expected - probabilities)
    flips = int((held_out.expected.argmax(1) != probabilities.argmax(1)).sum())
    reference, uar, interval = _uars(held_out, probabilities)
    loss = 100 * (reference - uar)
    largest = float(difference.max())
    # Written so that NaN fails.
    if precision == "fp32":
        passed = largest <= DIFFERENCE and flips == 0
    else:
        passed = bool(np.isfinite(probabilities).all()) and within_limit(precision, loss)
    return Check(
        precision=precision,
        clips=len(probabilities),
        source=held_out.source,
        max_difference=largest,
        mean_difference=float(difference.mean()),
        flips=flips,
        reference_uar=reference,
        uar=uar,
        loss=loss,
        loss_interval=interval,
        truth=held_out.truth,
        passed=passed,
    )


def within_limit(precision: str, loss: float) -> bool:
    """Tell whether a precision may lose so many points of UAR; not a number is not within."""
    return loss <= LOSS[precision] + 1e-9


def _uars(held_out: HeldOut, probabilities: NDArray[np.float32]) -> tuple[float, float, tuple[float, float]]:
    """Give UAR of the reference and of others, and the interval of the loss in points, of the same draws."""
    labels, speakers = list(held_out.spec.labels), [item.speaker_key for item in held_out.items]
    predictions = [[int(i) for i in values.argmax(1)] for values in (held_out.expected, probabilities)]
    reference, uar = (score(held_out.true, predicted, labels).uar for predicted in predictions)
    before, after = (uar_draws(held_out.true, predicted, labels, speakers) for predicted in predictions)
    # Equal answers differ in the last digit of their sums, which is no loss.
    return reference, uar, percentiles(np.round(100 * (before - after), 9))
