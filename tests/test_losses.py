"""The loss of equation 9."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fdan_edge import losses
from fdan_edge.losses import fdan_loss
from fdan_edge.models.fdan import Output
from fdan_edge.ops import lmmd

Y_V, Y_A = torch.tensor([0, 1, 2, 0]), torch.tensor([2, 1, 1, 0, 0])


def output(layers: int = 2) -> Output:
    chance = torch.Generator().manual_seed(0)
    logits = [torch.randn(n, 3, dtype=torch.float64, generator=chance) for n in (4, 5)]
    z = [[torch.randn(n, 6, dtype=torch.float64, generator=chance) for n in (4, 5)] for _ in range(layers)]
    return Output(logits[0], logits[1], [(z_v, z_a) for z_v, z_a in z])


def cross_entropy(logits: Tensor, y: Tensor, smoothing: float = 0.0) -> Tensor:
    """The mean over the samples of -sum_c q_c log p_c, in plain loops."""
    total = torch.zeros((), dtype=torch.float64)
    for row, label in zip(logits, y.tolist(), strict=True):
        log_p = row - row.exp().sum().log()
        for c in range(len(row)):
            total = total - ((1 - smoothing) * (c == label) + smoothing / len(row)) * log_p[c]
    return total / len(y)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("count", ["all", "shared"])
def test_is_equation_9(smoothing: float, count: str) -> None:
    made = output()
    terms = fdan_loss(made, Y_V, Y_A, 0.01, class_count=count, label_smoothing=smoothing)
    alignment = sum(lmmd(z_v, z_a, Y_V, Y_A, 3, class_count=count) for z_v, z_a in made.aligned)
    assert isinstance(alignment, Tensor)
    torch.testing.assert_close(terms.acoustic, cross_entropy(made.logits_acoustic, Y_A, smoothing))
    torch.testing.assert_close(terms.visual, cross_entropy(made.logits_visual, Y_V, smoothing))
    torch.testing.assert_close(terms.alignment.double(), alignment.double())
    torch.testing.assert_close(terms.total, terms.acoustic + terms.visual + 0.01 * alignment)


def test_alpha_0_does_not_compute_lmmd(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Tensor:
        raise AssertionError("computed")

    monkeypatch.setattr(losses, "lmmd", refuse)
    terms = fdan_loss(output(), Y_V, Y_A, 0.0)
    assert float(terms.alignment) == 0
    torch.testing.assert_close(terms.total, terms.acoustic + terms.visual)
    with pytest.raises(AssertionError, match="computed"):
        fdan_loss(output(), Y_V, Y_A, 1e-5)


def test_more_layers_are_a_longer_sum() -> None:
    one, two = (fdan_loss(output(n), Y_V, Y_A, 1.0).alignment for n in (1, 2))
    assert float(two) > float(one) > 0
