"""Metrics of steps, of which some are skipped."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fdan_edge.training.history import STEP_METRICS, RunningMetrics

CPU = torch.device("cpu")


def step(loss: float, *, skipped: bool = False) -> Tensor:
    """What a step gives: nothing but zeros where it was skipped."""
    return torch.tensor([0.0] * 7 + [1.0]) if skipped else torch.tensor([loss, 1, 2, 3, 4, 5, 0.5, 0])


def test_means_are_of_the_steps_that_were_taken() -> None:
    running = RunningMetrics(CPU)
    assert running.latest().means == {}
    for values in (step(2.0), step(0, skipped=True), step(4.0)):
        running.add(values)
    means = running.latest()
    assert (means.steps, means.skipped, means.skipped_in_a_row) == (2, 1, 0)
    assert means.means == pytest.approx(dict(zip(STEP_METRICS[:-1], (3, 1, 2, 3, 4, 5, 0.5), strict=True)))
    assert running.exact() == means


def test_skipped_steps_in_a_row_are_counted_across_epochs() -> None:
    running = RunningMetrics(CPU)
    for values in (step(1), step(0, skipped=True), step(0, skipped=True)):
        running.add(values)
    running.next_epoch()
    assert (running.exact().skipped_in_a_row, running.exact().skipped, running.exact().steps) == (2, 0, 0)
    running.add(step(0, skipped=True))
    assert running.latest().skipped_in_a_row == 3
    assert running.latest().means == {}
    running.add(step(1))
    assert running.latest().skipped_in_a_row == 0


def test_it_goes_on_from_its_state() -> None:
    one = RunningMetrics(CPU)
    one.add(step(2.0))
    other = RunningMetrics(CPU, one.state)
    for running in (one, other):
        running.add(step(5.0))
    assert one.exact() == other.exact()
    assert other.exact().means["loss"] == 3.5


@pytest.mark.gpu
def test_the_host_knows_a_little_later() -> None:
    running = RunningMetrics(torch.device("cuda"))
    for number in range(200):
        running.add(step(float(number)).cuda())
    torch.cuda.synchronize()
    running.add(step(0.0).cuda())
    assert 0 < running.latest().steps <= 201
    assert running.exact().steps == 201
