"""Java-SED, Javanese speech and faces: 10 actors, 6 emotions, sound and video of the same people.

The names are the publisher's; the codes of emotions are those of the corpus's own description.
"""

from __future__ import annotations

import re
from pathlib import Path

from fdan_edge.data.corpora import SOUNDS, VIDEOS, Corpus, Item, files_below

#: Actor, sentence, emotion and repetition.
_NAME = re.compile(r"(\d\d)-(\d\d)-(0[1-6])_(\d\d)")
_EMOTIONS = {"01": "neutral", "02": "sad", "03": "happy", "04": "surprise", "05": "fear", "06": "angry"}


def read_speech(root: Path) -> list[Item]:
    """List the recordings; of one that is there as Opus and as FLAC, `read` uses the FLAC."""
    return _items(root, SOUNDS, "audio")


def read_videos(root: Path) -> list[Item]:
    """List the videos, one for each actor, sentence and emotion."""
    return _items(root, VIDEOS, "video")


def _items(root: Path, suffixes: tuple[str, ...], folder: str) -> list[Item]:
    items = []
    for _, path in files_below(root, suffixes):
        if match := _NAME.fullmatch(path.stem):
            name, emotion = f"{folder}/{path.name}", _EMOTIONS[match[3]]
            items.append(Item("javased", name, path, emotion, speaker=match[1], text=match[2]))
    return items


CORPUS = Corpus(
    name="javased",
    title="Java-SED, Javanese speech emotion database",
    licence="MIT",
    layout="audio/AA-SS-EE_RR.wav (or .opus): actor, sentence, emotion, repetition; video/AA-SS-EE_RR.mp4",
    speakers="10",
    emotions=_EMOTIONS,
    read_speech=read_speech,
    read_videos=read_videos,
    file_names=_NAME,
)
