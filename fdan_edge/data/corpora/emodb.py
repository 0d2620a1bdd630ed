"""The Berlin Database of Emotional Speech, EMO-DB (Burkhardt et al. 2005): 10 speakers, German."""

from __future__ import annotations

import re
from pathlib import Path

from fdan_edge.data.corpora import SOUNDS, Corpus, Item, files_below

_NAME = re.compile(r"(\d\d)([ab]\d\d)([WLEAFTN])[a-z]?", re.IGNORECASE)
#: The letters are of the German words (Wut, Langeweile, Ekel, Angst, Freude, Trauer).
_EMOTIONS = {
    "W": "angry",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happy",
    "T": "sad",
    "N": "neutral",
}


def read_speech(root: Path) -> list[Item]:
    """List the utterances of all seven classes; training leaves boredom out unless `boredom` is set."""
    items = []
    for _, path in files_below(root, SOUNDS):
        match = _NAME.fullmatch(path.stem)
        if match:
            name = f"wav/{path.name}"
            items.append(Item("emodb", name, path, _EMOTIONS[match[3].upper()], match[1], match[2].lower()))
    return items


CORPUS = Corpus(
    name="emodb",
    title="EMO-DB, the Berlin Database of Emotional Speech (Burkhardt et al. 2005)",
    licence="CC0",
    layout="wav/SSTTTEV.wav (or .flac): speaker, text, emotion letter, version",
    origin="emodb.bilderbar.info",
    speakers="10",
    emotions=_EMOTIONS,
    read_speech=read_speech,
    file_names=_NAME,
)
