"""Augmentation of batches, on the device.

Chance comes in as `draws`, random numbers in 0..1, a row for each voice or face: so it does not depend on the
device, nor on how many processes share the batch. Without them it is drawn from PyTorch's global generator.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

SHIFT_DRAWS = 1
FACE_DRAWS = 6


def mask_draws(masks: int) -> int:
    """How many random numbers `spec_augment` needs for each voice."""
    return 4 * masks


def spec_augment(
    decibel: Tensor, masks: int, time_mask: float, freq_mask: float, draws: Tensor | None = None
) -> Tensor:
    """SpecAugment (Park et al. 2019): mask bands of time and of frequency with each voice's mean.

    Args:
        decibel: (n, 1, mels, frames), or (n, channels, height, width) that a network made of them; of those every
            channel is masked alike, with its own mean, and padding is not known from sound.
        masks: how many of each kind.
        time_mask: widest time mask as a share of the frames.
        freq_mask: widest frequency mask as a share of the mel bands.
        draws: (n, 4 * masks).
    """
    fill = decibel.mean(dim=(2, 3), keepdim=True)
    n, _, mels, frames = decibel.shape
    hidden = torch.zeros(n, 1, mels, frames, dtype=torch.bool, device=decibel.device)
    for chance in torch.split(_given(draws, decibel, mask_draws(masks)), 4, dim=1) if masks else ():
        hidden |= _bands(chance[:, :2], frames, time_mask)[:, None, None, :]
        hidden |= _bands(chance[:, 2:], mels, freq_mask)[:, None, :, None]
    if decibel.shape[1] == 1:
        # Frames of nothing but the floor are padding and stay so: a mask would turn them into sound.
        floor = decibel.amin(dim=(2, 3), keepdim=True)
        hidden &= decibel.amax(dim=2, keepdim=True) > floor
    return torch.where(hidden, fill, decibel)


def _bands(chance: Tensor, length: int, widest: float) -> Tensor:
    """n random intervals in 0..length as booleans, (n, length); `chance`, (n, 2), makes their width and start."""
    width = chance[:, :1] * widest * length
    start = chance[:, 1:] * (length - width)
    position = torch.arange(length, device=chance.device)
    return (position >= start) & (position < start + width)


def time_shift(decibel: Tensor, most: float = 0.1, draws: Tensor | None = None) -> Tensor:
    """Shift each voice in its window by up to `most` of the frames; what leaves enters at the other end.

    Args:
        decibel: (n, 1, mels, frames), or (n, channels, height, width) that a network made of them.
        most: as a share of the frames, rounded to whole ones.
        draws: (n, 1).
    """
    n, channels, mels, frames = decibel.shape
    shift = (_symmetric(_given(draws, decibel, SHIFT_DRAWS)) * most * frames).round().long()
    index = (torch.arange(frames, device=decibel.device) - shift) % frames
    return decibel.gather(3, index[:, None, None, :].expand(n, channels, mels, frames))


def warp_faces(
    images: Tensor, zoom: float = 0.12, turn: float = 0.17, move: float = 0.08, draws: Tensor | None = None
) -> Tensor:
    """Mirror, turn (radians), zoom and move each face a little, and change its light.

    Args:
        images: (m, 3, size, size) in 0..1.
        draws: (m, 6).
    """
    chance = _given(draws, images, FACE_DRAWS)
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


def _given(draws: Tensor | None, rows: Tensor, count: int) -> Tensor:
    """`draws`, or where there are none as many of the global generator, (n, count)."""
    return torch.rand(len(rows), count, device=rows.device) if draws is None else draws


def _symmetric(chance: Tensor) -> Tensor:
    """0..1 to -1..1."""
    return chance * 2 - 1
