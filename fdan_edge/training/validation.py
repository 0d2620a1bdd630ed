"""Logits of whole parts of the data, and the scores of whole recordings."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fdan_edge.evaluation import metrics
from fdan_edge.features.extract import Voices
from fdan_edge.models.fdan import Fdan
from fdan_edge.training import distributed

_BATCH = 64


@torch.no_grad()
def compute_logits(model: Fdan, voices: Voices, device: torch.device, windows: Tensor | None = None) -> Tensor:
    """Compute logits of some voices' windows, (windows, C), on the CPU.

    Args:
        model: put into evaluation mode.
        voices: of which the first variant is taken.
        device: where the model computes.
        windows: indices of those that are wanted; None: all.
    """
    model.to(device).eval()
    chosen = torch.arange(len(voices.labels)) if windows is None else windows
    logits = [model.acoustic_logits(voices.read(0, index, device)).cpu() for index in torch.split(chosen, _BATCH)]
    return torch.cat(logits)


def average_by_recording(windows: Tensor, owner: Tensor) -> Tensor:
    """Average over the windows of each recording: (windows, C) and whose they are, (windows,), to (n, C)."""
    count = int(owner.max()) + 1
    sums = torch.zeros(count, windows.shape[1]).index_add_(0, owner, windows)
    return sums / owner.bincount(minlength=count)[:, None]


def validate(
    model: Fdan, voices: Voices, classes: list[str], device: torch.device
) -> tuple[float, metrics.Scores]:
    """Compute loss and scores of whole recordings: probabilities are averaged over their windows.

    Several processes each compute their part of the recordings; all get the same result.
    """
    mean = average_by_recording(_shared_logits(model, voices, len(classes), device).softmax(1), voices.owner)
    labels = torch.zeros(len(mean), dtype=torch.long).scatter_(0, voices.owner, voices.labels)
    loss = functional.nll_loss(mean.clamp_min(1e-9).log(), labels)
    return float(loss), metrics.score(labels.tolist(), mean.argmax(1).tolist(), classes)


def _shared_logits(model: Fdan, voices: Voices, classes: int, device: torch.device) -> Tensor:
    """Logits of all windows; each process computes those of its part of the recordings."""
    own = (voices.owner % distributed.world_size() == distributed.rank()).nonzero().flatten()
    logits = torch.zeros(len(voices.labels), classes, device=device)
    if len(own):  # more processes than recordings leave some without any
        logits[own.to(device)] = compute_logits(model, voices, device, own).to(device)
    return distributed.all_reduce(logits).cpu()
