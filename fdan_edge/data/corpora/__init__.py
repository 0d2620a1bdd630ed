"""Corpora: readers that turn a publisher's layout into a list of labelled items."""

from fdan_edge.data.corpora.registry import READERS, Item, Source, parse_source, read, recording, unique
from fdan_edge.data.corpora.visual import read_visual

__all__ = ["READERS", "Item", "Source", "parse_source", "read", "read_visual", "recording", "unique"]
