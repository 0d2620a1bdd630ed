"""Augmentation of batches, on the device: `AUGMENTATIONS` has one entry for each way.

Chance comes in as `draws`, random numbers in 0..1, a row for each voice or face. The loader draws them on the CPU
for the rows of all processes. So an augmentation depends neither on the device nor on how many processes share the
batch. An entry says how many numbers it needs of each row; that is all that has to be said.

Other speeds are not among them: `features.extract` resamples each recording once and keeps it in the cache.
`draw_variants` picks one of those copies for each crop of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from fdan_edge.config import Config

Modality: TypeAlias = Literal["voice", "face"]


@dataclass(frozen=True)
class Augmentation:
    """One random change of the samples of a batch.

    Args:
        name: unlike that of any other.
        modality: "voice": log-mels in dB, (n, 1, mels, frames), or maps that frozen stages made of them,
            (n, channels, height, width); "face": images in 0..1, (m, 3, size, size).
        draws: (config) -> how many random numbers each row needs; 0: the augmentation is off.
        apply: (samples, draws, config) -> changed samples of the same shape; draws are (n, `draws(config)`).
    """

    name: str
    modality: Modality
    draws: Callable[[Config], int]
    apply: Callable[[Tensor, Tensor, Config], Tensor]


def spec_augment(
    decibel: Tensor, masks: int, time_mask: float, freq_mask: float, draws: Tensor | None = None
) -> Tensor:
    """Mask bands of time and of frequency with each voice's mean: SpecAugment (Park et al. 2019).

    Args:
        decibel: (n, 1, mels, frames), or (n, channels, height, width) that a network made of them; of those every
            channel is masked alike, with its own mean, and padding is not known from sound.
        masks: how many of each kind.
        time_mask: widest time mask as a share of the frames.
        freq_mask: widest frequency mask as a share of the mel bands.
        draws: (n, 4 * masks); None: drawn from PyTorch's global generator.
    """
    fill = decibel.mean(dim=(2, 3), keepdim=True)
    n, _, mels, frames = decibel.shape
    hidden = torch.zeros(n, 1, mels, frames, dtype=torch.bool, device=decibel.device)
    for chance in torch.split(_or_drawn(draws, decibel, 4 * masks), 4, dim=1) if masks else ():
        hidden |= _bands(chance[:, :2], frames, time_mask)[:, None, None, :]
        hidden |= _bands(chance[:, 2:], mels, freq_mask)[:, None, :, None]
    if decibel.shape[1] == 1:
        # Frames of nothing but the floor are padding and stay so: a mask would turn them into sound.
        floor = decibel.amin(dim=(2, 3), keepdim=True)
        hidden &= decibel.amax(dim=2, keepdim=True) > floor
    return torch.where(hidden, fill, decibel)


def _bands(chance: Tensor, length: int, widest: float) -> Tensor:
    """Make n random intervals in 0..length, booleans (n, length); `chance`, (n, 2), is their width and start."""
    width = chance[:, :1] * widest * length
    start = chance[:, 1:] * (length - width)
    position = torch.arange(length, device=chance.device)
    return (position >= start) & (position < start + width)


def time_shift(decibel: Tensor, most: float = 0.1, draws: Tensor | None = None) -> Tensor:
    """Shift each voice in its window by up to `most` of the frames; what leaves enters at the other end.

    Args:
        decibel: (n, 1, mels, frames), or (n, channels, height, width) that a network made of them.
        most: as a share of the frames, rounded to whole ones.
        draws: (n, 1); None: drawn from PyTorch's global generator.
    """
    n, channels, mels, frames = decibel.shape
    shift = (_symmetric(_or_drawn(draws, decibel, 1)) * most * frames).round().long()
    index = (torch.arange(frames, device=decibel.device) - shift) % frames
    return decibel.gather(3, index[:, None, None, :].expand(n, channels, mels, frames))


def warp_faces(
    images: Tensor, zoom: float = 0.12, turn: float = 0.17, move: float = 0.08, draws: Tensor | None = None
) -> Tensor:
    """Mirror, turn (radians), zoom and move each face a little, and change its light.

    Args:
        images: (m, 3, size, size) in 0..1.
        zoom: largest change of size, as a share of it.
        turn: largest angle.
        move: largest shift, where 1 is half of the image.
        draws: (m, 6); None: drawn from PyTorch's global generator.
    """
    chance = _or_drawn(draws, images, 6)
    turned, zoomed, light = _symmetric(chance[:, :3]).unbind(1)
    angle, scale = turned * turn, 1 + zoomed * zoom
    mirror = (chance[:, 3] < 0.5).float() * 2 - 1
    shift = _symmetric(chance[:, 4:]) * move
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = torch.stack([torch.stack([cos * mirror, -sin], 1), torch.stack([sin * mirror, cos], 1)], 1)
    grid = functional.affine_grid(torch.cat([rows, shift[:, :, None]], 2), list(images.shape), align_corners=False)
    warped = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    gamma = torch.exp(light * math.log(1.4))[:, None, None, None]
    return warped.clamp(1e-4, 1) ** gamma


#: Applied in this order. A row's random numbers lie in the same order, so a new entry goes to the end of its
#: modality: where it is off, trainings stay as they are, bit for bit.
AUGMENTATIONS: tuple[Augmentation, ...] = (
    Augmentation(
        "time_shift",
        "voice",
        draws=lambda _: 1,
        apply=lambda decibel, draws, _: time_shift(decibel, draws=draws),
    ),
    Augmentation(
        "spec_augment",
        "voice",
        draws=lambda config: 4 * config.masks,
        apply=lambda decibel, draws, config: spec_augment(
            decibel, config.masks, config.time_mask, config.freq_mask, draws
        ),
    ),
    Augmentation(
        "warp_faces",
        "face",
        draws=lambda _: 6,
        apply=lambda images, draws, _: warp_faces(images, draws=draws),
    ),
)


def draws_per_row(modality: Modality, config: Config) -> int:
    """Count the random numbers that all augmentations of a modality need for one voice or face."""
    return sum(entry.draws(config) for entry in AUGMENTATIONS if entry.modality == modality)


def augment(samples: Tensor, draws: Tensor, modality: Modality, config: Config) -> Tensor:
    """Apply every augmentation of a modality that is on.

    Args:
        samples: as `Augmentation` has them.
        draws: random numbers in 0..1, (n, `draws_per_row(modality, config)`).
        modality: of the samples.
        config: the settings.
    """
    used = 0
    for entry in AUGMENTATIONS:
        if entry.modality == modality and (count := entry.draws(config)):
            samples = entry.apply(samples, draws[:, used : used + count], config)
            used += count
    return samples


def draw_variants(variants: int, rows: int, generator: torch.Generator) -> Tensor:
    """Draw which of a recording's copies at other speeds each crop is taken from: indices, (rows,)."""
    return torch.randint(variants, (rows,), generator=generator)


def _or_drawn(draws: Tensor | None, rows: Tensor, count: int) -> Tensor:
    """`draws`, or where there are none as many of the global generator, (n, count)."""
    return torch.rand(len(rows), count, device=rows.device) if draws is None else draws


def _symmetric(chance: Tensor) -> Tensor:
    """0..1 to -1..1."""
    return chance * 2 - 1
