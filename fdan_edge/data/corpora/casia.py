"""CASIA Chinese emotional speech corpus: 4 speakers, 6 emotions, the same sentences in each emotion."""

from __future__ import annotations

from pathlib import Path

from fdan_edge.data.corpora import SOUNDS, Corpus, Item, files_below

SPEAKERS = ("liuchanhg", "wangzhe", "zhaoquanyin", "zhaozuoxiang")
_EMOTIONS = ("angry", "fear", "happy", "neutral", "sad", "surprise")


def read_speech(root: Path) -> list[Item]:
    """List the utterances; the folders' names may be in upper or lower case."""
    items = []
    for _, path in files_below(root, SOUNDS):
        folder = path.absolute().parent
        emotion, speaker = folder.name.lower(), folder.parent.name.lower()
        if emotion in _EMOTIONS and speaker in SPEAKERS and path.stem.isdecimal():
            name = f"{speaker}/{emotion}/{path.name}"
            items.append(Item("casia", name, path, emotion, speaker, text=str(int(path.stem))))
    return items


CORPUS = Corpus(
    name="casia",
    title="CASIA Chinese emotional speech corpus",
    licence="by agreement with its publisher",
    layout="SPEAKER/{angry,fear,happy,neutral,sad,surprise}/NNN.wav: the number is the sentence",
    origin="Institute of Automation, Chinese Academy of Sciences",
    speakers="4",
    emotions={name: name for name in _EMOTIONS},
    read_speech=read_speech,
)
