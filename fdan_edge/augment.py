"""Augmentation of batches, on the device, drawn from PyTorch's global generator."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def spec_augment(decibel: Tensor, masks: int, time_mask: float, freq_mask: float) -> Tensor:
    """SpecAugment (Park et al. 2019): mask bands of time and of frequency with each voice's mean.

    Args:
        decibel: (n, 1, mels, frames).
        masks: how many of each kind.
        time_mask: widest time mask as a share of the frames.
        freq_mask: widest frequency mask as a share of the mel bands.
    """
    fill = decibel.mean(dim=(2, 3), keepdim=True)
    n, _, mels, frames = decibel.shape
    hidden = torch.zeros(n, 1, mels, frames, dtype=torch.bool, device=decibel.device)
    for _ in range(masks):
        hidden |= _bands(n, frames, time_mask, decibel.device)[:, None, None, :]
        hidden |= _bands(n, mels, freq_mask, decibel.device)[:, None, :, None]
    # Frames of nothing but the floor are padding and stay so: a mask would turn them into sound.
    floor = decibel.amin(dim=(2, 3), keepdim=True)
    return torch.where(hidden & (decibel.amax(dim=2, keepdim=True) > floor), fill, decibel)


def _bands(n: int, length: int, widest: float, device: torch.device) -> Tensor:
    """n random intervals in 0..length as booleans, shape (n, length)."""
    width = torch.rand(n, 1, device=device) * widest * length
    start = torch.rand(n, 1, device=device) * (length - width)
    position = torch.arange(length, device=device)
    return (position >= start) & (position < start + width)


def time_shift(decibel: Tensor, most: float = 0.1) -> Tensor:
    """Shift each voice in its window by up to `most` of the frames; what leaves enters at the other end."""
    n, _, mels, frames = decibel.shape
    shift = (_symmetric(n, decibel.device) * most * frames).long()[:, None]
    index = (torch.arange(frames, device=decibel.device) - shift) % frames
    return decibel.gather(3, index[:, None, None, :].expand(n, 1, mels, frames))


def warp_faces(images: Tensor, zoom: float = 0.12, turn: float = 0.17, move: float = 0.08) -> Tensor:
    """Mirror, turn (radians), zoom and move each face a little, and change its light.

    Args:
        images: (m, 3, size, size) in 0..1.
    """
    m, device = len(images), images.device
    angle = _symmetric(m, device) * turn
    scale = 1 + _symmetric(m, device) * zoom
    mirror = (torch.rand(m, device=device) < 0.5).float() * 2 - 1
    shift = (torch.rand(m, 2, device=device) * 2 - 1) * move
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = torch.stack([torch.stack([cos * mirror, -sin], 1), torch.stack([sin * mirror, cos], 1)], 1)
    grid = functional.affine_grid(torch.cat([rows, shift[:, :, None]], 2), list(images.shape), align_corners=False)
    warped = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    gamma = torch.exp(_symmetric(m, device) * math.log(1.4))[:, None, None, None]
    return warped.clamp(1e-4, 1) ** gamma


def _symmetric(n: int, device: torch.device) -> Tensor:
    """n random numbers in -1..1."""
    return torch.rand(n, device=device) * 2 - 1
