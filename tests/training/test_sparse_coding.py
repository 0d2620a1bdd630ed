"""The solver of sparse coding: against scikit-learn, by its certificate, and at the edges."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fdan_edge.training.sparse_coding import duality_gap, sparse_codes

D = 64
KINDS = ("random", "relu", "common mean", "large common mean", "clusters", "low rank")
TAUS = (0.01, 0.1, 1.0)
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def features(kind: str, rows: int, seed: int = 0) -> Tensor:
    """Rows of unit length, (rows, D). One kind's features share their mean, centres and directions."""
    chance, shared = (torch.Generator().manual_seed(number) for number in (seed, 100))
    x = torch.randn(rows, D, generator=chance)
    mean, centres = torch.randn(D, generator=shared), torch.randn(5, D, generator=shared)
    which = torch.randint(5, (rows,), generator=chance)
    features = {
        "random": x,
        "relu": x.relu(),
        "common mean": x + mean,
        "large common mean": x + 8 * mean,
        "clusters": centres[which] + mean + 0.3 * x,
        "low rank": x[:, :5] @ centres + 0.1 * x,
    }[kind]
    if kind != "relu":
        features = functional.layer_norm(features, (D,))
    return functional.normalize(features, dim=1)


def objective(signals: Tensor, atoms: Tensor, codes: Tensor, tau: float) -> Tensor:
    """By row, in float64 and loops of its own."""
    rows = []
    for z, w in zip(signals.double(), codes.double(), strict=True):
        combination = sum(weight * atom for weight, atom in zip(w, atoms.double(), strict=True))
        rows.append((z - combination).pow(2).sum() + tau * w.abs().sum())
    return torch.stack(rows)


def by_coordinate_descent(signals: Tensor, atoms: Tensor, tau: float) -> Tensor:
    """The codes by scikit-learn, whose Lasso has 1/(2d) |y - Xw|^2 + alpha |w|_1."""
    from sklearn.linear_model import Lasso

    model = Lasso(alpha=tau / (2 * D), fit_intercept=False, tol=1e-9, max_iter=1_000_000)
    model.fit(atoms.double().T.numpy(), signals.double().T.numpy())
    return torch.from_numpy(model.coef_).reshape(len(signals), len(atoms))


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("n_atoms", [1, 2, 9, 32, 128])
@pytest.mark.parametrize("kind", KINDS)
def test_is_as_low_as_scikit_learns_lasso(kind: str, n_atoms: int, tau: float) -> None:
    signals, atoms = features(kind, 6, seed=1), features(kind, n_atoms)
    objectives = objective(signals, atoms, sparse_codes(signals, atoms, tau), tau)
    expected = objective(signals, atoms, by_coordinate_descent(signals, atoms, tau), tau)
    assert (objectives / expected).max() < 1 + 1e-3
    assert (objectives / expected).min() > 1 - 1e-5  # by no more than the other's own error


@pytest.mark.parametrize("tau", TAUS)
def test_codes_are_scikit_learns(tau: float) -> None:
    """Where atoms are few and at random directions, one W is the best by far."""
    signals, atoms = features("random", 6, seed=1), features("random", 9)
    codes = sparse_codes(signals.double(), atoms.double(), tau)
    torch.testing.assert_close(codes, by_coordinate_descent(signals, atoms, tau), rtol=0, atol=1e-6)


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_certificate_closes(kind: str, tau: float) -> None:
    signals, atoms = features(kind, 16, seed=1).double(), features(kind, 32).double()
    few, many = (sparse_codes(signals, atoms, tau, n) for n in (3, 3000))
    assert duality_gap(signals, atoms, many, tau).max() < 1e-6
    gap = duality_gap(signals, atoms, few, tau)
    above = objective(signals, atoms, few, tau) - objective(signals, atoms, many, tau)
    assert (gap >= above - 1e-12).all(), "the gap is a bound"
    assert gap.shape == (16,)


@pytest.mark.parametrize("kind", ["random", "common mean"])
def test_codes_do_not_depend_on_the_unit_of_features(kind: str) -> None:
    signals, atoms = features(kind, 5, seed=1), features(kind, 12)
    expected = sparse_codes(signals, atoms, 0.1)
    torch.testing.assert_close(sparse_codes(100 * signals, 100 * atoms, 1000.0), expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(sparse_codes(signals, 0.01 * atoms, 0.001), 100 * expected, rtol=1e-3, atol=1e-2)


def test_rows_are_solved_each_for_itself() -> None:
    signals, atoms = features("common mean", 7, seed=1).double(), features("common mean", 9).double()
    alone = torch.cat([sparse_codes(row[None], atoms, 0.1) for row in signals])
    torch.testing.assert_close(sparse_codes(signals, atoms, 0.1), alone)


def test_one_atom_has_the_known_answer() -> None:
    """w is z a less tau/2, not beyond 0, for atoms of unit length."""
    atom = functional.normalize(torch.ones(1, D), dim=1)
    signals = torch.tensor([0.8, 0.3, 0.05, 0.0, -0.06, -0.8])[:, None] * atom
    codes = sparse_codes(signals, atom, 0.1)
    expected = torch.tensor([[0.75], [0.25], [0.0], [0.0], [-0.01], [-0.75]])
    torch.testing.assert_close(codes, expected, rtol=0, atol=1e-6)


def test_without_tau_it_is_least_squares() -> None:
    signals, atoms = features("common mean", 5, seed=1).double(), features("common mean", 8).double()
    expected = torch.linalg.lstsq(atoms.T, signals.T).solution.T
    torch.testing.assert_close(sparse_codes(signals, atoms, 0.0), expected, rtol=0, atol=1e-5)


def test_a_large_tau_leaves_exact_zeros() -> None:
    signals, atoms = features("common mean", 5, seed=1), features("common mean", 8)
    least = 2 * float((signals @ atoms.T).abs().max())
    assert not sparse_codes(signals, atoms, 1.01 * least).any()
    assert sparse_codes(signals, atoms, 0.9 * least).any()
    assert float(duality_gap(signals, atoms, torch.zeros(5, 8), 1.01 * least).max()) == 0


def test_most_codes_are_exact_zeros() -> None:
    codes = sparse_codes(features("common mean", 16, seed=1), features("common mean", 128), 0.3)
    assert 0 < (codes != 0).float().mean() < 0.2


def test_an_atom_twice_makes_no_difference_to_the_objective() -> None:
    signals, atoms = features("random", 5, seed=1).double(), features("random", 8).double()
    twice = torch.cat([atoms, atoms])
    once = objective(signals, atoms, sparse_codes(signals, atoms, 0.1), 0.1)
    torch.testing.assert_close(objective(signals, twice, sparse_codes(signals, twice, 0.1), 0.1), once)


@pytest.mark.parametrize("tau", [0.0, 1e-30, 0.1])
def test_zero_rows_get_zeros(tau: float) -> None:
    signals, atoms = features("random", 4, seed=1), features("random", 5)
    signals[1] = atoms[2] = 0
    codes = sparse_codes(signals, atoms, tau)
    assert not codes[1].any()
    assert not codes[:, 2].any()
    assert codes[0, 0] != 0
    assert sparse_codes(torch.zeros(2, D), torch.zeros(3, D), tau).eq(0).all()
    assert duality_gap(torch.zeros(2, D), torch.zeros(3, D), torch.zeros(2, 3), tau).eq(0).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_is_computed_in_float32_at_least(dtype: torch.dtype) -> None:
    signals, atoms = (features("random", rows, rows).to(dtype) for rows in (5, 8))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        codes = sparse_codes(signals, atoms, 0.1)
    assert codes.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(
        codes, sparse_codes(signals.float(), atoms.float(), 0.1).to(codes), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("side", [0, 1])
def test_features_that_are_not_finite_give_nan(side: int) -> None:
    """As every loss does; the training stops on it with its own words."""
    sides = [features("random", 5), features("random", 8, seed=1)]
    sides[side][0, 0] = math.inf
    assert sparse_codes(sides[0], sides[1], 0.1).isnan().any()


def test_nothing_is_differentiated() -> None:
    signals, atoms = features("random", 5).requires_grad_(), features("random", 8, seed=1).requires_grad_()
    codes = sparse_codes(signals, atoms, 0.1)
    assert not codes.requires_grad
    assert not duality_gap(signals, atoms, codes, 0.1).requires_grad


@pytest.mark.parametrize(
    ("signals", "atoms", "tau", "iterations", "words"),
    [
        (torch.ones(3), torch.ones(2, 4), 0.1, 1, r"shape \(rows, d\)"),
        (torch.ones(3, 5), torch.ones(2, 4), 0.1, 1, "5 features, atoms 4"),
        (torch.ones(3, 4), torch.ones(0, 4), 0.1, 1, "3 signals and 0 atoms"),
        (torch.ones(3, 4).long(), torch.ones(2, 4), 0.1, 1, "must be float16"),
        (torch.ones(3, 4), torch.ones(2, 4), -0.1, 1, "got -0.1"),
        (torch.ones(3, 4), torch.ones(2, 4), math.nan, 1, "got nan"),
        (torch.ones(3, 4), torch.ones(2, 4), 0.1, 0, "got 0"),
    ],
)
def test_what_does_not_fit_is_refused(
    signals: Tensor, atoms: Tensor, tau: float, iterations: int, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        sparse_codes(signals, atoms, tau, iterations)


def test_codes_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3, 2\), not \(2, 3\)"):
        duality_gap(torch.ones(3, 4), torch.ones(2, 4), torch.ones(2, 3), 0.1)


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype:UserWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_cuda_gives_what_the_cpu_gives(kind: str) -> None:
    """Asked for without waiting for the GPU."""
    signals, atoms = features(kind, 40, seed=1), features(kind, 32)
    on_gpu = signals.cuda(), atoms.cuda()
    sparse_codes(*on_gpu, 0.1)  # loads libraries, which does wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        codes = sparse_codes(*on_gpu, 0.1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    expected = objective(signals, atoms, sparse_codes(signals, atoms, 0.1), 0.1)
    torch.testing.assert_close(objective(signals, atoms, codes.cpu(), 0.1), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.gpu
def test_a_graph_replays_with_other_features() -> None:
    signals, atoms = features("common mean", 40, seed=1).cuda(), features("common mean", 32).cuda()
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        sparse_codes(signals, atoms, 0.1)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        codes = sparse_codes(signals, atoms, 0.1)
    for seed in (5, 6):
        signals.copy_(features("common mean", 40, seed))
        atoms.copy_(features("common mean", 32, seed + 10))
        graph.replay()
        torch.cuda.synchronize()
        torch.testing.assert_close(codes, sparse_codes(signals, atoms, 0.1), rtol=1e-4, atol=1e-5)
