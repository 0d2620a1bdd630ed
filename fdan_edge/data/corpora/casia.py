"""CASIA Chinese emotional speech corpus: 4 speakers, 6 emotions, the same sentences in each emotion."""

from __future__ import annotations

from pathlib import Path

from fdan_edge.audio.decode import EXTENSIONS
from fdan_edge.data.corpora.registry import Item, files_below

LAYOUT = "SPEAKER/{angry,fear,happy,neutral,sad,surprise}/NNN.wav: the number is the sentence"
SPEAKERS = ("liuchanhg", "wangzhe", "zhaoquanyin", "zhaozuoxiang")
_EMOTIONS = ("angry", "fear", "happy", "neutral", "sad", "surprise")


def read_speech(root: Path) -> list[Item]:
    """The utterances; the folders' names may be in any case of letters."""
    items = []
    for _, path in files_below(root, EXTENSIONS):
        folder = path.absolute().parent
        emotion, speaker = folder.name.lower(), folder.parent.name.lower()
        if emotion in _EMOTIONS and speaker in SPEAKERS and path.stem.isdecimal():
            name = f"{speaker}/{emotion}/{path.name}"
            items.append(Item("casia", name, path, emotion, speaker, text=str(int(path.stem))))
    return items
