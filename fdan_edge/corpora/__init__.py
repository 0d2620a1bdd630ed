"""Corpora: readers that turn a publisher's layout into a list of labelled items."""

from fdan_edge.corpora.base import READERS, Item, Source, parse_source, read, recording, unique

__all__ = ["READERS", "Item", "Source", "parse_source", "read", "recording", "unique"]
