"""Augmentation of batches, on the device, drawn from PyTorch's global generator."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from fdan_edge.frontend import TOP_DB


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
    return torch.where(hidden, fill, decibel)


def _bands(n: int, length: int, widest: float, device: torch.device) -> Tensor:
    """n random intervals in 0..length as booleans, shape (n, length)."""
    width = torch.rand(n, 1, device=device) * widest * length
    start = torch.rand(n, 1, device=device) * (length - width)
    position = torch.arange(length, device=device)
    return (position >= start) & (position < start + width)


def warp_voices(decibel: Tensor, stretch: float, move: float = 0.1) -> Tensor:
    """Stretch each spectrogram a little in time and in frequency, and move it in its window.

    In time this changes the rate of speech; along the mel axis, which is nearly logarithmic, it changes
    pitch and formants together, as another speaker's size would (vocal tract length perturbation,
    Jaitly & Hinton 2013).

    Args:
        decibel: (n, 1, mels, frames), -80..0.
        stretch: largest change of length in time; a third of it is the largest change in frequency.
        move: largest shift in time as a share of the window.
    """
    n, device = len(decibel), decibel.device
    time = 1 + _symmetric(n, device) * stretch
    frequency = 1 + _symmetric(n, device) * stretch / 3
    zero = torch.zeros(n, device=device)
    along_time = torch.stack([time, zero, _symmetric(n, device) * 2 * move], dim=1)
    # The lowest band stays where it is: a stretch of the axis, not of its middle.
    along_frequency = torch.stack([zero, frequency, frequency - 1], dim=1)
    theta = torch.stack([along_time, along_frequency], dim=1)
    grid = functional.affine_grid(theta, list(decibel.shape), align_corners=False)
    return functional.grid_sample(decibel + TOP_DB, grid, align_corners=False) - TOP_DB  # outside: -80 dB


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
