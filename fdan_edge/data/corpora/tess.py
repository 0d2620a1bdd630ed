"""The Toronto emotional speech set, TESS (Pichora-Fuller & Dupuis 2020): 2 actresses, 7 emotions, 200 words."""

from __future__ import annotations

import re
from pathlib import Path

from fdan_edge.data.corpora import SOUNDS, Corpus, Item, files_below

_LAYOUT = "OAF_back_angry.wav: actress, word, emotion; in any folders"
#: Of one file in the original the actress is written OA.
_NAME = re.compile(r"(OA|YA)F?_([a-z'-]+)_(angry|disgust|fear|happy|neutral|ps|sad)", re.IGNORECASE)
#: The publisher's words; ps is a pleasant surprise.
_EMOTIONS = {
    "angry": "angry",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happy",
    "neutral": "neutral",
    "ps": "surprise",
    "sad": "sad",
}


def read_speech(root: Path) -> list[Item]:
    """List the recordings; each is one word in a sentence that is always the same, and the word is its text."""
    items = []
    for _, path in files_below(root, SOUNDS):
        if match := _NAME.fullmatch(path.stem):
            speaker, word, code = f"{match[1].upper()}F", match[2].lower(), match[3].lower()
            name = f"{speaker}_{word}_{code}{path.suffix.lower()}"
            items.append(Item("tess", name, path, _EMOTIONS[code], speaker, word))
    return items


CORPUS = Corpus(
    name="tess",
    title="TESS, the Toronto emotional speech set (Pichora-Fuller & Dupuis 2020)",
    licence="CC BY-NC-ND 4.0, non-commercial, no derivatives",
    layout=_LAYOUT,
    origin="doi.org/10.5683/SP2/E8H2MF",
    speakers="2",
    emotions=_EMOTIONS,
    read_speech=read_speech,
    file_names=_NAME,
)
