"""Recordings without labels: any folder of sound files, for a training to adapt to."""

from __future__ import annotations

from pathlib import Path

from fdan_edge.data.corpora import SOUNDS, VIDEOS, Corpus, Item, files_below, recording_key


def read_speech(root: Path) -> list[Item]:
    """List every recording below a folder, and the videos beside which no sound file of that name lies.

    None has a class or a speaker.
    """
    sounds = files_below(root, SOUNDS)
    extracted = {recording_key(name) for name, _ in sounds}
    files = sounds + [file for file in files_below(root, VIDEOS) if recording_key(file[0]) not in extracted]
    # With the folder's name before it, so that two folders are not taken for one.
    return [Item("unlabelled", f"{root.resolve().name}/{name}", path, "") for name, path in files]


CORPUS = Corpus(
    name="unlabelled",
    title="recordings without labels",
    licence="your own",
    layout="sound files and videos, in any folders",
    origin="you",
    read_speech=read_speech,
    labelled=False,
)
