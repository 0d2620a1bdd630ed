"""Recordings of noise, and measured responses of rooms, from files and folders of the user's."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from fdan_edge.audio import decode
from fdan_edge.audio.conditions.noise import RATE
from fdan_edge.audio.listing import find
from fdan_edge.audio.windows import Waveform
from fdan_edge.errors import AudioError

log = logging.getLogger(__name__)

_LONGEST = 120.0  # s of a recording that are used, so that memory is bounded


def load_recordings(paths: Sequence[Path]) -> list[Waveform]:
    """Load all recordings of files and folders at 16 kHz; of long ones the first two minutes.

    Broken and silent ones are left out, with a line.

    Raises:
        AudioError: a path is not there, or names no usable recording.
    """
    waveforms: list[Waveform] = []
    for path in paths:
        usable = [waveform for file in find([path]).files if (waveform := _usable(file)) is not None]
        if not usable:
            raise AudioError(f"{path}: no usable recording in it")
        waveforms += usable
    return waveforms


def _usable(path: Path) -> Waveform | None:
    try:
        waveform = decode.load(path, RATE)[: round(_LONGEST * RATE)]
        decode.check_sound(len(waveform), float(abs(waveform).max(initial=0)), RATE)
    except AudioError as error:
        log.warning(f"left out: {error}")
        return None
    return waveform
