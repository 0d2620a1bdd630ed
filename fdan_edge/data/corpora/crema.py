"""CREMA-D (Cao et al. 2014): 91 speakers, 6 emotions, 12 sentences of English, sound and video."""

from __future__ import annotations

import re
from pathlib import Path

from fdan_edge.data.corpora import SOUNDS, VIDEOS, Corpus, Item, files_below

#: The level is XX, LO, MD or HI, and a single X in one file of the original.
_NAME = re.compile(r"(\d{4})_([A-Z]{3})_(ANG|DIS|FEA|HAP|NEU|SAD)_[A-Z]{1,2}", re.IGNORECASE)
_EMOTIONS = {"ANG": "angry", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}


def read_speech(root: Path) -> list[Item]:
    """List the sound files; of a recording that is there as wav and as mp3, `read` uses one."""
    return _items(root, SOUNDS, "AudioWAV")


def read_videos(root: Path) -> list[Item]:
    """List the video files (VideoFlash)."""
    return _items(root, VIDEOS, "VideoFlash")


def _items(root: Path, suffixes: tuple[str, ...], folder: str) -> list[Item]:
    items = []
    for _, path in files_below(root, suffixes):
        match = _NAME.fullmatch(path.stem)
        if match:
            name = f"{folder}/{path.name}"
            emotion = _EMOTIONS[match[3].upper()]
            items.append(Item("crema", name, path, emotion, speaker=match[1], text=match[2].upper()))
    return items


CORPUS = Corpus(
    name="crema",
    title="CREMA-D (Cao et al. 2014)",
    licence="Open Database License",
    layout="AudioWAV/SSSS_TTT_EEE_LL.wav: speaker, sentence, emotion, level",
    origin="github.com/CheyneyComputerScience/CREMA-D",
    speakers="91",
    emotions=_EMOTIONS,
    read_speech=read_speech,
    read_videos=read_videos,
    file_names=_NAME,
)
