"""Classes and corpora of unequal size: how often each recording is drawn, and which."""

from __future__ import annotations

import pytest
import torch

from fdan_edge.training.class_balance import balanced_order, class_weights, corpus_weights

# Corpus 0: 60 of class 0, 20 of class 1. Corpus 1: 5 of each of the classes 0, 1, 2 and 3.
LABELS = torch.tensor([0] * 60 + [1] * 20 + [0, 1, 2, 3] * 5)
CORPORA = torch.tensor([0] * 80 + [1] * 20)


def shares(weights: torch.Tensor, of: torch.Tensor) -> list[float]:
    return torch.zeros(int(of.max()) + 1).index_add_(0, of, weights / len(weights)).tolist()


def test_fully_balanced_every_corpus_counts_the_same_and_each_of_its_classes() -> None:
    weights = corpus_weights(LABELS, CORPORA, 1.0)
    assert shares(weights, CORPORA) == pytest.approx([0.5, 0.5])
    assert shares(weights[:80], LABELS[:80]) == pytest.approx([100 * 0.25 / 80] * 2)
    assert shares(weights[80:], LABELS[80:]) == pytest.approx([100 * 0.125 / 20] * 4)


def test_unbalanced_every_recording_is_drawn_once() -> None:
    assert (corpus_weights(LABELS, CORPORA, 0.0) == 1).all()


def test_half_balanced_is_between() -> None:
    weights = corpus_weights(LABELS, CORPORA, 0.5)
    assert float(weights.mean()) == pytest.approx(1)
    assert 0.2 < shares(weights, CORPORA)[1] < 0.5
    # (2 * 60)^-0.5 to (4 * 5)^-0.5
    assert float(weights[80] / weights[0]) == pytest.approx((120 / 20) ** 0.5)


def test_each_is_drawn_as_often_as_its_weight_says_rounded() -> None:
    weights = corpus_weights(LABELS, CORPORA, 1.0)
    order = balanced_order(weights, 100, torch.Generator().manual_seed(0))
    counts = order.bincount(minlength=100)
    assert len(order) == 100
    assert ((counts - weights).abs() < 1).all()
    assert not torch.equal(order, order.sort().values)


def test_what_is_left_out_by_chance_comes_in_other_epochs() -> None:
    weights, chance = corpus_weights(LABELS, CORPORA, 1.0), torch.Generator().manual_seed(0)
    counts = sum(balanced_order(weights, 100, chance).bincount(minlength=100) for _ in range(200))
    torch.testing.assert_close(counts / 200, weights, atol=0.15, rtol=0)  # a deviation of sqrt(0.25 / 200) at most


def test_equal_weights_draw_every_recording_once() -> None:
    order = balanced_order(torch.ones(50), 50, torch.Generator().manual_seed(1))
    assert order.sort().values.tolist() == list(range(50))
    assert len(set(balanced_order(torch.ones(50), 48, torch.Generator().manual_seed(1)).tolist())) == 48


def test_class_weights_make_up_for_what_is_drawn() -> None:
    labels = torch.tensor([0, 0, 0, 1])
    torch.testing.assert_close(class_weights(labels, 3), torch.tensor([4 / 6, 4 / 2, 4 / 2]))
    drawn = torch.tensor([2 / 3, 2 / 3, 2 / 3, 2.0])
    torch.testing.assert_close(class_weights(labels, 3, drawn)[:2], torch.ones(2))
