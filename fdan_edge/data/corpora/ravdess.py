"""RAVDESS speech (Livingstone & Russo 2018): 24 actors, 8 emotions, 2 sentences, sound and video."""

from __future__ import annotations

import re
from pathlib import Path

from fdan_edge.audio.decode import EXTENSIONS
from fdan_edge.data.corpora.registry import VIDEOS, Item, files_below
from fdan_edge.errors import DataError

LAYOUT = "Actor_NN/03-01-EE-II-SS-RR-NN.wav (or .flac)"
_NAME = re.compile(r"(\d\d)-(\d\d)-(\d\d)-\d\d-(\d\d)-\d\d-(\d\d)")
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
    return _items(root, EXTENSIONS, ("03",))


def read_videos(root: Path) -> list[Item]:
    """The speech videos with sound (modality 01) and without (02): both show the same performance, their clip."""
    return _items(root, VIDEOS, ("01", "02"))


def _items(root: Path, suffixes: tuple[str, ...], modalities: tuple[str, ...]) -> list[Item]:
    items = []
    for _, path in files_below(root, suffixes):
        match = _NAME.fullmatch(path.stem)
        if match and match[1] in modalities and match[2] == "01":
            if match[3] not in _EMOTIONS:
                raise DataError(f"{path}: no emotion has the code {match[3]}; valid: {', '.join(_EMOTIONS)}")
            name = f"Actor_{match[5]}/{path.name}"
            clip = f"Actor_{match[5]}/{path.stem[3:]}" if match[1] != "03" else None
            emotion = _EMOTIONS[match[3]]
            items.append(Item("ravdess", name, path, emotion, speaker=match[5], text=match[4], clip=clip))
    return items


def passed_over(name: str) -> str:
    """Why a file below the corpus's folder is no item."""
    match = _NAME.fullmatch(Path(name).stem)
    if match is None:
        return f"its name is not of the form {LAYOUT}"
    return "a song" if match[2] == "02" else "its name is of another kind of file (01, 02: video; 03: sound)"
