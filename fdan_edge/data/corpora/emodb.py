"""The Berlin Database of Emotional Speech, EMO-DB (Burkhardt et al. 2005): 10 speakers, German."""

from __future__ import annotations

import re
from pathlib import Path

from fdan_edge.audio.decode import EXTENSIONS
from fdan_edge.data.corpora.registry import Item, files_below

LAYOUT = "wav/SSTTTEV.wav (or .flac): speaker, text, emotion letter, version"
_NAME = re.compile(r"(\d\d)([ab]\d\d)([WLEAFTN])[a-z]?")
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
    """The utterances of all seven classes; training leaves boredom out unless `boredom` is set."""
    items = []
    for _, path in files_below(root, EXTENSIONS):
        match = _NAME.fullmatch(path.stem)
        if match:
            name = f"wav/{path.name}"
            items.append(Item("emodb", name, path, _EMOTIONS[match[3]], speaker=match[1], text=match[2]))
    return items
