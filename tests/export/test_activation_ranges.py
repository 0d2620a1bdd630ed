"""Ranges from histograms: what each method keeps, and that one pass counts all."""

from __future__ import annotations

import numpy as np
import pytest

from fdan_edge.errors import ExportError
from fdan_edge.export.activation_ranges import METHODS, Histogram, collect
from tests.helpers.graphs import network, waves


def histogram(*parts: np.ndarray) -> Histogram:
    made = Histogram(np.zeros(4096, np.int64))
    for part in parts:
        made.add(np.asarray(part, np.float32))
    return made


def test_counts_are_those_of_numpy_whatever_the_order() -> None:
    chance = np.random.default_rng(0)
    small, large = chance.standard_normal(5000), 30 * chance.standard_normal(5000)
    made, other = histogram(small, large), histogram(large, small)
    assert made.edge == other.edge == 128
    expected, _ = np.histogram(np.concatenate([small, large]), 4096, (-128, 128))
    assert abs(made.counts - expected).sum() <= 4  # at the edges of bins, in float32
    assert made.counts.sum() == other.counts.sum() == 10000


def test_minmax_keeps_all_and_always_0() -> None:
    assert histogram(np.array([-3, 0.5]), np.array([7.0])).range("minmax") == (-3, 7)
    assert histogram(np.array([2, 3])).range("minmax") == (0, 3)
    assert histogram(np.array([-2, -3])).range("minmax") == (-3, 0)


def test_percentile_leaves_out_the_rarest() -> None:
    values = np.append(np.random.default_rng(0).uniform(-1, 1, 100_000), [50.0])
    low, high = histogram(values).range("percentile")
    assert low == pytest.approx(-1, abs=0.1)
    assert high == pytest.approx(1, abs=0.1)


def test_entropy_cuts_a_long_tail_and_leaves_even_values_whole() -> None:
    chance = np.random.default_rng(0)
    bulk = np.abs(chance.standard_normal(200_000))
    low, high = histogram(np.append(bulk, [100.0] * 3)).range("entropy")
    assert low == 0
    assert 2 < high < 40
    _, even = histogram(chance.uniform(0, 1, 200_000)).range("entropy")
    assert even > 0.9


@pytest.mark.parametrize("method", METHODS)
def test_a_tensor_of_zeros_has_a_range(method: str) -> None:
    assert histogram(np.zeros(10)).range(method) == (0, 0)


def test_collect_sees_every_window() -> None:
    y = waves(7)
    y[6] *= 100
    found = collect(network(), ["heard", "r2"], y)
    assert found["heard"].range("minmax") == pytest.approx((2 * y.min(), 2 * y.max()))
    assert found["heard"].counts.sum() == y.size
    assert found["r2"].low >= 0


def test_nothing_to_calibrate_on() -> None:
    with pytest.raises(ExportError, match="there is none"):
        collect(network(), ["heard"], waves(0))


def test_a_layer_that_overflows_is_refused() -> None:
    with pytest.raises(ExportError, match="tensor c1 holds values that are not finite"):
        collect(network(scale=1e38), ["c1"], 1e6 * waves(1))
