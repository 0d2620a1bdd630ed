"""LMMD against a transcription of the paper's equations in plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fdan_edge.errors import ConfigError
from fdan_edge.models.ops.lmmd import lmmd, lmmd_reference

CLASSES = 7
Lmmd = Callable[..., Tensor]


def rows(n: int, d: int, seed: int, *, shift: float = 0.0) -> Tensor:
    chance = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, dtype=torch.float64, generator=chance) + shift


def labels(n: int, seed: int, classes: int = CLASSES) -> Tensor:
    return torch.randint(classes, (n,), generator=torch.Generator().manual_seed(seed))


def published_kernel(z: Tensor, bandwidth: float | None = None) -> Tensor:
    """DSAN's Gaussian kernel: N x N x d differences, 5 exponentials, mean off-diagonal distance / 2^2."""
    n = len(z)
    distance = ((z[None] - z[:, None]) ** 2).sum(2)
    if bandwidth is None:
        bandwidth = float(distance.detach().sum()) / (n * n - n) / 2**2
    terms = [torch.exp(-distance / (bandwidth * 2**i)) for i in range(5)]
    return torch.stack(terms).sum(0)


def transcribed(
    z_v: Tensor, z_a: Tensor, y_v: Tensor, y_a: Tensor, count: str = "all", bandwidth: float | None = None
) -> Tensor:
    """Eqs. 7 and 8, one class and one pair after another."""
    k = published_kernel(torch.cat([z_v, z_a]), bandwidth)
    n_v, total, shared = len(z_v), torch.zeros((), dtype=torch.float64), 0
    for c in range(CLASSES):
        faces = [m for m in range(n_v) if y_v[m] == c]
        voices = [n for n in range(len(z_a)) if y_a[n] == c]
        if not faces or not voices:
            continue
        shared += 1
        w_v, w_a = 1 / len(faces), 1 / len(voices)
        for m in faces:
            for n in faces:
                total = total + w_v * w_v * k[m, n]
            for n in voices:
                total = total - 2 * w_v * w_a * k[m, n_v + n]
        for m in voices:
            for n in voices:
                total = total + w_a * w_a * k[n_v + m, n_v + n]
    return total / (CLASSES if count == "all" else max(shared, 1))


@pytest.mark.parametrize("count", ["all", "shared"])
@pytest.mark.parametrize(
    ("n_v", "n_a", "classes_v", "classes_a"),
    [(12, 12, 7, 7), (9, 14, 7, 7), (14, 5, 2, 7), (6, 11, 7, 1), (1, 1, 1, 1), (1, 8, 1, 7), (8, 1, 7, 1)],
)
def test_is_equation_8(n_v: int, n_a: int, classes_v: int, classes_a: int, count: str) -> None:
    z_v, z_a = rows(n_v, 6, 1, shift=0.5), rows(n_a, 6, 2)
    y_v, y_a = labels(n_v, 3, classes_v), labels(n_a, 4, classes_a)
    made = lmmd(z_v, z_a, y_v, y_a, CLASSES, class_count=count)
    assert made.dtype == torch.float64
    torch.testing.assert_close(made, transcribed(z_v, z_a, y_v, y_a, count), rtol=1e-10, atol=1e-12)


def test_shared_divides_by_the_classes_on_both_sides() -> None:
    z_v, z_a = rows(6, 4, 0), rows(6, 4, 1)
    y_v, y_a = torch.tensor([0, 0, 1, 1, 2, 3]), torch.tensor([0, 1, 1, 4, 5, 6])
    by_all = lmmd(z_v, z_a, y_v, y_a, CLASSES)
    by_shared = lmmd(z_v, z_a, y_v, y_a, CLASSES, class_count="shared")
    torch.testing.assert_close(by_shared, by_all * CLASSES / 2)


@pytest.mark.parametrize("count", ["all", "shared"])
def test_no_shared_class_is_zero_with_zero_gradient(count: str) -> None:
    z_v, z_a = rows(4, 3, 0).requires_grad_(), rows(5, 3, 1).requires_grad_()
    loss = lmmd(z_v, z_a, torch.zeros(4, dtype=torch.long), torch.ones(5, dtype=torch.long), 2, class_count=count)
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0.0
    assert z_v.grad is not None
    assert z_a.grad is not None
    assert not z_v.grad.any()
    assert not z_a.grad.any()


@pytest.mark.parametrize("value", [0.0, 1.0, -3.7e4, 1e-20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_features_are_zero_without_nan(value: float, dtype: torch.dtype) -> None:
    z_v = torch.full((5, 8), value, dtype=dtype, requires_grad=True)
    z_a = torch.full((7, 8), value, dtype=dtype, requires_grad=True)
    loss = lmmd(z_v, z_a, labels(5, 0, 3), labels(7, 1, 3), 3)
    loss.backward()  # type: ignore[no-untyped-call]
    assert z_v.grad is not None
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    assert float(z_v.grad.abs().max()) == pytest.approx(0, abs=1e-6)


def test_the_same_features_on_both_sides_are_zero() -> None:
    z, y = rows(10, 5, 0), labels(10, 1)
    assert float(lmmd(z, z, y, y, CLASSES)) == pytest.approx(0, abs=1e-12)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    assert float(lmmd(z, z[order], y, y[order], CLASSES)) == pytest.approx(0, abs=1e-12)


def test_sides_can_be_swapped_and_rows_reordered() -> None:
    z_v, z_a, y_v, y_a = rows(8, 5, 0, shift=1), rows(11, 5, 1), labels(8, 2), labels(11, 3)
    made = lmmd(z_v, z_a, y_v, y_a, CLASSES)
    torch.testing.assert_close(lmmd(z_a, z_v, y_a, y_v, CLASSES), made)
    order = torch.randperm(11, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(lmmd(z_v, z_a[order], y_v, y_a[order], CLASSES), made)


def test_farther_classes_are_a_larger_loss() -> None:
    z_v, z_a, y = rows(40, 4, 0), rows(40, 4, 1), labels(40, 2, 3)
    near, far = (float(lmmd(z_v, z_a + shift, y, y, 3)) for shift in (0.0, 2.0))
    assert 0 < near < 0.5 * far


def test_gradient_is_that_of_equation_8_with_the_bandwidth_held() -> None:
    z_v, z_a = rows(6, 4, 0, shift=0.3).requires_grad_(), rows(9, 4, 1).requires_grad_()
    y_v, y_a = labels(6, 2, 3), labels(9, 3, 3)
    z = torch.cat([z_v, z_a]).detach()
    bandwidth = float(torch.pdist(z).square().mean()) / 4
    made = torch.autograd.grad(lmmd(z_v, z_a, y_v, y_a, CLASSES), (z_v, z_a))
    expected = torch.autograd.grad(transcribed(z_v, z_a, y_v, y_a, bandwidth=bandwidth), (z_v, z_a))
    torch.testing.assert_close(made, expected, rtol=1e-9, atol=1e-12)


def test_gradient_against_finite_differences() -> None:
    """Central differences of eq. 8 with the bandwidth held, an independent derivation."""
    z_v, z_a, y_v, y_a = rows(3, 2, 0), rows(4, 2, 1), labels(3, 2, 2), labels(4, 3, 2)
    bandwidth = float(torch.pdist(torch.cat([z_v, z_a])).square().mean()) / 4
    leaf = z_v.clone().requires_grad_()
    (made,) = torch.autograd.grad(lmmd(leaf, z_a, y_v, y_a, CLASSES), leaf)
    for i in range(3):
        for j in range(2):
            step = torch.zeros_like(z_v)
            step[i, j] = 1e-5
            up, down = (float(transcribed(z_v + s, z_a, y_v, y_a, bandwidth=bandwidth)) for s in (step, -step))
            assert float(made[i, j]) == pytest.approx((up - down) / 2e-5, abs=1e-8)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_features_are_summed_in_float32(dtype: torch.dtype) -> None:
    z_v, z_a = rows(16, 32, 0, shift=20).to(dtype), rows(20, 32, 1, shift=20).to(dtype)
    y_v, y_a = labels(16, 2), labels(20, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = lmmd(z_v.requires_grad_(), z_a, y_v, y_a, CLASSES)
    made.backward()  # type: ignore[no-untyped-call]
    assert made.dtype == torch.float32
    assert z_v.grad is not None
    assert z_v.grad.dtype == dtype
    expected = transcribed(z_v.detach().double(), z_a.double(), y_v, y_a)
    torch.testing.assert_close(made.detach().double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shift", [0.0, 1e3])
@pytest.mark.parametrize("scale", [1e-15, 1e-6, 1.0, 1e6, 1e15])
def test_any_scale_gives_the_same_loss(scale: float, shift: float) -> None:
    """The bandwidth follows the distances, so the loss does not depend on the unit."""
    z_v, z_a = rows(10, 6, 0, shift=0.5).float(), rows(10, 6, 1).float()
    y_v, y_a = labels(10, 2, 3), labels(10, 3, 3)
    expected = float(transcribed(z_v.double(), z_a.double(), y_v, y_a)) * CLASSES / 3
    z_v, z_a = (((z + shift) * scale).requires_grad_() for z in (z_v, z_a))
    made = lmmd(z_v, z_a, y_v, y_a, 3)
    made.backward()  # type: ignore[no-untyped-call]
    assert float(made.detach()) == pytest.approx(expected, rel=1e-5 if not shift else 1e-3)
    assert z_v.grad is not None
    assert bool(z_v.grad.isfinite().all())


@pytest.mark.parametrize("scale", [1e-30, 1e18])
def test_absurd_scales_do_not_give_nan(scale: float) -> None:
    z_v, z_a = (rows(5, 3, 0).float() * scale).requires_grad_(), rows(6, 3, 1).float() * scale
    made = lmmd(z_v, z_a, labels(5, 2, 2), labels(6, 3, 2), 2)
    made.backward()  # type: ignore[no-untyped-call]
    assert z_v.grad is not None
    assert math.isfinite(float(made.detach()))
    assert bool(z_v.grad.isfinite().all())


def strided(t: Tensor) -> Tensor:
    """The same numbers, every second one in memory along each dimension."""
    wide = t.new_full([2 * n for n in t.shape], 7)
    view = wide[tuple(slice(None, None, 2) for _ in t.shape)]
    return view.copy_(t)


def transposed(t: Tensor) -> Tensor:
    return t.t().contiguous().t()


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize("layout", [strided, transposed])
def test_any_memory_layout(layout: Callable[[Tensor], Tensor], soft: bool) -> None:
    z, y = [rows(9, 13, 0).float(), rows(7, 13, 1).float()], [labels(9, 2), labels(7, 3)]
    if soft:
        y = [functional.one_hot(side, CLASSES).float() * 0.9 for side in y]
    z_other, y_other = [layout(side) for side in z], [layout(side) for side in y]
    assert not any(side.is_contiguous() for side in z_other)
    results = []
    for z_v, z_a, y_v, y_a in ((*z, *y), (*z_other, *y_other)):
        value = lmmd(z_v.requires_grad_(), z_a.requires_grad_(), y_v, y_a, CLASSES)
        results.append((value, *torch.autograd.grad(value, (z_v, z_a))))
    for made, expected in zip(*results, strict=True):
        assert torch.equal(made, expected)


def test_one_row_in_memory_stands_for_many() -> None:
    one, z_a, y = rows(1, 6, 0).requires_grad_(), rows(4, 6, 1), labels(4, 2, 2)
    made = lmmd(one.expand(4, 6), z_a, y[:1].expand(4), y, 2)
    expected = lmmd(one.repeat(4, 1), z_a, y[:1].repeat(4), y, 2)
    assert torch.equal(made, expected)
    gradients = [torch.autograd.grad(value, one)[0] for value in (made, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int16, torch.int32])
def test_labels_of_any_integer_type(dtype: torch.dtype) -> None:
    z_v, z_a, y_v, y_a = rows(6, 3, 0), rows(8, 3, 1), labels(6, 2), labels(8, 3)
    assert torch.equal(lmmd(z_v, z_a, y_v.to(dtype), y_a, CLASSES), lmmd(z_v, z_a, y_v, y_a, CLASSES))


@pytest.mark.parametrize(
    ("visual", "acoustic", "promoted"),
    [
        (torch.bfloat16, torch.float32, torch.float32),
        (torch.float32, torch.float16, torch.float32),
        (torch.bfloat16, torch.float16, torch.float32),
        (torch.float64, torch.float32, torch.float64),
    ],
)
def test_sides_of_two_types_are_promoted(
    visual: torch.dtype, acoustic: torch.dtype, promoted: torch.dtype
) -> None:
    z_v, z_a = rows(6, 8, 0).to(visual).requires_grad_(), rows(9, 8, 1).to(acoustic).requires_grad_()
    y_v, y_a = labels(6, 2, 3), labels(9, 3, 3)
    made = lmmd(z_v, z_a, y_v, y_a, 3)
    assert torch.equal(made, lmmd(z_v.to(promoted), z_a.to(promoted), y_v, y_a, 3))
    assert [gradient.dtype for gradient in torch.autograd.grad(made, (z_v, z_a))] == [visual, acoustic]


def test_soft_labels_on_one_side_only() -> None:
    z_v, z_a, y_v, y_a = rows(6, 3, 0), rows(8, 3, 1), labels(6, 2, 3), labels(8, 3, 3)
    hot_v, hot_a = functional.one_hot(y_v, 3), functional.one_hot(y_a, 3)
    torch.testing.assert_close(lmmd(z_v, z_a, hot_v, hot_a, 3), lmmd(z_v, z_a, y_v, y_a, 3))
    soft_v, soft_a = 0.25 * hot_v + 0.25, 0.5 * hot_a + 0.25
    assert torch.equal(lmmd(z_v, z_a, soft_v, y_a, 3), lmmd(z_v, z_a, soft_v, hot_a, 3))
    assert torch.equal(lmmd(z_v, z_a, y_v, soft_a, 3), lmmd(z_v, z_a, hot_v, soft_a, 3))


def test_soft_labels_are_relative_weights_and_not_differentiated() -> None:
    z_v, z_a = rows(6, 3, 0).requires_grad_(), rows(8, 3, 1)
    y_v, y_a = rows(6, 4, 2).softmax(1).requires_grad_(), rows(8, 4, 3).softmax(1)
    made = lmmd(z_v, z_a, y_v, y_a, 4)
    torch.testing.assert_close(lmmd(z_v, z_a, 3 * y_v, 0.5 * y_a, 4), made)
    assert torch.autograd.grad(made, (z_v, y_v), allow_unused=True)[1] is None


@pytest.mark.parametrize("function", [lmmd, lmmd_reference])
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
def test_features_that_are_not_finite_give_nan(function: Lmmd, wrong: float, soft: bool) -> None:
    z_v, z_a, y = rows(4, 3, 0), rows(4, 3, 1), torch.tensor([0, 1, 2, 3])
    z_v[1, 2] = wrong
    assert function(z_v, z_a, functional.one_hot(y, 8) if soft else y, y, 8).isnan()
    assert function(z_a, z_v, y + 4, y, 8).isnan(), "no class is shared"


@pytest.mark.parametrize("function", [lmmd, lmmd_reference])
@pytest.mark.parametrize(("n_v", "n_a"), [(0, 3), (3, 0), (0, 0)])
def test_an_empty_side_is_an_error(function: Lmmd, n_v: int, n_a: int) -> None:
    with pytest.raises(ValueError, match=f"{n_v} faces and {n_a} voices"):
        function(rows(n_v, 2, 0), rows(n_a, 2, 0), labels(n_v, 0), labels(n_a, 0), CLASSES)


SOFT = torch.full((4, CLASSES), 0.1)
#: What is wrong, changed arguments (4 rows of 3 features and 7 classes elsewise), and what the error says.
MISTAKES: list[tuple[str, dict[str, Any], str]] = [
    (
        "a label too large",
        {"y_visual": torch.tensor([0, 7, 1, 2])},
        "label 7 of the faces is out.*0 to 6",
    ),
    ("negative label", {"y_visual": torch.tensor([0, 1, 2, -1])}, "label -1 of the faces is out of range"),
    ("voices' label", {"y_acoustic": torch.tensor([0, 1, 2, 99])}, "label 99 of the voices is out of range"),
    ("voices' negative", {"y_acoustic": torch.tensor([0, -3, 2, 1])}, "label -3 of the voices is out of range"),
    ("beside soft", {"y_visual": SOFT, "y_acoustic": torch.tensor([0, 7, 2, 1])}, "label 7 of the voices"),
    ("few labels", {"y_visual": labels(3, 0)}, "labels of the faces.* 4 rows"),
    ("many labels", {"y_acoustic": labels(5, 0)}, "labels of the voices.* 4 rows"),
    ("one label", {"y_acoustic": labels(1, 0)}, "labels of the voices.* 4 rows"),
    ("labels without a row", {"y_visual": torch.tensor(1)}, "labels"),
    ("labels of 3 dimensions", {"y_visual": SOFT[None], "y_acoustic": SOFT[None]}, "labels"),
    ("few soft rows", {"y_visual": SOFT[:3]}, "labels of the faces.* 4 rows"),
    ("soft columns", {"y_visual": SOFT[:, :6], "y_acoustic": SOFT[:, :6]}, "labels of the faces.* column"),
    ("soft columns of voices", {"y_acoustic": SOFT[:, :1]}, "labels of the voices.* column"),
    ("labels that are not whole", {"y_visual": torch.tensor([0.5, 1, 2, 0])}, "labels"),
    ("not whole beside soft", {"y_visual": torch.tensor([0.5, 1, 2, 0]), "y_acoustic": SOFT}, "whole numbers"),
    ("widths", {"z_acoustic": rows(4, 2, 0)}, "faces have 3 features, voices 2"),
    ("no features", {"z_visual": rows(4, 0, 0), "z_acoustic": rows(4, 0, 0)}, "features"),
    ("1-D features", {"z_visual": torch.ones(4), "z_acoustic": torch.ones(4)}, r"features.*\(rows, d\)"),
    ("1-D features on one side", {"z_visual": torch.ones(4)}, r"features.*\(rows, d\)"),
    ("3-D features", {"z_acoustic": rows(4, 3, 0)[None]}, r"features.*\(rows, d\)"),
    ("integer features", {"z_visual": labels(4, 0)[:, None], "z_acoustic": labels(4, 0)[:, None]}, "float16, "),
    ("complex features", {"z_visual": rows(4, 3, 0) * 1j}, "float16, "),
    ("no class", {"num_classes": 0}, "num_classes"),
    ("no kernels", {"kernels": 0}, "1 to 64 kernels.*0"),
    ("too many kernels", {"kernels": 65}, "1 to 64 kernels.*65"),
    ("ratio 0", {"ratio": 0.0}, "ratio above 0.*0.0"),
    ("negative ratio", {"ratio": -2.0}, "ratio above 0.*-2"),
    ("ratio nan", {"ratio": math.nan}, "ratio"),
    ("ratio inf", {"ratio": math.inf}, "ratio"),
    ("widths beyond float32", {"kernels": 64, "ratio": 3.0}, "ratio"),
    ("widths beyond float32, shrinking", {"kernels": 3, "ratio": 1e-20}, "ratio"),
]


@pytest.mark.parametrize("function", [lmmd, lmmd_reference])
@pytest.mark.parametrize(("changes", "text"), [mistake[1:] for mistake in MISTAKES], ids=[m[0] for m in MISTAKES])
def test_mistakes_are_one_line(function: Lmmd, changes: dict[str, Any], text: str) -> None:
    right = {
        "z_visual": rows(4, 3, 0),
        "z_acoustic": rows(4, 3, 1),
        "y_visual": labels(4, 2),
        "y_acoustic": labels(4, 3),
        "num_classes": CLASSES,
    }
    with pytest.raises(ValueError, match=rf"^lmmd[^\n]*{text}[^\n]*$"):
        function(**{**right, **changes})


def test_unknown_class_count() -> None:
    with pytest.raises(ConfigError, match=r"unknown class_count 'every'.*all, shared"):
        lmmd(rows(2, 2, 0), rows(2, 2, 0), labels(2, 0), labels(2, 0), CLASSES, class_count="every")


@pytest.mark.parametrize("kernels", [1, 3])
def test_other_kernel_counts(kernels: int) -> None:
    z_v, z_a, y = rows(5, 3, 0), rows(5, 3, 1), labels(5, 2, 2)
    z = torch.cat([z_v, z_a])
    distance = torch.cdist(z, z).square()
    bandwidth = distance.sum() / 90 / 2.0 ** (kernels // 2)
    kernel = sum(torch.exp(-distance / (bandwidth * 2.0**i)) for i in range(kernels))
    assert isinstance(kernel, Tensor)
    total = 0.0
    for c in range(2):
        u = torch.cat([(y == c) / (y == c).sum(), -((y == c) / (y == c).sum())]).double()
        total += float(u @ kernel @ u)
    assert float(lmmd(z_v, z_a, y, y, 2, kernels=kernels)) == pytest.approx(total / 2)


@pytest.mark.parametrize("function", [lmmd, lmmd_reference])
@pytest.mark.parametrize(("kernels", "ratio"), [(64, 2.0), (5, 1e3)])
def test_narrow_kernels_see_no_noise_on_the_diagonal(function: Lmmd, kernels: int, ratio: float) -> None:
    z_v, z_a, y_v, y_a = rows(20, 16, 0), rows(30, 16, 1), labels(20, 2, 3), labels(30, 3, 3)
    expected = lmmd_reference(z_v, z_a, y_v, y_a, 3, kernels=kernels, ratio=ratio)
    made = function(z_v.float(), z_a.float(), y_v, y_a, 3, kernels=kernels, ratio=ratio)
    torch.testing.assert_close(made.double(), expected, rtol=1e-5, atol=0)
