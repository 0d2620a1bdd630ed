"""From `corpus:path` to a list of labelled items."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TypeAlias

from fdan_edge.data.corpora import left_out
from fdan_edge.data.corpora.items import VIDEOS, Item, recording_key, unique
from fdan_edge.data.corpora.registry import (
    MARK,
    Collection,
    Corpus,
    corpus_names,
    get_corpus,
    known_corpora,
)
from fdan_edge.data.face_crops import middles
from fdan_edge.errors import DataError, unknown_choice


@dataclass(frozen=True)
class Source:
    """A corpus and where it lies, as given by `--speech` or `--faces`."""

    corpus: str
    path: Path | None
    dataset: str = ""  # of a collection such as EmoBox: which of its corpora
    audio: Path | None = None  # of such a one: the folder of its sound

    def __str__(self) -> str:
        dataset = f"{MARK}{self.dataset}={self.audio}" if self.dataset else ""
        return f"{self.corpus}:{self.path or ''}{dataset}"

    @property
    def name(self) -> str:
        """The name of the corpus, with that of the dataset of a collection: `emobox#ravdess`."""
        return f"{self.corpus}{MARK}{self.dataset}" if self.dataset else self.corpus

    @property
    def folder(self) -> Path | None:
        """The folder, or table, below which its files lie."""
        return self.audio or self.path

    @property
    def entry(self) -> Corpus:
        """The entry of its corpus.

        Raises:
            DataError: there is no such corpus, or a collection and no dataset.
        """
        corpus = get_corpus(self.corpus)
        if corpus.collection is None:
            return corpus
        if not self.dataset:
            raise _without_dataset(corpus, self.path)
        return corpus.collection.entry(self.dataset, self.path)


#: Path of a collection, dataset, and where its sound lies; a path may hold the mark as well.
_DATASET = re.compile(rf"(.*?){MARK}([A-Za-z0-9_-]+)(?:=(.*))?", re.DOTALL)

#: A corpus as a caller names it: a `corpus:path` word or a `Source`.
SourceLike: TypeAlias = str | Source


def parse_source(text: str) -> Source:
    """Split `corpus:path` into the corpus and its path.

    Raises:
        DataError: no colon, an unknown corpus, or no path where one is needed.
    """
    corpus, colon, path = text.partition(":")
    if not colon:
        own = f"; your own are folder:{text}" if Path(text).exists() else ""
        raise DataError(f"{text!r} is not of the form corpus:path{own}; corpora: {', '.join(corpus_names())}")
    if not get_corpus(corpus).default_folder and not path:
        raise DataError(f"{text!r} names no folder; write {corpus}:PATH")
    try:
        if collection := get_corpus(corpus).collection:
            return _parse_dataset(get_corpus(corpus), collection, path)
        return Source(corpus, Path(path).expanduser() if path else None)
    except RuntimeError:
        raise DataError(f"{text!r}: no user of that name has a home folder here") from None


def name_of(text: str) -> str:
    """Return what a list of corpora calls a source: `ravdess` for `ravdess:/data/r`, or `emobox#ravdess`."""
    corpus, _, path = text.partition(":")
    match = _DATASET.fullmatch(path)
    return f"{corpus}{MARK}{match[2]}" if match and corpus in corpus_names() and _is_collection(corpus) else corpus


def _is_collection(corpus: str) -> bool:
    return get_corpus(corpus).collection is not None


def _parse_dataset(corpus: Corpus, collection: Collection, text: str) -> Source:
    """Split `PATH#DATASET` or `PATH#DATASET=FOLDER`."""
    match = _DATASET.fullmatch(text)
    path = Path(match[1] if match else text).expanduser()
    if not match:
        raise _without_dataset(corpus, path)
    check_path(Source(corpus.name, path))
    valid = collection.datasets(path)
    if match[2] not in valid:
        names = unknown_choice("dataset", match[2], valid) if valid else "no folder of a dataset is there"
        raise DataError(f"{corpus.name}:{path}: {names}; expected {corpus.layout}")
    given = Path(match[3]).expanduser() if match[3] else None
    return Source(corpus.name, path, match[2], collection.audio(path, match[2], given))


def _without_dataset(corpus: Corpus, path: Path | None) -> DataError:
    there = corpus.collection.datasets(path) if corpus.collection and path and path.is_dir() else []
    names = f"; there are {', '.join(there)}" if there else ""
    return DataError(f"{corpus.name}:{path or ''} names no dataset; write {corpus.name}:PATH{MARK}DATASET{names}")


def parse_sources(sources: Sequence[SourceLike]) -> list[Source]:
    """Parse `corpus:path` words, one or several; sources stay as they are.

    Raises:
        DataError: a word cannot be understood.
    """
    words = [sources] if isinstance(sources, str) else sources
    return [parse_source(word) if isinstance(word, str) else word for word in words]


def read(source: Source, modality: str) -> list[Item]:
    """List all items of one modality (`speech`, `faces` or `videos`) of a corpus, sorted by id, each id once.

    Some distributions hold every file twice (RAVDESS on Kaggle): both in one list would put the same
    recording into training and test. Of speech, a warning counts what else lies there and is not read.

    Raises:
        DataError: the folder does not exist, does not have the corpus's layout, all its files are yet to be
            fetched by git-lfs, or the corpus has no such modality.
    """
    items = read_all(source, modality)
    if not items:
        raise left_out.nothing(source, modality)
    if modality == "speech":
        left_out.tell(source, items)
    return unique(left_out.without_pointers(source, items), str(source))


def read_all(source: Source, modality: str) -> list[Item]:
    """List items as `read` does, but with every copy, in no order, and maybe none.

    Raises:
        DataError: the folder does not exist, or the corpus has no such modality.
    """
    corpus = source.entry
    reader = corpus.readers.get(modality)
    if reader is None:
        able = [other.name for other in known_corpora() if modality in other.readers]
        raise DataError(f"corpus {source.name} has no {modality}; corpora that have: {', '.join(able)}")
    check_path(source)
    items = reader(_folder(source, corpus))
    for item in items:
        if item.corpus != corpus.name:
            raise DataError(f"the reader of corpus {corpus.name} returned an item of corpus {item.corpus!r}")
    return items


def read_visual(source: Source, frames: int) -> list[Item]:
    """List what a corpus has to look at, sorted by id: its images, and its videos of what is not there as images.

    Of a performance that several files show, `frames` images spread evenly are taken, or the first video.

    Raises:
        DataError: as `read`; the corpus has neither, or none is there.
    """
    corpus = source.entry
    able = [modality for modality in corpus.readers if modality != "speech"]
    if not able:
        have = [other.name for other in known_corpora() if other.read_faces or other.read_videos]
        raise DataError(f"corpus {source.name} has no faces; corpora that have: {', '.join(have)}")
    items_of = {modality: left_out.without_pointers(source, read_all(source, modality)) for modality in able}
    images = items_of.get("faces", [])
    there = {name for item in images for name in (recording_key(item.key), f"{item.corpus}:{item.clip}")}
    videos = [item for item in items_of.get("videos", []) if recording_key(item.key) not in there]
    items = unique([*images, *videos], str(source))
    if not items:
        raise left_out.nothing(source, " or ".join(able))
    if "speech" not in corpus.readers:
        left_out.tell_missing(source)
    clips: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        clips[item.clip or item.id].append(item)
    return [item for clip in clips.values() for item in _thinned(clip, frames)]


def check_path(source: Source) -> None:
    """Check that the path of a source is something that its reader could read.

    Raises:
        DataError: it is neither a folder nor a table that the corpus can be.
    """
    corpus = get_corpus(source.corpus)
    if source.path is None or corpus.default_folder or source.path.is_dir():
        return
    if not source.path.exists():
        raise DataError(f"{source}: no such folder{_or_table(corpus)}{_instead(source.path)}")
    if not (source.path.is_file() and source.path.suffix.lower() in corpus.tables):
        raise DataError(f"{source}: is not a folder{_or_table(corpus)}{_of_office(source.path, corpus)}")


def _or_table(corpus: Corpus) -> str:
    return f" or table ({', '.join(corpus.tables)})" if corpus.tables else ""


def _of_office(path: Path, corpus: Corpus) -> str:
    spreadsheet = corpus.tables and path.suffix.lower() in (".xlsx", ".xls", ".ods", ".numbers")
    return "; save the spreadsheet as CSV" if spreadsheet else ""


def _instead(path: Path) -> str:
    """Say where a path that is not there was looked for, and which one beside it may be meant."""
    if re.match(r"[A-Za-z]:[\\/]", str(path)) and os.name != "nt":
        return "; it is a path of a Windows machine"
    where = "" if path.is_absolute() else f"; looked for as {path.absolute()}"
    beside = [other.name for other in path.parent.glob("[!.]*")]
    near = get_close_matches(path.name, beside, n=1)
    return f"{where}; did you mean {path.parent / near[0]}?" if near else where


def _folder(source: Source, corpus: Corpus) -> Path:
    if source.folder is not None:
        return source.folder
    if corpus.default_folder is None:
        raise DataError(f"'{source}' names no folder; write {source.corpus}:PATH")
    return corpus.default_folder()


def _thinned(clip: list[Item], frames: int) -> list[Item]:
    """Take one video, or `frames` images at the middles of as many equal parts, of a clip's sorted files."""
    if clip[0].path.suffix.lower() in VIDEOS:
        return clip[:1]
    count = min(frames, len(clip))
    return [clip[int(middle)] for middle in middles(len(clip), count)]
