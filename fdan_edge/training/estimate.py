"""How long it takes to encode recordings, before it begins."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence

import torch

from fdan_edge.config import Config
from fdan_edge.data.corpora import Item
from fdan_edge.models.backbones.build import scaled
from fdan_edge.models.backbones.staged import StagedBackbone
from fdan_edge.models.fdan import build_frontend

_USUAL_SECONDS = 3.0  # of a recording whose header cannot be read: a video


def encoding_seconds(items: Sequence[Item], config: Config, encoder: StagedBackbone) -> float:
    """Estimate the seconds that all windows of recordings take, by the time of one; those that are kept take none.

    Args:
        items: recordings.
        config: the settings.
        encoder: frozen stages.
    """
    frontend, silence = build_frontend(config), torch.zeros(1, config.window)
    with torch.inference_mode():
        encoder.encode(scaled(frontend(silence)))  # the first one also sets up what others find ready
        begun = time.perf_counter()
        encoder.encode(scaled(frontend(silence)))
    return (time.perf_counter() - begun) * sum(_windows(item, config) for item in items)


def _windows(item: Item, config: Config) -> int:
    """Count the windows of a recording by its header."""
    import soundfile

    try:
        info = soundfile.info(os.fsencode(item.path))
        seconds = float(info.frames / info.samplerate)
    except (soundfile.SoundFileError, RuntimeError, TypeError, OSError, ZeroDivisionError):
        seconds = _USUAL_SECONDS
    return 1 + max(0, math.ceil((seconds - config.window_seconds) / config.window_hop_seconds))
