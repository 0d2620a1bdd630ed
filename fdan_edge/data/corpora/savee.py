"""SAVEE (Haq & Jackson 2009): 4 men, 7 emotions, 480 sentences of British English, sound and video."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from fdan_edge.data.corpora import IMAGES, SOUNDS, VIDEOS, Corpus, Item, files_below

_LAYOUT = (
    "AudioData/{DC,JE,JK,KL}/{a,d,f,h,n,sa,su}NN.wav, or all in one folder as DC_aNN.wav; clips named so (.avi), "
    "or their frames as DC/aNN/001.jpg or DC_aNN_001.jpg"
)
SPEAKERS = ("DC", "JE", "JK", "KL")
_NAME = re.compile(r"(?:(DC|JE|JK|KL)_?)?(sa|su|a|d|f|h|n)(\d{1,2})", re.IGNORECASE)
_FRAME = re.compile(rf"({_NAME.pattern})[_-](?:frame[_-]?)?\d+", re.IGNORECASE)
_EMOTIONS = {
    "a": "angry",
    "d": "disgust",
    "f": "fear",
    "h": "happy",
    "n": "neutral",
    "sa": "sad",
    "su": "surprise",
}
#: Sentences 1 to 3 of each emotion are the same three. Neutral also repeats the sentences that belong to one
#: emotion, under numbers that say nothing of it; those cannot be recognised by their names.
_COMMON = 3


def read_speech(root: Path) -> list[Item]:
    """List the sound files: 15 of each emotion and speaker, 30 of neutral."""
    return _items(root, SOUNDS)


def read_videos(root: Path) -> list[Item]:
    """List the audio-visual clips, named as the sound files are."""
    return _items(root, VIDEOS)


def read_faces(root: Path) -> list[Item]:
    """List the frames of clips that are there as images: in folders named as clips, or named so with a number."""
    items = []
    for _, path in files_below(root, IMAGES):
        match, folder = _FRAME.fullmatch(path.stem), path.absolute().parent
        clip = _item(folder / match[1] if match else folder, "")
        numbers = re.findall(r"\d+", path.stem)
        if clip and numbers:
            frame = f"{clip.id}/{int(numbers[-1]):06}{path.suffix}"  # sorted as they were shown
            items.append(replace(clip, id=frame, path=path, clip=clip.id))
    return items


def _items(root: Path, suffixes: tuple[str, ...]) -> list[Item]:
    items = (_item(path, path.suffix) for _, path in files_below(root, suffixes))
    return [item for item in items if item]


def _item(path: Path, suffix: str) -> Item | None:
    """Make an item of the recording that a path without its suffix names; None where it names none."""
    match = _NAME.fullmatch(path.stem)
    speaker = (match[1] or path.absolute().parent.name).upper() if match else ""
    if match is None or speaker not in SPEAKERS:
        return None
    code, number = match[2].lower(), int(match[3])
    text = f"common{number:02}" if number <= _COMMON else f"{code}{number:02}"
    return Item("savee", f"{speaker}/{code}{number:02}{suffix}", path, _EMOTIONS[code], speaker, text)


def skip_reason(name: str) -> str:
    """Say why a file below the corpus's folder is no item."""
    if _NAME.fullmatch(Path(name).stem):
        return f"lies in no speaker's folder ({', '.join(SPEAKERS)})"
    return f"its name is not of the form {_LAYOUT}"


CORPUS = Corpus(
    name="savee",
    title="SAVEE (Haq & Jackson 2009)",
    licence="research use",
    layout=_LAYOUT,
    origin="University of Surrey, kahlan.eps.surrey.ac.uk/savee",
    speakers="4",
    emotions=_EMOTIONS,
    read_speech=read_speech,
    read_faces=read_faces,
    read_videos=read_videos,
    skip_reason=skip_reason,
    file_names=re.compile(r"(DC|JE|JK|KL)_(sa|su|a|d|f|h|n)\d\d", re.IGNORECASE),
)
