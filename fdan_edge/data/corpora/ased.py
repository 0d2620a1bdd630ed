"""The Amharic Speech Emotion Dataset, ASED (Retta et al. 2023): 65 speakers, 5 emotions.

Names as in github.com/wgwangang/ASED_V1: 01Neutral/n1-01-01-02-39.wav is emotion, sentence, repetition, gender
(01 and 02) and speaker; EmoBox' preparation (preprocess/scripts/ased.py) reads them so too.
"""

from __future__ import annotations

import re
from pathlib import Path

from fdan_edge.data.corpora import SOUNDS, Corpus, Item, files_below

_EMOTIONS = {"n": "neutral", "f": "fear", "h": "happy", "s": "sad", "a": "angry"}
_NAME = re.compile(r"([nfhsa])\d?-(\d\d)-(\d\d)-(\d\d)-(\d\d)", re.IGNORECASE)


def read_speech(root: Path) -> list[Item]:
    """List the recordings; each emotion has sentences of its own."""
    items = []
    for _, path in files_below(root, SOUNDS):
        if match := _NAME.fullmatch(path.stem):
            code = match[1].lower()
            text = f"{code}{match[2]}"
            items.append(Item("ased", path.name, path, _EMOTIONS[code], speaker=match[5], text=text))
    return items


CORPUS = Corpus(
    name="ased",
    title="ASED, the Amharic Speech Emotion Dataset (Retta et al. 2023)",
    licence="not stated: ask the publisher",
    layout="01Neutral/n1-01-01-02-39.wav: emotion, sentence, repetition, gender, speaker; in any folders",
    origin="doi.org/10.1145/3529759",
    speakers="65",
    emotions=_EMOTIONS,
    read_speech=read_speech,
    file_names=_NAME,
)
