"""Corpora on the command lines of benchmarks."""

from __future__ import annotations

from argparse import ArgumentTypeError

from fdan_edge.data.corpora import get_corpus, parse_source
from fdan_edge.errors import FdanEdgeError


def absolute_source(words: str) -> str:
    """`corpus:path` with an absolute path; a `type` of argparse."""
    try:
        source = parse_source(words)
    except FdanEdgeError as error:
        raise ArgumentTypeError(str(error)) from None
    makes_itself = get_corpus(source.corpus).default_folder
    if source.path and not makes_itself and not source.path.exists():
        raise ArgumentTypeError(f"{words}: no such folder")
    return f"{source.corpus}:{source.path.resolve() if source.path else ''}"
