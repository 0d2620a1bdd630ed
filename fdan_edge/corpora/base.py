"""What a reader gives, and how `corpus:path` finds it."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

from fdan_edge.errors import DataError, choose
from fdan_edge.progress import say

#: reader name -> module; a reader has `read_speech(root)` and / or `read_faces(root)`
READERS = {
    "ravdess": "fdan_edge.corpora.ravdess",
    "emodb": "fdan_edge.corpora.emodb",
    "fer2013": "fdan_edge.corpora.fer2013",
    "synthetic": "fdan_edge.corpora.synthetic",
}
MODALITIES = ("speech", "faces")


@dataclass(frozen=True)
class Item:
    """One labelled recording or face."""

    corpus: str
    id: str  # the publisher's path with /; the same wherever the corpus, or a part of it, lies
    path: Path
    emotion: str  # one of fdan_edge.emotions.EMOTIONS
    speaker: str | None = None  # unique within the corpus
    text: str | None = None  # which sentence is spoken

    @property
    def key(self) -> str:
        """A name for this item that is unique across corpora."""
        return f"{self.corpus}:{self.id}"

    @property
    def speaker_key(self) -> str | None:
        """A name for the speaker that is unique across corpora."""
        return None if self.speaker is None else f"{self.corpus}:{self.speaker}"


@dataclass(frozen=True)
class Source:
    """A corpus and where it lies, as given by `--speech` or `--faces`."""

    corpus: str
    path: Path | None

    def __str__(self) -> str:
        return f"{self.corpus}:{self.path or ''}"


def parse_source(text: str) -> Source:
    """The source that `corpus:path` names.

    Raises:
        DataError: no colon, an unknown corpus, or no path where one is needed.
    """
    corpus, colon, path = text.partition(":")
    if not colon:
        raise DataError(f"{text!r} is not of the form corpus:path; corpora: {', '.join(READERS)}")
    if corpus not in READERS:
        raise DataError(choose("corpus", corpus, list(READERS)))
    if not path and corpus != "synthetic":
        raise DataError(f"{text!r} names no folder; write {corpus}:PATH")
    return Source(corpus, Path(path).expanduser() if path else None)


def read(source: Source, modality: str) -> list[Item]:
    """All items of one modality (`speech` or `faces`) of a corpus, sorted by id, each id once.

    Some distributions hold every file twice (RAVDESS on Kaggle): both in one list would put the same
    recording into training and test.

    Raises:
        DataError: the folder does not exist, does not have the corpus's layout, or the corpus has no
            such modality.
    """
    reader = importlib.import_module(READERS[source.corpus])
    function = getattr(reader, f"read_{modality}", None)
    if function is None:
        able = [name for name in READERS if hasattr(importlib.import_module(READERS[name]), f"read_{modality}")]
        raise DataError(f"corpus {source.corpus} has no {modality}; corpora that have: {', '.join(able)}")
    if source.path is not None and source.corpus != "synthetic" and not source.path.is_dir():
        raise DataError(f"{source}: no such folder")
    items: list[Item] = function(source.path)
    if not items:
        raise DataError(f"{source}: no {modality} found; expected {reader.LAYOUT}")
    return unique(items, str(source))


def recording(key: str) -> str:
    """An item's key without the file's format: the same one may lie there as .wav and as .flac."""
    return key.rpartition(".")[0] or key


def unique(items: list[Item], where: str) -> list[Item]:
    """The items sorted by key, without further copies of one."""
    found: dict[str, Item] = {}
    for item in sorted(items, key=lambda item: (item.key, item.path)):
        found.setdefault(recording(item.key), item)
    if len(found) < len(items):
        say(f"{where}: {len(items) - len(found)} files are there more than once; one copy of each is used")
    return list(found.values())


def files_below(root: Path, suffixes: tuple[str, ...]) -> list[tuple[str, Path]]:
    """(path below root, path) of the files with one of the suffixes, in any case of letters.

    Hidden files and folders, and what macOS adds to archives, are passed over.
    """
    found = []
    for path in root.rglob("*"):
        below = path.relative_to(root)
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in below.parts)
        if path.suffix.lower() in suffixes and not hidden and path.is_file():
            found.append((below.as_posix(), path))
    return found
