"""The dataset nEMO of emotional speech in Polish (Christop 2024): 9 actors, 6 emotions, 90 sentences.

File names are `{speaker_id}_{emotion}_{sentence_id}`, and data.tsv has a row for each, by the README of
github.com/amu-cai/nEMO.
"""

from __future__ import annotations

import re
from pathlib import Path

from fdan_edge.data.corpora import SOUNDS, Corpus, Item, files_below, tables

_EMOTIONS = {
    "anger": "angry",
    "fear": "fear",
    "happiness": "happy",
    "neutral": "neutral",
    "sadness": "sad",
    "surprised": "surprise",
}
_NAME = re.compile(rf"([A-Z]+\d+)_({'|'.join(_EMOTIONS)})_(\d+)")
_TABLE = "data.tsv"


def read_speech(root: Path) -> list[Item]:
    """List the recordings by their names, which say what data.tsv says: it is not needed."""
    items = []
    for _, path in files_below(root, SOUNDS):
        if match := _NAME.fullmatch(path.stem):
            emotion = _EMOTIONS[match[2]]
            items.append(Item("nemo", f"samples/{path.name}", path, emotion, speaker=match[1], text=match[3]))
    return items


def missing(root: Path) -> list[str]:
    """List the rows of data.tsv whose recordings are not there, in whatever format.

    Raises:
        DataError: data.tsv is damaged.
    """
    there = {path.stem for _, path in files_below(root, SOUNDS)}
    return [
        f"{_TABLE}, line {line}: {values['file_id']}"
        for _, path in files_below(root, (".tsv",))
        if path.name == _TABLE
        for line, values in tables.rows(path, ("file_id",))
        if Path(values["file_id"]).stem not in there
    ]


CORPUS = Corpus(
    name="nemo",
    title="nEMO, emotional speech in Polish (Christop 2024)",
    licence="CC BY-NC-SA 4.0, non-commercial",
    layout="samples/SPEAKER_EMOTION_SENTENCE.wav, e.g. samples/WR0_anger_1.wav",
    origin="github.com/amu-cai/nEMO",
    speakers="9",
    emotions=_EMOTIONS,
    read_speech=read_speech,
    missing=missing,
    file_names=_NAME,
)
