"""The metrics of a training: running means of an epoch's steps, and one record for each epoch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: What a step gives: the terms of the loss, the share of voices that were recognised, and whether it was skipped.
STEP_METRICS = ("loss", "acoustic", "visual", "alignment", "transfer", "distilled", "train_war", "skipped")

#: Terms of the loss, and their names on the progress line, the most important first.
_LINE_NAMES = {
    "loss": "loss",
    "acoustic": "voice",
    "visual": "face",
    "alignment": "LMMD",
    "transfer": "transfer",
    "distilled": "teacher",
}


@dataclass(frozen=True)
class EpochMetrics:
    """One line of epochs.jsonl."""

    epoch: int  # from 1
    loss: float  # mean over the epoch's steps, as are the next three
    acoustic: float
    visual: float
    alignment: float  # sum of LMMD over the layers, before alpha
    train_war: float  # of augmented voices, during training
    val_uar: float
    val_war: float
    val_loss: float
    lr: float
    seconds: float
    transfer: float = 0.0  # between source and target, before its weight; mean over the steps
    distilled: float = 0.0  # divergence from the teacher, before its weight; likewise
    skipped: int = 0  # steps whose loss or gradient was not finite; the means are of the others
    rate: float = 0.0  # voices per second while training, without validation

    def line(self, epochs: int, *, best: bool) -> str:
        """Format the epoch for the log; terms of the loss that are not trained with are left out.

        Args:
            epochs: of the whole training.
            best: whether it is the best one so far, which a star marks.
        """
        mark = "  *" if best else ""
        terms = {"face": self.visual, "LMMD": self.alignment, "transfer": self.transfer, "teacher": self.distilled}
        more = "".join(f"  {name} {value:.3f}" for name, value in terms.items() if value)
        left = f", {duration(self.seconds * (epochs - self.epoch))} left" if self.epoch < epochs else ""
        validated = f"val loss {self.val_loss:.3f} UAR {100 * self.val_uar:.1f} %"
        skipped = f"  {self.skipped} step{'s' if self.skipped > 1 else ''} skipped" if self.skipped else ""
        return (
            f"epoch {self.epoch:>3}/{epochs}  loss {self.loss:.3f}  voice {self.acoustic:.3f}{more}"
            f"  {validated}  {self.seconds:.0f} s{left}{skipped}{mark}"
        )


def duration(seconds: float) -> str:
    """Write a time for people: 40 s, 3 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@dataclass(frozen=True)
class StepMeans:
    """Means over the steps of an epoch so far."""

    steps: int  # those that were taken; skipped ones give nothing to the means
    skipped: int
    skipped_in_a_row: int  # up to now, with those at the end of earlier epochs
    means: dict[str, float]  # of STEP_METRICS but the last; {} where no step was taken

    def loss_terms(self) -> dict[str, float]:
        """List the loss terms by their names for people; those that are not trained with are 0 and left out."""
        return {name: self.means[key] for key, name in _LINE_NAMES.items() if self.means.get(key)}


class RunningMetrics:
    """Sums of STEP_METRICS over steps: added on the device, copied to the host a little later.

    Args:
        device: where the steps are computed.
        state: of `state`, to go on from.
    """

    def __init__(self, device: torch.device, state: Tensor | None = None) -> None:
        # The sums of STEP_METRICS, how many were skipped in a row, and the number of steps.
        self._sums = torch.zeros(len(STEP_METRICS) + 2, dtype=torch.float64) if state is None else state.clone()
        self._sums = self._sums.to(device)
        self._on_host = self._sums.cpu()
        self._cuda = device.type == "cuda"
        self._copy = torch.empty_like(self._on_host, pin_memory=self._cuda)
        self._copied: torch.cuda.Event | None = None

    def add(self, values: Tensor) -> None:
        """Add one step's STEP_METRICS, (8,), on the device."""
        sums = self._sums
        sums[:-2] += values
        sums[-2] = (sums[-2] + 1) * values[-1]
        sums[-1] += 1
        self._copy_to_host()

    def next_epoch(self) -> None:
        """Begin again, but for the number of steps skipped in a row."""
        in_a_row = self._sums[-2].clone()
        self._sums.zero_()
        self._sums[-2] = in_a_row

    @property
    def state(self) -> Tensor:
        """The sums, on the host; waits for the device."""
        return self._sums.cpu()

    def latest(self) -> StepMeans:
        """Return what the host knows without waiting for the device."""
        return _means(self._on_host)

    def exact(self) -> StepMeans:
        """Return the means over all steps; waits for the device."""
        return _means(self.state)

    def _copy_to_host(self) -> None:
        """On a GPU begin a copy when the one before has come: nobody waits for either."""
        if not self._cuda:
            self._on_host = self._sums.clone()
        elif self._copied is None or self._copied.query():  # type: ignore[no-untyped-call]
            if self._copied is not None:
                self._on_host = self._copy.clone()
            self._copied = self._copied or torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copy.copy_(self._sums, non_blocking=True)
            self._copied.record()


def _means(state: Tensor) -> StepMeans:
    *sums, skipped, in_a_row, all_steps = state.tolist()
    steps = round(all_steps - skipped)
    means = {name: total / steps for name, total in zip(STEP_METRICS, sums, strict=False)} if steps else {}
    return StepMeans(steps, round(skipped), round(in_a_row), means)
