"""RAVDESS speech (Livingstone & Russo 2018): 24 actors, 8 emotions, 2 sentences."""

from __future__ import annotations

import re
from pathlib import Path

from fdan_edge.audio import EXTENSIONS
from fdan_edge.corpora.base import Item, files_below
from fdan_edge.errors import DataError

LAYOUT = "Actor_NN/03-01-EE-II-SS-RR-NN.wav (or .flac)"
_NAME = re.compile(r"03-01-(\d\d)-\d\d-(\d\d)-\d\d-(\d\d)")
_EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fear",
    "07": "disgust",
    "08": "surprise",
}


def read_speech(root: Path) -> list[Item]:
    """The audio-only speech files (modality 03, channel 01); songs and videos are passed over.

    Raises:
        DataError: a file's name has an emotion code that is none of RAVDESS's.
    """
    items = []
    for _, path in files_below(root, EXTENSIONS):
        match = _NAME.fullmatch(path.stem)
        if match:
            if match[1] not in _EMOTIONS:
                raise DataError(f"{path}: no emotion has the code {match[1]}; valid: {', '.join(_EMOTIONS)}")
            name = f"Actor_{match[3]}/{path.name}"
            items.append(Item("ravdess", name, path, _EMOTIONS[match[1]], speaker=match[3], text=match[2]))
    return items
