"""Recordings without labels: any folder of sound files, for a training to adapt to."""

from __future__ import annotations

from pathlib import Path

from fdan_edge.data.corpora import SOUNDS, VIDEOS, Corpus, Item, files_below


def read_speech(root: Path) -> list[Item]:
    """List every recording below a folder, or else the videos; none has a class or a speaker."""
    files = files_below(root, SOUNDS) or files_below(root, VIDEOS)
    # With the folder's name before it, so that two folders are not taken for one.
    return [Item("unlabelled", f"{root.resolve().name}/{name}", path, "") for name, path in files]


CORPUS = Corpus(
    name="unlabelled",
    title="recordings without labels",
    licence="your own",
    layout="sound files, or else videos, in any folders",
    origin="you",
    read_speech=read_speech,
    labelled=False,
)
