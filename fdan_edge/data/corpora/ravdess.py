"""RAVDESS speech (Livingstone & Russo 2018): 24 actors, 8 emotions, 2 sentences, sound and video."""

from __future__ import annotations

import re
from pathlib import Path

from fdan_edge.data.corpora import SOUNDS, VIDEOS, Corpus, Item, files_below
from fdan_edge.errors import DataError

_LAYOUT = "Actor_NN/03-01-EE-II-SS-RR-NN.wav (or .flac)"
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
    """List the audio-only speech files (modality 03, channel 01), without songs and videos.

    Raises:
        DataError: a file's name has an emotion code that is none of RAVDESS's.
    """
    return _items(root, SOUNDS, ("03",))


def read_videos(root: Path) -> list[Item]:
    """List the speech videos with sound (modality 01) and without (02): both show one performance, their clip."""
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


def skip_reason(name: str) -> str:
    """Say why a file below the corpus's folder is no item."""
    match = _NAME.fullmatch(Path(name).stem)
    if match is None:
        return f"its name is not of the form {_LAYOUT}"
    return "a song" if match[2] == "02" else "its name is of another kind of file (01, 02: video; 03: sound)"


CORPUS = Corpus(
    name="ravdess",
    title="RAVDESS, speech (Livingstone & Russo 2018)",
    licence="CC BY-NC-SA 4.0, non-commercial",
    layout=_LAYOUT,
    origin="zenodo.org/records/1188976",
    speakers="24",
    emotions=_EMOTIONS,
    read_speech=read_speech,
    read_videos=read_videos,
    skip_reason=skip_reason,
    file_names=_NAME,
)
