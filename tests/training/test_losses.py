"""The losses of labelled voices and faces."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fdan_edge.models.fdan import REGRESSION_SCALE
from fdan_edge.models.ops.lmmd import lmmd
from fdan_edge.training.losses import faces_alignment, label_loss, masked_log_softmax

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


# --- classes that a corpus does not have ---

KNOWN = torch.tensor([[1, 0, 1], [1, 1, 0], [1, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=torch.bool)


@pytest.mark.parametrize("kind", ["cross_entropy", "regression"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weight", [None, [0.5, 1.0, 2.0]])
def test_with_all_classes_known_nothing_changes(kind: str, smoothing: float, weight: list[float] | None) -> None:
    given = None if weight is None else torch.tensor(weight, dtype=torch.float64)
    values = [
        label_loss(logits(), Y_A, kind, label_smoothing=smoothing, weight=given, known=known)
        for known in (None, torch.ones(5, 3, dtype=torch.bool))
    ]
    torch.testing.assert_close(*values)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weight", [[1.0, 1.0, 1.0], [0.5, 1.0, 2.0]])
def test_a_row_is_one_of_a_network_that_knows_its_corpus_alone(smoothing: float, weight: list[float]) -> None:
    """Leaving the missing classes' logits away row by row is the same, in plain loops."""
    total, parts = torch.zeros((), dtype=torch.float64), 0.0
    for row, known, label in zip(logits(), KNOWN, Y_A.tolist(), strict=True):
        own = int(known[:label].sum())
        left = [w for w, there in zip(weight, known.tolist(), strict=True) if there]
        total = total + left[own] * cross_entropy(row[known][None], torch.tensor([own]), smoothing, left)
        parts += left[own]
    given = torch.tensor(weight, dtype=torch.float64)
    value = label_loss(logits(), Y_A, label_smoothing=smoothing, weight=given, known=KNOWN)
    torch.testing.assert_close(value, total / parts)


@pytest.mark.parametrize("kind", ["cross_entropy", "regression"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_missing_classes_get_no_gradient(kind: str, dtype: torch.dtype) -> None:
    rows = logits().to(dtype).requires_grad_()
    (gradient,) = torch.autograd.grad(label_loss(rows, Y_A, kind, label_smoothing=0.1, known=KNOWN), rows)
    assert (gradient[~KNOWN] == 0).all()
    assert gradient.isfinite().all()
    assert (gradient[KNOWN] != 0).all()


def test_probabilities_of_known_classes_sum_to_one() -> None:
    shares = masked_log_softmax(logits(), KNOWN).exp() * KNOWN
    torch.testing.assert_close(shares.sum(1), torch.ones(5, dtype=torch.float64))
