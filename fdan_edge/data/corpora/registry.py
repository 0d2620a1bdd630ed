"""The corpora that `corpus:path` can name: one entry for each, beside the code that reads it.

An entry is looked for among what `register_corpus` was given, then among the readers of this package, then among
plugins: installed packages with an entry point in the group `fdan_edge.corpora`.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TypeAlias

from fdan_edge.data.corpora.items import Item
from fdan_edge.errors import DataError, one_line, unknown_choice

#: Group of the entry points by which an installed package adds corpora to the command line.
ENTRY_POINTS = "fdan_edge.corpora"
MODALITIES = ("speech", "faces", "videos")

#: Corpus -> module that holds its entry, `CORPUS`. A module is imported when its corpus is asked for.
_BUILT_IN = {
    "savee": "fdan_edge.data.corpora.savee",
    "meld": "fdan_edge.data.corpora.meld",
    "ravdess": "fdan_edge.data.corpora.ravdess",
    "emodb": "fdan_edge.data.corpora.emodb",
    "crema": "fdan_edge.data.corpora.crema",
    "enterface": "fdan_edge.data.corpora.enterface",
    "casia": "fdan_edge.data.corpora.casia",
    "tess": "fdan_edge.data.corpora.tess",
    "javased": "fdan_edge.data.corpora.javased",
    "nemo": "fdan_edge.data.corpora.nemo",
    "emovo": "fdan_edge.data.corpora.emovo",
    "esd": "fdan_edge.data.corpora.esd",
    "iemocap": "fdan_edge.data.corpora.iemocap",
    "msppodcast": "fdan_edge.data.corpora.msppodcast",
    "ased": "fdan_edge.data.corpora.ased",
    "urdu": "fdan_edge.data.corpora.urdu",
    "emobox": "fdan_edge.data.corpora.emobox",
    "fer2013": "fdan_edge.data.corpora.fer2013",
    "ck": "fdan_edge.data.corpora.ck",
    "folder": "fdan_edge.data.corpora.folder",
    "unlabelled": "fdan_edge.data.corpora.unlabelled",
    "synthetic": "fdan_edge.data.corpora.synthetic.corpus",
}
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")

#: Lists the items below a corpus's folder, in any order; an empty list where nothing is known.
Reader: TypeAlias = Callable[[Path], list[Item]]
#: Stands between a collection and which of its corpora is meant, as in `emobox#ravdess`.
MARK = "#"


@dataclass(frozen=True)
class Collection:
    """How a corpus that is several, each chosen as `corpus:path#dataset`, is opened.

    Args:
        datasets: lists those below a path.
        audio: finds where the sound of a dataset lies: path, dataset and the folder that the user named, or None.
        entry: makes the entry of one, of its name `corpus#dataset`. Its readers take the folder of the sound. The
            path of the collection is None where only the terms and the title are wanted.
    """

    datasets: Callable[[Path], list[str]]
    audio: Callable[[Path, str, Path | None], Path]
    entry: Callable[[str, Path | None], Corpus]


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """All that is known of one corpus: how to read it, what its classes are, and under which terms it is.

    Args:
        name: what stands before the colon of `corpus:path`, and in each of its items: lower case letters, digits,
            - and _.
        title: the publisher's name of it, with the paper.
        licence: its terms. Weights trained on it inherit them; they stand in the model card and in bundle.json.
        layout: which files lie below its path, for the message that says that none of them is there.
        origin: where it is to be had.
        speakers: how many speak, for people.
        emotions: the publisher's code or word -> the class of its items. Empty where folders or a table name them.
        read_speech: lists the recordings below its path.
        read_faces: lists the images of faces.
        read_videos: lists the videos.
        tables: suffixes of files, such as .csv, that its path may name in place of a folder.
        skip_reason: says why a file of the corpus, by its path below the folder, is no item.
        missing: lists what tables below its path name and is not there, a line each.
        file_names: fits the names of its files, without suffixes, and those of no other corpus: by it the corpus
            is suggested where its folder is given under another one's name.
        official_split: when its recordings have the publisher's train, val and test: None: never; "": always;
            or a condition such as "where it has folders train, val and test".
        labelled: whether its items have classes: without them it can only be adapted to.
        user_classes: whether its classes are the user's own: boredom is then a class like any other.
        default_folder: where it lies when no path is given; only for a corpus that its reader makes itself.
        collection: says that it is several corpora with lists of their own, as EmoBox.

    Raises:
        DataError: the name or the licence cannot be used, or the corpus has no reader.
    """

    name: str
    title: str
    licence: str
    layout: str
    origin: str = ""
    speakers: str = ""
    emotions: Mapping[str, str] = field(default_factory=dict)
    read_speech: Reader | None = None
    read_faces: Reader | None = None
    read_videos: Reader | None = None
    tables: tuple[str, ...] = ()
    skip_reason: Callable[[str], str] | None = None
    missing: Callable[[Path], list[str]] | None = None
    file_names: re.Pattern[str] | None = None
    official_split: str | None = None
    labelled: bool = True
    user_classes: bool = False
    default_folder: Callable[[], Path] | None = None
    collection: Collection | None = None

    def __post_init__(self) -> None:
        if not all(_NAME.fullmatch(part) for part in self.name.split(MARK, 1)):
            raise DataError(f"corpus name {self.name!r} is not of lower case letters, digits, - and _ alone")
        if not self.licence.strip():
            raise DataError(f"corpus {self.name} has no licence; 'your own' is one")
        if not self.readers:
            raise DataError(f"corpus {self.name} has none of read_speech, read_faces, read_videos")

    @property
    def readers(self) -> dict[str, Reader]:
        """The readers that the corpus has, by modality: speech, faces, videos."""
        readers = zip(MODALITIES, (self.read_speech, self.read_faces, self.read_videos), strict=True)
        return {modality: reader for modality, reader in readers if reader}

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that the publisher has, sorted; empty where folders or a table name them."""
        return tuple(sorted(set(self.emotions.values())))


_registered: dict[str, Corpus] = {}


def register_corpus(corpus: Corpus) -> None:
    """Make a corpus of one's own known in this process: `--speech NAME:PATH`, and everything that takes sources.

    One that was registered by the same name before is replaced. The command line, and the processes that torchrun
    starts, know a corpus by an entry point instead, in the pyproject.toml of an installed package:

        [project.entry-points."fdan_edge.corpora"]
        mine = "my_package.my_module:CORPUS"

    Raises:
        DataError: a corpus of fdan-edge has the name already.
    """
    if corpus.name in _BUILT_IN:
        raise DataError(f"corpus {corpus.name} is one of fdan-edge's own; take another name")
    _registered[corpus.name] = corpus


def get_corpus(name: str) -> Corpus:
    """Return the entry of a corpus: a registered one, one of fdan-edge's own, or that of a plugin.

    Raises:
        DataError: no corpus has this name, or the plugin that has it cannot be loaded.
    """
    if name in _registered:
        return _registered[name]
    if MARK in name:
        collection, _, dataset = name.partition(MARK)
        if of := get_corpus(collection).collection:
            return of.entry(dataset, None)
    if name in _BUILT_IN:
        corpus: Corpus = importlib.import_module(_BUILT_IN[name]).CORPUS
        return corpus
    plugins = _plugins()
    if name not in plugins:
        raise DataError(unknown_choice("corpus", name, corpus_names()))
    register_corpus(_load(plugins[name]))
    return _registered[name]


def corpus_names() -> list[str]:
    """List the names of all corpora, those of plugins included."""
    return list(dict.fromkeys([*_BUILT_IN, *_registered, *_plugins()]))


def known_corpora() -> list[Corpus]:
    """Return the entries of all corpora but those of plugins that nobody has asked for yet."""
    return [get_corpus(name) for name in (*_BUILT_IN, *_registered)]


def licence(name: str) -> str:
    """Return the terms of a corpus; `see there` where no reader of that name is installed."""
    return get_corpus(name).licence if name.partition(MARK)[0] in corpus_names() else "see there"


def _plugins() -> dict[str, EntryPoint]:
    return {plugin.name: plugin for plugin in entry_points(group=ENTRY_POINTS)}


def _load(plugin: EntryPoint) -> Corpus:
    """Import a plugin's entry; DataError where that fails or gives something else."""
    where = f"corpus {plugin.name}: its plugin {plugin.value}"
    try:
        corpus = plugin.load()
    except Exception as error:  # whatever a module of the user's may raise
        raise DataError(f"{where} cannot be loaded: {one_line(error)}") from error
    if not isinstance(corpus, Corpus):
        raise DataError(f"{where} is no fdan_edge.data.corpora.Corpus")
    if corpus.name != plugin.name:
        raise DataError(f"{where} calls itself {corpus.name}; give the entry point that name")
    return corpus
