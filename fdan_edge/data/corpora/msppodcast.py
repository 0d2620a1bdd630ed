"""MSP-Podcast (Lotfian & Busso 2019): utterances of English podcasts, labelled by listeners, in published parts.

Labels/labels_consensus.csv has the columns FileName, EmoClass, SpkrID and Split_Set (Train, Development, Test1 and
others; Validation in early versions), as public preparations of several versions read it.
"""

from __future__ import annotations

import re
from pathlib import Path

from fdan_edge.data.corpora import SOUNDS, Corpus, Item, files_below, tables
from fdan_edge.errors import DataError

_NAME = re.compile(r"MSP-(?:PODCAST|Conversation)_\d{4}_\d{4}(?:_\d+)*", re.IGNORECASE)
#: O (other) and X (no agreement) are no classes.
_EMOTIONS = {
    "A": "angry",
    "S": "sad",
    "H": "happy",
    "U": "surprise",
    "F": "fear",
    "D": "disgust",
    "C": "contempt",
    "N": "neutral",
}
_PARTS = {"train": "train", "development": "val", "validation": "val", "test1": "test", "test": "test"}
_TABLE = "labels_consensus.csv"
_COLUMNS = ("filename", "emoclass", "spkrid", "split_set")
_UNKNOWN = ("", "unknown", "nan")


def read_speech(root: Path) -> list[Item]:
    """List the recordings with an agreed emotion of the partitions Train, Development and Test1.

    Test2 and Test3 are sets of other kinds, on which nobody's scores of Test1 are comparable: they are left out.

    Raises:
        DataError: there are recordings and no labels_consensus.csv, or it is damaged.
    """
    files = [path for _, path in files_below(root, SOUNDS) if _NAME.fullmatch(path.stem)]
    rows, items = _rows(root) if files else {}, []
    for path in files:
        values = rows.get(path.stem)
        part = _PARTS.get(values["split_set"].lower()) if values else None
        if values and part and values["emoclass"] in _EMOTIONS:
            speaker = None if values["spkrid"].lower() in _UNKNOWN else values["spkrid"]
            items.append(Item("msppodcast", path.name, path, _EMOTIONS[values["emoclass"]], speaker, split=part))
    return items


def missing(root: Path) -> list[str]:
    """List the rows of the table whose recordings are not there.

    Raises:
        DataError: as `read_speech`.
    """
    there = {path.stem for _, path in files_below(root, SOUNDS)}
    rows = _rows(root) if there else {}
    return [f"{_TABLE}: {name}" for name, v in rows.items() if v["emoclass"] in _EMOTIONS and name not in there]


def _rows(root: Path) -> dict[str, dict[str, str]]:
    """Read the table's rows by the recording's name without its suffix."""
    found = sorted(path for _, path in files_below(root, (".csv",)) if path.name.lower() == _TABLE)
    if not found:
        raise DataError(f"{root}: holds recordings but not the table Labels/{_TABLE}")
    return {Path(values["filename"]).stem: values for _, values in tables.rows(found[0], _COLUMNS)}


def skip_reason(name: str) -> str:
    """Say why a file below the corpus's folder is no item."""
    if not _NAME.fullmatch(Path(name).stem):
        return "its name is not of the form MSP-PODCAST_0001_0008.wav"
    return f"no row of {_TABLE} gives it an agreed emotion in Train, Development or Test1"


CORPUS = Corpus(
    name="msppodcast",
    title="MSP-Podcast (Lotfian & Busso 2019)",
    licence="by agreement",
    layout="Labels/labels_consensus.csv, and Audios/MSP-PODCAST_0001_0008.wav",
    origin="ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Podcast.html",
    speakers="more than 1000",
    emotions=_EMOTIONS,
    read_speech=read_speech,
    skip_reason=skip_reason,
    missing=missing,
    file_names=_NAME,
    official_split="",
)
