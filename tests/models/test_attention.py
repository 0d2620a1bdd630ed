"""Cross-attention against equations 2 to 4."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from fdan_edge.models.attention import CrossAttention, ModalityAttention

SIZE = 6


def layer() -> CrossAttention:
    torch.manual_seed(0)
    made = CrossAttention(SIZE).double().eval()
    for norm in (m for m in made.modules() if isinstance(m, nn.LayerNorm)):
        nn.init.normal_(norm.weight)  # a fresh norm's 1 and 0 would hide one that is not applied
        nn.init.normal_(norm.bias)
    return made


def features(n: int, seed: int) -> Tensor:
    return torch.randn(n, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def norm(module: nn.LayerNorm, row: Tensor) -> Tensor:
    centred = row - row.mean()
    return centred / torch.sqrt((centred**2).mean() + module.eps) * module.weight + module.bias


def transcribed(own: ModalityAttention, other: ModalityAttention, z: Tensor, z_other: Tensor) -> Tensor:
    """Eqs. 2-4 for one modality, sample after sample."""
    new = []
    for row in z:
        query = own.query.weight @ row
        scores = torch.stack([query @ (other.key.weight @ r) / math.sqrt(SIZE) for r in z_other])
        weights = scores.exp() / scores.exp().sum()
        delta = sum(w * (other.value.weight @ r) for w, r in zip(weights, z_other, strict=True))
        attended = norm(own.norm_attention, row + delta)
        new.append(norm(own.norm_ffn, attended + own.ffn(attended)))
    return torch.stack(new)


@pytest.mark.parametrize(("n_v", "n_a"), [(5, 5), (3, 7), (8, 1), (1, 4)])
def test_is_equations_2_to_4(n_v: int, n_a: int) -> None:
    made, z_v, z_a = layer(), features(n_v, 1), features(n_a, 2)
    new_v, new_a = made(z_v, z_a)
    torch.testing.assert_close(new_v, transcribed(made.visual, made.acoustic, z_v, z_a))
    torch.testing.assert_close(new_a, transcribed(made.acoustic, made.visual, z_a, z_v))


@pytest.mark.parametrize("changed", ["faces", "voices"])
def test_every_sample_is_changed_by_every_sample_of_the_other_batch(changed: str) -> None:
    """The authors' published code changes sample 0 only."""
    made, z_v, z_a = layer(), features(5, 1), features(4, 2)
    before = made(z_v, z_a)
    for m in range(len(z_v if changed == "faces" else z_a)):
        moved_v, moved_a = z_v.clone(), z_a.clone()
        (moved_v if changed == "faces" else moved_a)[m] += 1
        after = made(moved_v, moved_a)
        other = 1 if changed == "faces" else 0
        assert bool(((after[other] - before[other]).abs().amax(dim=1) > 1e-6).all())


def test_samples_of_one_batch_do_not_mix() -> None:
    made, z_v, z_a = layer(), features(5, 1), features(4, 2)
    moved = z_v.clone()
    moved[2] += 1
    changed = (made(moved, z_a)[0] != made(z_v, z_a)[0]).any(dim=1)
    assert changed.tolist() == [False, False, True, False, False]


def test_no_delta_is_the_update_alone() -> None:
    made, z = layer(), features(4, 1)
    own = made.acoustic
    attended = own.norm_attention(z)
    torch.testing.assert_close(own.update(z, None), own.norm_ffn(attended + own.ffn(attended)))
    torch.testing.assert_close(own.update(z, torch.zeros_like(z)), own.update(z, None))


def test_keep_chooses_the_voices_that_hear_the_faces() -> None:
    made, z_v, z_a = layer(), features(5, 1), features(3, 2)
    keep = torch.tensor([[1.0], [0.0], [1.0]], dtype=torch.float64)
    mixed_v, mixed_a = made(z_v, z_a, keep)
    full_v, full_a = made(z_v, z_a)
    torch.testing.assert_close(mixed_v, full_v)  # the faces hear all voices
    torch.testing.assert_close(mixed_a[[0, 2]], full_a[[0, 2]])
    torch.testing.assert_close(mixed_a[1], made.acoustic.update(z_a[1:2], None)[0])
