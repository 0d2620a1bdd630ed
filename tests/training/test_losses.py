"""The losses of labelled voices and faces."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fdan_edge.models.fdan import REGRESSION_SCALE
from fdan_edge.models.ops.lmmd import lmmd
from fdan_edge.training.losses import faces_alignment, label_loss

Y_V, Y_A = torch.tensor([0, 1, 2, 0]), torch.tensor([2, 1, 1, 0, 0])


def pairs(layers: int) -> list[tuple[Tensor, Tensor]]:
    chance = torch.Generator().manual_seed(0)
    z = [[torch.randn(n, 6, dtype=torch.float64, generator=chance) for n in (4, 5)] for _ in range(layers)]
    return [(z_v, z_a) for z_v, z_a in z]


def logits(rows: int = 5) -> Tensor:
    return torch.randn(rows, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def cross_entropy(rows: Tensor, y: Tensor, smoothing: float, weight: list[float]) -> Tensor:
    """The weighted mean over the samples of -sum_c q_c log p_c, in plain loops."""
    total = torch.zeros((), dtype=torch.float64)
    for row, label in zip(rows, y.tolist(), strict=True):
        log_p = row - row.exp().sum().log()
        for c in range(len(row)):
            total = total - weight[c] * ((1 - smoothing) * (c == label) + smoothing / len(row)) * log_p[c]
    mean: Tensor = total / sum(weight[label] for label in y.tolist())
    return mean


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weight", [[1.0, 1.0, 1.0], [0.5, 1.0, 2.0]])
def test_cross_entropy_is_the_plain_formula(smoothing: float, weight: list[float]) -> None:
    value = label_loss(logits(), Y_A, label_smoothing=smoothing, weight=torch.tensor(weight, dtype=torch.float64))
    torch.testing.assert_close(value, cross_entropy(logits(), Y_A, smoothing, weight))


@pytest.mark.parametrize("weight", [None, [0.5, 1.0, 2.0]])
def test_regression_is_the_squared_distance_to_the_one_hot_label(weight: list[float] | None) -> None:
    given = None if weight is None else torch.tensor(weight, dtype=torch.float64)
    value = label_loss(logits(), Y_A, "regression", weight=given)
    total, parts = 0.0, 0.0
    for row, label in zip((logits() / REGRESSION_SCALE).tolist(), Y_A.tolist(), strict=True):
        w = 1.0 if weight is None else weight[label]
        total += w * sum((value - (c == label)) ** 2 for c, value in enumerate(row))
        parts += w
    assert float(value) == pytest.approx(total / parts)
    assert float(label_loss(REGRESSION_SCALE * torch.eye(3)[Y_A], Y_A, "regression")) == 0


@pytest.mark.parametrize("count", ["all", "shared"])
def test_faces_and_voices_are_a_sum_of_lmmd_over_the_layers(count: str) -> None:
    value = faces_alignment(pairs(2), Y_V, Y_A, 3, count)
    expected = sum(lmmd(z_v, z_a, Y_V, Y_A, 3, class_count=count) for z_v, z_a in pairs(2))
    assert isinstance(expected, Tensor)
    torch.testing.assert_close(value, expected)
    assert float(value) > float(faces_alignment(pairs(1), Y_V, Y_A, 3, count)) > 0


def test_sure_probabilities_are_as_good_as_labels() -> None:
    soft = torch.eye(3, dtype=torch.float64)[Y_A]
    torch.testing.assert_close(
        faces_alignment(pairs(1), Y_V, soft, 3, "all"), faces_alignment(pairs(1), Y_V, Y_A, 3, "all")
    )
