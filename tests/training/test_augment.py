"""Augmentation: what may change, and what must not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fdan_edge.config import Config
from fdan_edge.training import augment as module
from fdan_edge.training.augment import (
    AUGMENTATIONS,
    Augmentation,
    augment,
    draws_per_row,
    spec_augment,
    time_shift,
    warp_faces,
)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def voices(n: int = 6, mels: int = 32, frames: int = 50) -> Tensor:
    return -80 * torch.rand(n, 1, mels, frames)


def faces(n: int = 40, size: int = 24) -> Tensor:
    return torch.rand(n, 3, size, size)


def test_masks_only_hide() -> None:
    decibel = voices()
    result = spec_augment(decibel, 2, 0.2, 0.2)
    changed = result != decibel
    fill = decibel.mean(dim=(2, 3), keepdim=True).expand_as(result)
    assert result.shape == decibel.shape
    assert torch.equal(result[changed], fill[changed])
    assert 0.05 < float(changed.float().mean()) < 0.7


def test_masks_are_whole_bands_of_limited_width() -> None:
    decibel = voices(n=200)
    in_time = spec_augment(decibel, 1, 0.2, 0.0) != decibel
    assert torch.equal(in_time.any(2), in_time.all(2))  # a hidden frame is hidden in all bands
    widths = in_time.all(2).sum(-1)
    assert int(widths.max()) in (10, 11)  # a fifth of 50 frames, and a part of one more
    assert int(widths.min()) <= 1
    in_frequency = spec_augment(decibel, 1, 0.0, 0.25) != decibel
    assert torch.equal(in_frequency.any(3), in_frequency.all(3))
    assert int(in_frequency.all(3).sum(-1).max()) in (8, 9)


def test_voices_of_a_batch_are_masked_differently() -> None:
    hidden = spec_augment(voices(), 2, 0.2, 0.2).diff(dim=0)
    assert bool(hidden.flatten(1).any(1).all())


@pytest.mark.parametrize("settings", [(0, 0.5, 0.5), (3, 0.0, 0.0)])
def test_no_masks(settings: tuple[int, float, float]) -> None:
    decibel = voices()
    assert torch.equal(spec_augment(decibel, *settings), decibel)


def test_masks_of_full_width_stay_in_the_picture() -> None:
    result = spec_augment(voices(), 20, 1.0, 1.0)
    assert bool(result.isfinite().all())


def test_shifted_voices_are_whole() -> None:
    decibel = torch.arange(50.0).expand(300, 1, 3, 50)
    result = time_shift(decibel, most=0.1)
    first = result[:, 0, 0, 0].long()
    offset = (first + 25) % 50 - 25
    assert (int(offset.min()), int(offset.max())) == (-5, 5)  # a tenth of 50 frames, both ways
    expected = (torch.arange(50) + first[:, None]) % 50  # what leaves enters at the other end
    assert torch.equal(result.long(), expected[:, None, None].expand(300, 1, 3, 50))


def test_maps_of_many_channels_are_shifted_and_masked_as_one_picture() -> None:
    maps = torch.randn(4, 6, 8, 24, generator=torch.Generator().manual_seed(0)).relu()
    maps[:, :, :, 12:] = 0  # as behind a ReLU, where nothing is heard
    torch.manual_seed(0)
    shifted = time_shift(maps)
    torch.manual_seed(0)
    assert torch.equal(shifted[:, 2:3], time_shift(maps[:, 2:3]))
    assert not torch.equal(shifted, maps)
    masked = spec_augment(maps, 2, 0.3, 0.3)
    hidden = masked == maps.mean(dim=(2, 3), keepdim=True)
    assert hidden.any()
    assert torch.equal(hidden, hidden[:, :1].expand_as(hidden))
    assert torch.equal(masked[~hidden], maps[~hidden])


def test_no_shift() -> None:
    decibel = voices()
    assert torch.equal(time_shift(decibel, most=0.0), decibel)


def test_faces_stay_images() -> None:
    result = warp_faces(faces())
    assert result.shape == (40, 3, 24, 24)
    assert float(result.min()) >= 0
    assert float(result.max()) <= 1


def test_about_half_of_the_faces_are_mirrored() -> None:
    images = torch.zeros(400, 3, 24, 24)
    images[:, :, :, :8] = 1  # light from the left
    result = warp_faces(images, zoom=0.0, turn=0.0, move=0.0)
    left = result[:, 0, :, :8].mean((1, 2)) > 0.9
    right = result[:, 0, :, 16:].mean((1, 2)) > 0.9
    assert torch.equal(left, ~right)
    assert 150 < int(left.sum()) < 250


def test_a_face_keeps_its_upside() -> None:
    images = torch.zeros(100, 3, 24, 24)
    images[:, :, :8] = 1
    result = warp_faces(images)
    assert bool((result[:, 0, :4].mean((1, 2)) > result[:, 0, 12:].mean((1, 2)) + 0.5).all())


def test_the_seed_decides() -> None:
    decibel, images = voices(), faces()

    def augmented() -> list[Tensor]:
        torch.manual_seed(3)
        return [spec_augment(decibel, 2, 0.2, 0.2), time_shift(decibel), warp_faces(images)]

    assert all(torch.equal(a, b) for a, b in zip(augmented(), augmented(), strict=True))


def test_each_entry_gets_the_random_numbers_that_it_asks_for() -> None:
    decibel, images, settings = voices(), faces(), Config(masks=3)
    assert [draws_per_row(modality, settings) for modality in ("voice", "face")] == [1 + 4 * 3, 6]
    draws = torch.rand(6, 13)
    shifted = time_shift(decibel, draws=draws[:, :1])
    expected = spec_augment(shifted, 3, settings.time_mask, settings.freq_mask, draws[:, 1:])
    assert torch.equal(augment(decibel, draws, "voice", settings), expected)
    draws = torch.rand(40, 6)
    assert torch.equal(augment(images, draws, "face", settings), warp_faces(images, draws=draws))


def test_names_are_unique() -> None:
    assert len({entry.name for entry in AUGMENTATIONS}) == len(AUGMENTATIONS)


@pytest.mark.parametrize("on", [False, True])
def test_a_further_entry_is_applied_where_it_is_on(monkeypatch: pytest.MonkeyPatch, on: bool) -> None:
    louder = Augmentation(
        "louder", "voice", draws=lambda _: int(on), apply=lambda rows, draws, _: rows + draws[:, :, None, None]
    )
    decibel, settings = voices(), Config()
    before, count = augment(decibel, torch.full((6, 9), 0.5), "voice", settings), draws_per_row("voice", settings)
    monkeypatch.setattr(module, "AUGMENTATIONS", (*AUGMENTATIONS, louder))
    assert draws_per_row("voice", settings) == count + on
    after = augment(decibel, torch.full((6, count + on), 0.5), "voice", settings)
    assert torch.equal(after, before + 0.5 if on else before)
