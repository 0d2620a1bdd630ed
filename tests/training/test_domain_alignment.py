"""Terms that align two corpora: their values by plain formulas, their gradients by differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from functools import partial

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional

from fdan_edge.models.domain_classifier import DomainClassifier, reverse_gradient
from fdan_edge.training.domain_alignment import (
    coral,
    ida,
    mmd,
    reversal_strength,
)
from fdan_edge.training.sparse_coding import duality_gap, sparse_codes

D = 6
Term = Callable[[Tensor, Tensor], Tensor]


def exact_ida(z_source: Tensor, z_target: Tensor) -> Tensor:
    """IDA with codes that have converged."""
    return ida(z_source, z_target, 0.1, 400)


TERMS: dict[str, Term] = {"ida": exact_ida, "mmd": mmd, "coral": coral}
terms = pytest.mark.parametrize("term", TERMS.values(), ids=TERMS)
no_prototype = pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype:UserWarning")


def features(rows: int, seed: int, shift: float = 1.0, width: int = D) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def by_differences(term: Term, z_source: Tensor, z_target: Tensor, step: float = 1e-5) -> list[Tensor]:
    """The gradients for both sides, from values alone; W of IDA is solved anew for each."""
    gradients = []
    for moved in (z_source, z_target):
        gradient = torch.zeros_like(moved)
        for index in range(moved.numel()):
            values = []
            for sign in (1, -1):
                moved.view(-1)[index] += sign * step
                values.append(term(z_source, z_target))
                moved.view(-1)[index] -= sign * step
            gradient.view(-1)[index] = (values[0] - values[1]) / (2 * step)
        gradients.append(gradient)
    return gradients


@pytest.mark.parametrize("name", ["ida", "coral"])  # MMD's bandwidth is not differentiated through
def test_the_gradient_is_that_of_the_value(name: str) -> None:
    """For IDA as well, although W is held fixed in backward: W is the minimiser."""
    z_source, z_target = features(5, 0), features(3, 1)
    expected = by_differences(TERMS[name], z_source, z_target)
    sides = [z.clone().requires_grad_() for z in (z_source, z_target)]
    gradients = torch.autograd.grad(TERMS[name](*sides), sides)
    for gradient, wanted in zip(gradients, expected, strict=True):
        assert wanted.abs().max() > 1e-3
        torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-6)


@terms
def test_equal_sets_differ_least(term: Term) -> None:
    z = features(8, 0)
    apart = float(term(z, features(8, 1, shift=-1.0)))
    if term is exact_ida:  # each row is the best atom for itself: w = 1 - tau / 2
        assert float(term(z, z)) < 0.1 - 0.1**2 / 4 + 1e-9 < apart
    else:
        assert float(term(z, z)) == pytest.approx(0, abs=1e-12)
        assert apart > 0.01


@terms
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_low_precision_is_computed_in_float32(term: Term, dtype: torch.dtype) -> None:
    sides = [features(6, seed).to(dtype).requires_grad_() for seed in (0, 1)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = term(sides[0], sides[1])
    value.backward()  # type: ignore[no-untyped-call]
    assert value.dtype == torch.float32
    exact = term(*(z.detach().double() for z in sides))
    torch.testing.assert_close(value.double(), exact, rtol=1e-4, atol=1e-6)
    for z in sides:
        assert z.grad is not None
        assert z.grad.dtype == dtype
        assert z.grad.isfinite().all()


def test_ida_is_the_formula() -> None:
    z_source, z_target, tau = features(9, 0), features(4, 1), 0.2
    source, target = functional.normalize(z_source), functional.normalize(z_target)
    codes = sparse_codes(target, source, tau)
    assert duality_gap(target, source, codes, tau).max() < 1e-6
    total = 0.0
    for z, w in zip(target, codes, strict=True):
        total += float((z - w @ source).norm() ** 2 + tau * w.abs().sum())
    assert float(ida(z_source, z_target, tau)) == pytest.approx(total / 4, rel=1e-9)


def test_ida_does_not_depend_on_the_length_of_rows() -> None:
    z_source, z_target = features(9, 0), features(4, 1)
    lengths = torch.linspace(0.01, 100, 9)[:, None]
    torch.testing.assert_close(ida(lengths * z_source, 0.1 * z_target), ida(z_source, z_target))


def test_ida_is_low_where_the_source_spans_the_target() -> None:
    z_source = features(4, 0, shift=0.0, width=20)
    inside = features(5, 1, width=4) @ z_source
    outside = features(5, 2, shift=0.0, width=20)
    assert float(ida(z_source, inside, 0.01)) < 0.05
    assert float(ida(z_source, outside, 0.01)) > 0.5


def test_descent_on_ida_brings_the_target_near_the_source() -> None:
    z_source, z_target = features(8, 0, width=20), features(8, 1, shift=-1.0, width=20).requires_grad_()
    optimiser = torch.optim.SGD([z_target], lr=20.0)
    values = []
    for _ in range(30):
        optimiser.zero_grad()
        value = ida(z_source, z_target)
        value.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        values.append(float(value.detach()))
    assert values[-1] < 0.5 * values[0]


@pytest.mark.parametrize("tau", [0.0, 0.1, 2.0])
def test_ida_of_zero_rows_is_finite(tau: float) -> None:
    """A layer that ends in a ReLU can give them."""
    z_source, z_target = features(5, 0), features(4, 1)
    z_source[1] = z_target[2] = 0
    z_source.requires_grad_()
    z_target.requires_grad_()
    value = ida(z_source, z_target, tau)
    value.backward()  # type: ignore[no-untyped-call]
    for z in (z_source, z_target):
        assert z.grad is not None
        assert z.grad.isfinite().all()
    assert z_source.grad is not None
    assert not z_source.grad[1].any()


def test_ida_at_the_largest_tau_is_one_without_gradient() -> None:
    z_source, z_target = features(5, 0), features(4, 1).requires_grad_()
    value = ida(z_source, z_target, 2.0)
    value.backward()  # type: ignore[no-untyped-call]
    assert float(value.detach()) == pytest.approx(1)
    assert z_target.grad is not None
    assert z_target.grad.abs().max() < 1e-12


def test_mmd_is_the_difference_of_mean_kernels() -> None:
    z_source, z_target = features(6, 0), features(4, 1)
    z = torch.cat([z_source, z_target])
    squares = torch.cdist(z, z).square()
    bandwidth = squares.sum() / (10 * 9) / 4
    kernel = sum(((-squares / (bandwidth * 2**i)).exp() for i in range(5)), torch.zeros(()))
    expected = kernel[:6, :6].mean() + kernel[6:, 6:].mean() - 2 * kernel[:6, 6:].mean()
    torch.testing.assert_close(mmd(z_source, z_target), expected.double())


def test_coral_is_the_formula() -> None:
    z_source, z_target = features(6, 0), 2 * features(4, 1)
    difference = torch.cov(z_source.T) - torch.cov(z_target.T)
    expected = difference.square().sum() / (4 * D**2)
    torch.testing.assert_close(coral(z_source, z_target), expected)


def test_coral_does_not_see_a_shift() -> None:
    z = features(6, 0)
    assert float(coral(z, z + 3)) == pytest.approx(0, abs=1e-12)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="2 rows on each side, got 6 and 1"):
        coral(features(6, 0), features(1, 0))
    for term in TERMS.values():
        with pytest.raises(ValueError, match="6"):
            term(features(6, 0), features(6, 0, width=D + 1))
    with pytest.raises(ValueError, match="0 atoms"):
        ida(torch.zeros(0, D), features(6, 0))


def test_reversal_negates_the_gradient_exactly() -> None:
    z = features(6, 0).requires_grad_()
    weight = features(6, 1)
    assert torch.equal(reverse_gradient(z, 0.3), z)
    (gradient,) = torch.autograd.grad((reverse_gradient(z, 0.3) * weight).sum(), z)
    assert torch.equal(gradient, -0.3 * weight)


def domain_loss(classifier: DomainClassifier, z_source: Tensor, z_target: Tensor) -> Tensor:
    """The formula: -mean log(1 - p) over the source and -mean log p over the target."""
    p_source, p_target = (classifier.layers(z).sigmoid() for z in (z_source, z_target))
    value: Tensor = -(1 - p_source).log().mean() - p_target.log().mean()
    return value


def test_the_domain_classifier_descends_and_the_features_ascend() -> None:
    torch.manual_seed(0)
    classifier = DomainClassifier(D, hidden=8)
    sides = [features(rows, rows).float().requires_grad_() for rows in (7, 4)]
    inputs = [*sides, *classifier.parameters()]
    value, plain = classifier(*sides, 0.25), domain_loss(classifier, *sides)
    torch.testing.assert_close(value, plain)
    gradients, expected = torch.autograd.grad(value, inputs), torch.autograd.grad(plain, inputs)
    factors = [-0.25, -0.25, 1, 1, 1, 1]
    for gradient, wanted, factor in zip(gradients, expected, factors, strict=True):
        assert wanted.any()
        torch.testing.assert_close(gradient, factor * wanted, rtol=1e-4, atol=1e-7)


def test_a_trained_domain_classifier_tells_corpora_apart() -> None:
    torch.manual_seed(0)
    classifier = DomainClassifier(D, hidden=16)
    z_source, z_target = features(40, 0).float(), features(30, 1, shift=-1.0).float()
    optimiser = torch.optim.AdamW(classifier.parameters(), lr=0.02)
    assert float(classifier(z_source, z_target).detach()) == pytest.approx(2 * math.log(2), rel=0.3)
    for _ in range(100):
        optimiser.zero_grad()
        classifier(z_source, z_target).backward()
        optimiser.step()
    assert float(classifier(z_source, z_target).detach()) < 0.2


def test_the_domain_classifier_takes_low_precision() -> None:
    torch.manual_seed(0)
    classifier = DomainClassifier(D, hidden=8)
    z = [features(5, seed).bfloat16().requires_grad_() for seed in (0, 1)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = classifier(*z, 1.0)
    value.backward()
    assert value.dtype == torch.float32
    assert z[0].grad is not None
    assert z[0].grad.dtype == torch.bfloat16


def test_reversal_grows_from_0_to_1() -> None:
    values = [reversal_strength(p) for p in (0.0, 0.1, 0.5, 1.0)]
    assert values == pytest.approx([0.0, 0.46211716, 0.98661430, 0.99990920])
    with pytest.raises(ValueError, match=r"progress = 1\.5"):
        reversal_strength(1.5)


def with_gradients(term: Term, sides: list[Tensor]) -> list[Tensor]:
    leaves = [z.detach().requires_grad_() for z in sides]
    value = term(*leaves)
    return [value.detach(), *torch.autograd.grad(value, leaves)]


def check_on_cuda(term: Term, on_gpu: Term, sides: list[Tensor]) -> None:
    """The CPU's values and gradients, asked for without waiting for the GPU."""
    there = [z.cuda() for z in sides]
    with_gradients(on_gpu, there)  # loads libraries, which does wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        gradients = with_gradients(on_gpu, there)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for ours, wanted in zip(gradients, with_gradients(term, sides), strict=True):
        torch.testing.assert_close(ours.cpu(), wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.gpu
@no_prototype
@pytest.mark.filterwarnings("ignore:LMMD runs on its PyTorch reference")
@terms
def test_cuda_gives_what_the_cpu_gives(term: Term) -> None:
    check_on_cuda(term, term, [features(33, 0, width=64), features(20, 1, shift=-1.0, width=64)])


@pytest.mark.gpu
@no_prototype
def test_a_domain_classifier_on_cuda_gives_what_it_gives_on_the_cpu() -> None:
    torch.manual_seed(0)
    classifier = DomainClassifier(D)
    there = deepcopy(classifier).cuda()
    check_on_cuda(classifier, there, [features(rows, rows).float() for rows in (33, 20)])


@pytest.mark.parametrize("name", ["ida", "coral", "dann"])
def test_everything_is_where_the_features_are(name: str) -> None:
    """On a pretended GPU, where a tensor of the CPU beside others, or a number that is read, is an error."""
    with FakeTensorMode(), torch.device("cuda"):
        terms: dict[str, Term] = {"ida": partial(ida, iterations=3), "coral": coral, "dann": DomainClassifier(D)}
        value = terms[name](torch.randn(5, D), torch.randn(4, D))
    assert value.device.type == "cuda"
