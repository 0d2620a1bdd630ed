"""MELD (Poria et al. 2019): utterances of the series Friends, 7 emotions, cut as videos in an official split."""

from __future__ import annotations

import re
from pathlib import Path

from fdan_edge.audio.decode import EXTENSIONS
from fdan_edge.data.corpora import tables
from fdan_edge.data.corpora.registry import VIDEOS, Item, files_below, recording
from fdan_edge.data.labels import canonical
from fdan_edge.errors import DataError

LAYOUT = (
    "{train,dev,test}_sent_emo.csv, and diaX_uttY.mp4 or sound extracted from it in folders with train, dev or "
    "test in their names (train_splits, dev_splits_complete, output_repeated_splits_test)"
)
_NAME = re.compile(r"dia(\d+)_utt(\d+)", re.IGNORECASE)
_PARTS = {"train": "train", "dev": "val", "test": "test"}
_COLUMNS = ("utterance", "speaker", "emotion", "dialogue_id", "utterance_id")

_Labels = dict[tuple[str, int, int], dict[str, str]]


def read_speech(root: Path) -> list[Item]:
    """The videos, since the publisher supplies no sound files; one extracted from a video takes its place.

    Raises:
        DataError: as `read_videos`.
    """
    sounds = _items(root, EXTENSIONS)
    extracted = {recording(item.key) for item in sounds}
    return sounds + [item for item in _items(root, VIDEOS) if recording(item.key) not in extracted]


def read_videos(root: Path) -> list[Item]:
    """The publisher's videos, of which each holds one utterance.

    Raises:
        DataError: a table of labels is damaged, or there are utterances and no table.
    """
    return _items(root, VIDEOS)


def _items(root: Path, suffixes: tuple[str, ...]) -> list[Item]:
    files = [(name, path) for name, path in files_below(root, suffixes) if _NAME.fullmatch(path.stem)]
    labels = _labels(root) if files else {}
    items = []
    for name, path in files:
        part, match = _part(name), _NAME.fullmatch(path.stem)
        row = labels.get((part, int(match[1]), int(match[2]))) if part and match else None
        if row:
            identity = f"{part}/{path.name}"
            emotion, split = row["emotion"], _PARTS[part]
            items.append(Item("meld", identity, path, emotion, row["speaker"], row["utterance"], split))
    return items


def _labels(root: Path) -> _Labels:
    """The rows of the tables by part, dialogue and utterance."""
    there = {path.stem.lower(): path for _, path in sorted(files_below(root, tables.TABLES), reverse=True)}
    found: _Labels = {}
    for part in _PARTS:
        if path := there.get(f"{part}_sent_emo"):
            found.update(_table(path, part))
    if not found:
        raise DataError(f"{root}: holds utterances but none of the tables {', '.join(_PARTS)}_sent_emo.csv")
    return found


def _table(path: Path, part: str) -> _Labels:
    found = {}
    for line, values in tables.rows(path, _COLUMNS):
        try:
            values["emotion"] = canonical(values["emotion"])
            found[part, int(values["dialogue_id"]), int(values["utterance_id"])] = values
        except DataError as error:
            raise DataError(f"{path}, line {line}: {error}") from None
        except ValueError as error:
            raise DataError(f"{path}, line {line}: a dialogue or utterance is no number: {error}") from None
    return found


def _part(name: str) -> str:
    """The publisher's part that a file belongs to, by the nearest folder that names one; "" where none does."""
    for folder in reversed(Path(name).parts[:-1]):
        for part in _PARTS:
            if part in folder.lower():
                return part
    return ""


def passed_over(name: str) -> str:
    """Why a file below the corpus's folder is no item."""
    if not _NAME.fullmatch(Path(name).stem):
        return "its name is not of the form diaX_uttY"
    part = _part(name)
    return f"no row of {part}_sent_emo.csv is of it" if part else "lies in no train, dev or test folder"
