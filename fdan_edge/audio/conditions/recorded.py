"""Recordings of noise, and measured responses of rooms, from files and folders of the user's."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fdan_edge.audio import decode
from fdan_edge.audio.conditions.noise import RATE
from fdan_edge.audio.conditions.rooms import LONGEST_RESPONSE
from fdan_edge.audio.listing import find
from fdan_edge.audio.windows import Waveform
from fdan_edge.errors import AudioError

log = logging.getLogger(__name__)

_LONGEST = 120.0  # s of a recording that are used
_MOST = 2 * 3600.0  # s of all together: 460 MB
_BEFORE = 0.001  # s before the direct sound that stay of a room's response


def load_recordings(paths: Sequence[Path]) -> list[Waveform]:
    """Load all recordings of files and folders at 16 kHz.

    Of a long one the first two minutes are used. Of many, which would be over two hours, the beginning of each: so
    memory is bounded. Broken and silent ones are left out, with a line.

    Raises:
        AudioError: a path is not there, or names no usable recording.
    """
    files = [(path, file) for path in paths for file in _files(path)]
    length = round(min(_LONGEST, _MOST / max(len(files), 1)) * RATE)
    loaded = [(path, waveform) for path, file in files if (waveform := _usable(file, length)) is not None]
    for path in paths:
        if not any(of == path for of, _ in loaded):
            raise AudioError(f"{path}: no usable recording in it; a sound file, or a folder of some, is needed")
    return [waveform for _, waveform in loaded]


def load_rooms(paths: Sequence[Path]) -> list[Waveform]:
    """Load measured responses of rooms at 16 kHz, each from its direct sound on, at most 1.5 s.

    What comes before the direct sound is the time that sound took to the microphone. It would only delay speech.

    Raises:
        AudioError: as `load_recordings`.
    """
    return [_from_direct_sound(response) for response in load_recordings(paths)]


def _from_direct_sound(response: Waveform) -> Waveform:
    loudest = int(np.abs(response).argmax())
    start = max(0, loudest - round(_BEFORE * RATE))
    scaled: Waveform = response[start : start + round(LONGEST_RESPONSE * RATE)] / np.abs(response[loudest])
    return scaled


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise AudioError(f"{path}: no such file or folder")
    return find([path]).files


def _usable(path: Path, length: int) -> Waveform | None:
    """Load up to `length` samples of a recording; None, with a line, where nothing of it can be used."""
    samples = bytearray()
    try:
        for block in decode.mono_blocks(path, RATE):
            samples += block.tobytes()
            if len(samples) >= 4 * length:  # hours of it need not be decoded
                break
        waveform = np.frombuffer(samples, np.float32)[:length]
        decode.check_sound(len(waveform), float(np.abs(waveform).max(initial=0)), RATE)
    except AudioError as error:
        named = str(error).startswith(f"{path}: ")
        log.warning(f"left out: {error}" if named else f"left out: {path}: {error}")
        return None
    return waveform
