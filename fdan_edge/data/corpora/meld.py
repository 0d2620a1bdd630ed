"""MELD (Poria et al. 2019): utterances of the series Friends, 7 emotions, cut as videos in an official split."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from fdan_edge.data.corpora import SOUNDS, VIDEOS, Corpus, Item, files_below, recording_key, tables
from fdan_edge.data.labels import EMOTIONS, canonical_emotion
from fdan_edge.errors import DataError

_NAME = re.compile(r"dia(\d+)_utt(\d+)", re.IGNORECASE)
_PARTS = {"train": "train", "dev": "val", "test": "test"}
_COLUMNS = ("utterance", "speaker", "emotion", "dialogue_id", "utterance_id")


class _Utterance(NamedTuple):
    """What a row of a table says."""

    where: str  # the table's name and the line
    emotion: str
    speaker: str
    text: str


_Labels = dict[tuple[str, int, int], _Utterance]  # by part, dialogue and utterance


def read_speech(root: Path) -> list[Item]:
    """List the videos, since the publisher supplies no sound files; one extracted from a video takes its place.

    Raises:
        DataError: as `read_videos`.
    """
    sounds = _items(root, SOUNDS)
    extracted = {recording_key(item.key) for item in sounds}
    return sounds + [item for item in _items(root, VIDEOS) if recording_key(item.key) not in extracted]


def read_videos(root: Path) -> list[Item]:
    """List the publisher's videos, of which each holds one utterance.

    Raises:
        DataError: a table of labels is damaged, or there are utterances and no table.
    """
    return _items(root, VIDEOS)


def _items(root: Path, suffixes: tuple[str, ...]) -> list[Item]:
    files = [(name, path) for name, path in files_below(root, suffixes) if _NAME.fullmatch(path.stem)]
    labels = _labels(root) if files else {}
    items = []
    for name, path in files:
        part, dialogue, utterance = _numbers(name)
        if row := labels.get((part, dialogue, utterance)):
            identity = f"{part}/{path.name}"
            items.append(Item("meld", identity, path, row.emotion, row.speaker, row.text, _PARTS[part]))
    return items


def missing(root: Path) -> list[str]:
    """List the rows of the tables of whose utterances there is neither a video nor extracted sound."""
    files = [name for name, path in files_below(root, (*SOUNDS, *VIDEOS)) if _NAME.fullmatch(path.stem)]
    there = {_numbers(name) for name in files}
    rows = {key: row for key, row in _labels(root).items() if key not in there}
    return [f"{row.where}: dia{dialogue}_utt{utterance}" for (_, dialogue, utterance), row in rows.items()]


def _numbers(name: str) -> tuple[str, int, int]:
    """Read part ("" where it is in no part's folder), dialogue and utterance of a file's path."""
    match = _NAME.fullmatch(Path(name).stem)
    return (_part(name), int(match[1]), int(match[2])) if match else ("", 0, 0)


def _labels(root: Path) -> _Labels:
    """Read the rows of the tables, by part, dialogue and utterance."""
    files = {path.stem.lower(): path for _, path in sorted(files_below(root, tables.TABLES), reverse=True)}
    labels: _Labels = {}
    for part in _PARTS:
        if path := files.get(f"{part}_sent_emo"):
            labels.update(_table(path, part))
    if not labels:
        raise DataError(f"{root}: holds utterances but none of the tables {', '.join(_PARTS)}_sent_emo.csv")
    return labels


def _table(path: Path, part: str) -> _Labels:
    labels = {}
    for line, values in tables.rows(path, _COLUMNS):
        try:
            emotion = canonical_emotion(values["emotion"])
            row = _Utterance(f"{path.name}, line {line}", emotion, values["speaker"], values["utterance"])
            labels[part, int(values["dialogue_id"]), int(values["utterance_id"])] = row
        except DataError as error:
            raise DataError(f"{path}, line {line}: {error}") from None
        except ValueError as error:
            raise DataError(f"{path}, line {line}: a dialogue or utterance is no number: {error}") from None
    return labels


def _part(name: str) -> str:
    """Find the publisher's part of a file, by the nearest folder that names one; "" where none does."""
    for folder in reversed(Path(name).parts[:-1]):
        for part in _PARTS:
            if part in folder.lower():
                return part
    return ""


def skip_reason(name: str) -> str:
    """Say why a file below the corpus's folder is no item."""
    if not _NAME.fullmatch(Path(name).stem):
        return "its name is not of the form diaX_uttY"
    part = _part(name)
    return f"no row of {part}_sent_emo.csv is of it" if part else "lies in no train, dev or test folder"


CORPUS = Corpus(
    name="meld",
    title="MELD (Poria et al. 2019)",
    licence="GPL-3.0 for the labels; the scenes belong to their owner",
    layout=(
        "{train,dev,test}_sent_emo.csv, and diaX_uttY.mp4 or sound extracted from it in folders with train, dev "
        "or test in their names (train_splits, dev_splits_complete, output_repeated_splits_test)"
    ),
    origin="affective-meld.github.io",
    speakers="about 300",
    emotions={name: name for name in EMOTIONS if name not in ("boredom", "calm", "contempt")},
    read_speech=read_speech,
    read_videos=read_videos,
    skip_reason=skip_reason,
    missing=missing,
    file_names=_NAME,
    official_split="",
)
