"""What the steps of an epoch gave so far: summed on the device, known to the host a little later."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: What a step gives: the terms of the loss, the share of voices that were recognised, and whether it was skipped.
VALUES = ("loss", "acoustic", "visual", "alignment", "transfer", "distilled", "train_war", "skipped")


@dataclass(frozen=True)
class Sums:
    """As the host last saw them."""

    steps: int  # those that were taken; skipped ones give nothing to the means
    skipped: int
    in_a_row: int  # skipped, up to now, in earlier epochs too
    means: dict[str, float]  # of the other `VALUES`; {} where no step was taken


class Tally:
    """Sums of `VALUES` over steps.

    Args:
        device: where the steps are computed.
        state: of `state`, to go on from.
    """

    def __init__(self, device: torch.device, state: Tensor | None = None) -> None:
        # The sums of VALUES, how many were skipped in a row, and the number of steps.
        self._now = torch.zeros(len(VALUES) + 2, dtype=torch.float64) if state is None else state.clone()
        self._now = self._now.to(device)
        self._seen = self._now.cpu()
        self._cuda = device.type == "cuda"
        self._copy = torch.empty_like(self._seen, pin_memory=self._cuda)
        self._copied: torch.cuda.Event | None = None

    def add(self, values: Tensor) -> None:
        """Count one step's `VALUES`, (8,), on the device."""
        now = self._now
        now[:-2] += values
        now[-2] = (now[-2] + 1) * values[-1]
        now[-1] += 1
        self._look()

    def next_epoch(self) -> None:
        """Begin again, but for the number of steps skipped in a row."""
        run = self._now[-2].clone()
        self._now.zero_()
        self._now[-2] = run

    @property
    def state(self) -> Tensor:
        """Waits for the device."""
        return self._now.cpu()

    def known(self) -> Sums:
        """What the host knows without waiting for the device."""
        return _sums(self._seen)

    def exact(self) -> Sums:
        """After all steps; waits for the device."""
        return _sums(self.state)

    def _look(self) -> None:
        """On a GPU begin a copy when the one before has come: nobody waits for either."""
        if not self._cuda:
            self._seen = self._now.clone()
        elif self._copied is None or self._copied.query():  # type: ignore[no-untyped-call]
            if self._copied is not None:
                self._seen = self._copy.clone()
            self._copied = self._copied or torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copy.copy_(self._now, non_blocking=True)
            self._copied.record()


def _sums(state: Tensor) -> Sums:
    *sums, skipped, in_a_row, all_steps = state.tolist()
    steps = round(all_steps - skipped)
    means = {name: total / steps for name, total in zip(VALUES, sums, strict=False)} if steps else {}
    return Sums(steps, round(skipped), round(in_a_row), means)
