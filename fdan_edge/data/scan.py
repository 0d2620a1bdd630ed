"""What a corpus holds, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fdan_edge.audio import decode
from fdan_edge.config import Config
from fdan_edge.data import face_crops, pictures
from fdan_edge.data.corpora import (
    Item,
    Source,
    check_path,
    left_out,
    own_table,
    read_all,
    unique,
)
from fdan_edge.data.corpora.contents import fetch_command, pointer_of
from fdan_edge.data.duplicates import same_content, same_name
from fdan_edge.errors import DataError
from fdan_edge.utils.progress import track

_FRAMES = Config.video_frames  # of each video, by default: everything before the last of them is decoded


@dataclass(frozen=True)
class Scan:
    """What a corpus holds of one modality, each recording counted once."""

    source: str
    modality: str  # speech, faces or videos
    items: int
    classes: dict[str, int]
    speakers: dict[str, int]
    splits: dict[str, int]  # of the publisher's train, val and test, where there are such
    hours: float  # of speech
    broken: list[str]  # one line per file that cannot be used
    duplicates: list[list[str]]  # files of equal content that the corpus calls different: all are used
    copies: list[list[str]]  # files that the corpus calls the same: one of each group is used
    unlabelled: dict[str, list[str]]  # by reason, files of this kind that belong to no item
    left_out: dict[str, list[str]]  # by reason, what else is not read of the source; in its first result only

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def scan(source: Source) -> list[Scan]:
    """Open every file of a corpus, and return one result for each modality that it has.

    Of videos the frames that training would take are decoded; faces are not looked for, which takes as long again.

    Raises:
        DataError: nothing is there that the corpus's reader knows.
    """
    corpus = source.entry
    check_path(source)
    items_of = {modality: read_all(source, modality) for modality in corpus.readers}
    if not any(items_of.values()):
        raise left_out.nothing(source, " or ".join(corpus.readers))
    scans = [_scan(source, modality, items) for modality, items in items_of.items() if items]
    used = {item.path for items in items_of.values() for item in items}
    return [replace(scans[0], left_out=left_out.unread(source, used)), *scans[1:]]


def write_table(source: Source, table: Path) -> int:
    """Write a table of all files of a corpus, with what is known of them, for a person to complete.

    Returns:
        How many rows it has.

    Raises:
        DataError: a file of this name is there, or the corpus cannot be read.
    """
    corpus = source.entry
    by_path = {item.path: item for modality in corpus.readers for item in read_all(source, modality)}
    items = unique(list(by_path.values()), str(source))
    own_table.write_table(table, items)
    return len(items)


def _scan(source: Source, modality: str, with_copies: list[Item]) -> Scan:
    items = unique(with_copies, str(source))
    seconds, broken = _checked(items, modality, f"scan {source}")
    used = {item.path for item in with_copies}
    unlabelled = left_out.unlabelled(source, modality, used)
    return Scan(
        str(source),
        modality,
        len(items),
        classes=_counts(item.emotion for item in items),
        speakers=_counts(item.speaker for item in items),
        splits=_counts(item.split for item in items),
        hours=round(seconds / 3600, 4),
        broken=list(broken.values()),
        duplicates=_paths(same_content(item for item in items if item.path not in broken)),
        copies=_paths(same_name(with_copies)),
        unlabelled={reason: [str(path) for path in paths] for reason, paths in unlabelled.items()},
        left_out={},
    )


def _checked(items: list[Item], modality: str, what: str) -> tuple[float, dict[Path, str]]:
    """Add up the seconds of speech in the usable files, and describe each other file in a line."""
    seconds, broken = 0.0, {}
    for item in track(items, what):
        try:
            seconds += _check(item, modality)
        except DataError as error:
            broken[item.path] = str(error)
    return seconds, broken


def _check(item: Item, modality: str) -> float:
    """Return the seconds of speech in a usable file; DataError for one that is not."""
    if program := pointer_of(item.path):
        raise DataError(f"{item.path}: is a {program} pointer: {fetch_command(program)}")
    if modality == "speech":
        return decode.speech_seconds(item.path)
    if modality == "faces":
        with pictures.opened(item.path) as image:
            image.load()
    else:
        face_crops.sample_frames(item.path, _FRAMES)
    return 0.0


def _counts(values: Iterable[str | None]) -> dict[str, int]:
    return dict(sorted(Counter(value for value in values if value).items()))


def _paths(groups: list[list[Item]]) -> list[list[str]]:
    return [[str(item.path) for item in group] for group in groups]
