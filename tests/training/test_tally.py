"""Sums over steps, of which some are skipped."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fdan_edge.training.tally import VALUES, Tally

CPU = torch.device("cpu")


def step(loss: float, *, skipped: bool = False) -> Tensor:
    """What a step gives: nothing but zeros where it was skipped."""
    return torch.tensor([0.0] * 7 + [1.0]) if skipped else torch.tensor([loss, 1, 2, 3, 4, 5, 0.5, 0])


def test_means_are_of_the_steps_that_were_taken() -> None:
    tally = Tally(CPU)
    assert tally.known().means == {}
    for values in (step(2.0), step(0, skipped=True), step(4.0)):
        tally.add(values)
    known = tally.known()
    assert (known.steps, known.skipped, known.in_a_row) == (2, 1, 0)
    assert known.means == pytest.approx(dict(zip(VALUES[:-1], (3, 1, 2, 3, 4, 5, 0.5), strict=True)))
    assert tally.exact() == known


def test_skipped_steps_in_a_row_are_counted_across_epochs() -> None:
    tally = Tally(CPU)
    for values in (step(1), step(0, skipped=True), step(0, skipped=True)):
        tally.add(values)
    tally.next_epoch()
    assert (tally.exact().in_a_row, tally.exact().skipped, tally.exact().steps) == (2, 0, 0)
    tally.add(step(0, skipped=True))
    assert tally.known().in_a_row == 3
    assert tally.known().means == {}
    tally.add(step(1))
    assert tally.known().in_a_row == 0


def test_it_goes_on_from_its_state() -> None:
    one = Tally(CPU)
    one.add(step(2.0))
    other = Tally(CPU, one.state)
    for tally in (one, other):
        tally.add(step(5.0))
    assert one.exact() == other.exact()
    assert other.exact().means["loss"] == 3.5


@pytest.mark.gpu
def test_the_host_knows_a_little_later() -> None:
    tally = Tally(torch.device("cuda"))
    for number in range(200):
        tally.add(step(float(number)).cuda())
    torch.cuda.synchronize()
    tally.add(step(0.0).cuda())
    assert 0 < tally.known().steps <= 201
    assert tally.exact().steps == 201
