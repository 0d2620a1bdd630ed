"""What a reader gives, and how `corpus:path` finds it."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from fdan_edge.audio import video
from fdan_edge.errors import DataError, choose
from fdan_edge.utils.progress import say

#: Reader name -> module. A reader has `LAYOUT` and some of `read_speech(root)`, `read_faces(root)` and
#: `read_videos(root)`; where it has them, also `FILES` (suffixes of files that its path may name) and
#: `passed_over(name)`, which says why a file of the corpus is none of its items.
READERS = {
    "savee": "fdan_edge.data.corpora.savee",
    "meld": "fdan_edge.data.corpora.meld",
    "ravdess": "fdan_edge.data.corpora.ravdess",
    "emodb": "fdan_edge.data.corpora.emodb",
    "crema": "fdan_edge.data.corpora.crema",
    "enterface": "fdan_edge.data.corpora.enterface",
    "casia": "fdan_edge.data.corpora.casia",
    "fer2013": "fdan_edge.data.corpora.fer2013",
    "ck": "fdan_edge.data.corpora.ck",
    "folder": "fdan_edge.data.corpora.folder",
    "unlabelled": "fdan_edge.data.corpora.unlabelled",
    "synthetic": "fdan_edge.data.corpora.synthetic.corpus",
}
MODALITIES = ("speech", "faces", "videos")
IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".pgm", ".tif", ".tiff")
VIDEOS = video.VIDEOS


@dataclass(frozen=True)
class Item:
    """One recording, face or video, with its label where it has one."""

    corpus: str
    id: str  # the publisher's path with /; the same wherever the corpus, or a part of it, lies
    path: Path
    emotion: str  # one of fdan_edge.data.labels.EMOTIONS, a class of the user's own, or "" without a label
    speaker: str | None = None  # unique within the corpus
    text: str | None = None  # which sentence is spoken; equal sentences have equal texts
    split: str | None = None  # the publisher's part: train, val or test
    clip: str | None = None  # the performance that it shows, where several images or videos show the same one

    @property
    def key(self) -> str:
        """A name for this item that is unique across corpora."""
        return f"{self.corpus}:{self.id}"

    @property
    def speaker_key(self) -> str | None:
        """A name for the speaker that is unique across corpora."""
        return None if self.speaker is None else f"{self.corpus}:{self.speaker}"

    @property
    def text_key(self) -> str | None:
        """A name for the sentence that is unique across corpora."""
        return None if self.text is None else f"{self.corpus}:{self.text}"


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


def reader_of(corpus: str) -> ModuleType:
    """The module that reads a corpus."""
    return importlib.import_module(READERS[corpus])


def read(source: Source, modality: str) -> list[Item]:
    """All items of one modality (`speech`, `faces` or `videos`) of a corpus, sorted by id, each id once.

    Some distributions hold every file twice (RAVDESS on Kaggle): both in one list would put the same
    recording into training and test.

    Raises:
        DataError: the folder does not exist, does not have the corpus's layout, or the corpus has no
            such modality.
    """
    items = read_all(source, modality)
    if not items:
        raise DataError(f"{source}: no {modality} found; expected {reader_of(source.corpus).LAYOUT}")
    return unique(items, str(source))


def read_all(source: Source, modality: str) -> list[Item]:
    """As `read`, with every copy of an item and in no order; without any item the list is empty."""
    reader = reader_of(source.corpus)
    function = getattr(reader, f"read_{modality}", None)
    if function is None:
        able = [name for name in READERS if hasattr(reader_of(name), f"read_{modality}")]
        raise DataError(f"corpus {source.corpus} has no {modality}; corpora that have: {', '.join(able)}")
    check_place(source)
    items: list[Item] = function(source.path)
    return items


def check_place(source: Source) -> None:
    """Raise DataError where the path of a source is nothing that its reader could read."""
    if source.path is None or source.corpus == "synthetic" or source.path.is_dir():
        return
    suffixes = getattr(reader_of(source.corpus), "FILES", ())
    if not (source.path.is_file() and source.path.suffix.lower() in suffixes):
        raise DataError(f"{source}: no such folder{' or table (' + ', '.join(suffixes) + ')' if suffixes else ''}")


def recording(key: str) -> str:
    """An item's key without the file's format: the same one may lie there as .wav and as .flac."""
    return key.rpartition(".")[0] or key


def preference(item: Item) -> tuple[str, bool, str, Path]:
    """A key to sort the copies of an item by, the one to use first: mp3 and its like lose sound."""
    lossy = item.path.suffix.lower() in (".mp3", ".ogg", ".opus")
    return recording(item.key), lossy, item.key, item.path


def unique(items: list[Item], where: str) -> list[Item]:
    """The items sorted by key, without further copies of one."""
    found: dict[str, Item] = {}
    for item in sorted(items, key=preference):
        found.setdefault(recording(item.key), item)
    if len(found) < len(items):
        say(f"{where}: {len(items) - len(found)} files are there more than once; one copy of each is used")
    return sorted(found.values(), key=lambda item: item.key)


def files_below(root: Path, suffixes: tuple[str, ...]) -> list[tuple[str, Path]]:
    """(path below root, path) of the files with one of the suffixes, in any case of letters.

    Hidden files and folders, and what macOS adds to archives, are passed over.
    """
    found = ((below, root / below) for below in _below(root, ""))
    return [(below, path) for below, path in found if path.suffix.lower() in suffixes]


def _below(root: Path, start: str) -> Iterator[str]:
    """Paths of files below root; by scandir, which asks nothing of each file, where Path.rglob does thrice."""
    with contextlib.suppress(PermissionError), os.scandir(root / start) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _below(root, f"{start}{entry.name}/")
            elif entry.is_file():
                yield start + entry.name
