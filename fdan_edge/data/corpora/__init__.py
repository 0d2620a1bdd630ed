"""Corpora: readers that turn a publisher's layout into a list of labelled items."""

from fdan_edge.data.corpora.items import IMAGES, SOUNDS, VIDEOS, Item, files_below, recording_key, unique
from fdan_edge.data.corpora.reading import (
    Source,
    SourceLike,
    check_path,
    name_of,
    parse_source,
    parse_sources,
    read,
    read_all,
    read_visual,
)
from fdan_edge.data.corpora.registry import (
    Collection,
    Corpus,
    corpus_names,
    get_corpus,
    known_corpora,
    licence,
    register_corpus,
)

__all__ = [
    "IMAGES",
    "SOUNDS",
    "VIDEOS",
    "Collection",
    "Corpus",
    "Item",
    "Source",
    "SourceLike",
    "check_path",
    "corpus_names",
    "files_below",
    "get_corpus",
    "known_corpora",
    "licence",
    "name_of",
    "parse_source",
    "parse_sources",
    "read",
    "read_all",
    "read_visual",
    "recording_key",
    "register_corpus",
    "unique",
]
