"""URDU, speech from Urdu talk shows (Latif et al. 2018): 400 utterances, 4 emotions.

Names are SGX_FXX_EYY: gender and number of the speaker, file of that speaker, emotion and its number; EmoBox'
preparation (preprocess/scripts/urdu.py of github.com/emo-box/EmoBox) reads them so.
"""

from __future__ import annotations

import re
from pathlib import Path

from fdan_edge.data.corpora import SOUNDS, Corpus, Item, files_below

_EMOTIONS = {"A": "angry", "H": "happy", "N": "neutral", "S": "sad"}
_NAME = re.compile(r"(S[MF]\d+)_(F\d+)_([AHNS])\d+", re.IGNORECASE)


def read_speech(root: Path) -> list[Item]:
    """List the utterances, in any folders; what is said is not known."""
    items = []
    for _, path in files_below(root, SOUNDS):
        if match := _NAME.fullmatch(path.stem):
            items.append(Item("urdu", path.name, path, _EMOTIONS[match[3].upper()], speaker=match[1].upper()))
    return items


CORPUS = Corpus(
    name="urdu",
    title="URDU, speech from talk shows (Latif et al. 2018)",
    licence="not stated: ask the publisher; the shows belong to their owners",
    layout="Angry/SM1_F1_A01.wav: speaker, file, emotion; in any folders",
    origin="github.com/siddiquelatif/URDU-Dataset",
    speakers="29",
    emotions=_EMOTIONS,
    read_speech=read_speech,
    file_names=_NAME,
)
