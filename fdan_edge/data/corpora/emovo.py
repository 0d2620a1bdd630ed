"""EMOVO, an Italian emotional speech database (Costantini et al. 2014): 6 actors, 7 emotions, 14 sentences.

The names are emotion, actor and sentence, as EmoBox' preparation reads them (preprocess/scripts/emovo.py of
github.com/emo-box/EmoBox).
"""

from __future__ import annotations

import re
from pathlib import Path

from fdan_edge.data.corpora import SOUNDS, Corpus, Item, files_below

#: Of the Italian words disgusto, gioia, neutrale, paura, rabbia, sorpresa, tristezza.
_EMOTIONS = {
    "dis": "disgust",
    "gio": "happy",
    "neu": "neutral",
    "pau": "fear",
    "rab": "angry",
    "sor": "surprise",
    "tri": "sad",
}
_NAME = re.compile(rf"({'|'.join(_EMOTIONS)})-([fm][1-3])-([bdln]\d)", re.IGNORECASE)


def read_speech(root: Path) -> list[Item]:
    """List the recordings, in any folders; b, l, n and d are short, long, nonsense sentences and questions."""
    items = []
    for _, path in files_below(root, SOUNDS):
        if match := _NAME.fullmatch(path.stem):
            emotion, speaker, text = (word.lower() for word in match.groups())
            items.append(Item("emovo", path.name.lower(), path, _EMOTIONS[emotion], speaker, text))
    return items


CORPUS = Corpus(
    name="emovo",
    title="EMOVO, Italian emotional speech (Costantini et al. 2014)",
    licence="research use: ask the publisher",
    layout="m1/dis-m1-b1.wav: emotion, actor, sentence; in any folders",
    origin="voice.fub.it/activities/corpora/emovo",
    speakers="6",
    emotions=_EMOTIONS,
    read_speech=read_speech,
    file_names=_NAME,
)
