"""CK+, the extended Cohn-Kanade faces (Lucey et al. 2010): 123 people, from neutral to the peak of an emotion."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from fdan_edge.data.corpora import IMAGES, Corpus, Item, files_below, pixels, tables
from fdan_edge.data.labels import find_emotion
from fdan_edge.errors import DataError, unknown_choice

PEAK_FRAMES = 3  # at the end of a sequence, which its label is of
_FRAME = re.compile(r"(S\d{3})_(\d{3})_(\d{8})")
_LABEL = re.compile(r"(S\d{3})_(\d{3})_\d{8}_emotion")
_EMOTIONS = ("neutral", "angry", "contempt", "disgust", "fear", "happy", "sad", "surprise")

_Sequence = tuple[str, str]  # subject and number


def read_faces(root: Path) -> list[Item]:
    """List the last three frames of each labelled sequence with its label, and the first as neutral.

    Contempt is a class of its own: speech that does not have it leaves its faces out of training.

    Raises:
        DataError: a label file holds no known number, or the csv is damaged.
    """
    if root.is_file():
        return pixels.read_table("ck", root)
    images = files_below(root, IMAGES)
    sorted_by_class = [
        _kaggle(name, path, emotion) for name, path in images if (emotion := find_emotion(path.parent.name))
    ]
    table = None if images else pixels.find_table(root)
    return pixels.read_table("ck", table) if table else sorted_by_class or _of_sequences(root, images)


def _kaggle(name: str, path: Path, emotion: str) -> Item:
    """Make an item of a file of Kaggle's CK+48: it has the publisher's name, and so the speaker's."""
    match = _FRAME.fullmatch(path.stem)
    return Item("ck", f"{emotion}/{Path(name).name}", path, emotion, speaker=match[1] if match else None)


def _of_sequences(root: Path, images: list[tuple[str, Path]]) -> list[Item]:
    labels = _labels(root)
    frames: dict[_Sequence, dict[str, Path]] = defaultdict(dict)
    for _, path in images:
        match = _FRAME.fullmatch(path.stem)
        if match and (match[1], match[2]) in labels:
            frames[match[1], match[2]][path.stem] = path
    return [item for sequence, named in frames.items() for item in _labelled(sequence, named, labels[sequence])]


def _labelled(sequence: _Sequence, named: dict[str, Path], emotion: str) -> list[Item]:
    """Make the items of one sequence; one that is too short to begin in neutral gives only peaks."""
    ordered = [named[name] for name in sorted(named)]
    chosen = [(path, emotion) for path in ordered[-PEAK_FRAMES:]]
    if len(ordered) > PEAK_FRAMES:
        chosen.append((ordered[0], "neutral"))
    subject, number = sequence
    return [Item("ck", f"{subject}/{number}/{p.name}", p, word, speaker=subject) for p, word in chosen]


def _labels(root: Path) -> dict[_Sequence, str]:
    """Read the emotion of each sequence that has one."""
    labels = {}
    for _, path in files_below(root, (".txt",)):
        match = _LABEL.fullmatch(path.stem)
        if match:
            labels[match[1], match[2]] = _emotion(path)
    return labels


def _emotion(path: Path) -> str:
    """Read the emotion in a label file, which holds one number such as 3.0000000e+00."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace").strip()
        return _EMOTIONS[("0", "1", "2", "3", "4", "5", "6", "7").index(f"{float(text):g}")]
    except ValueError:
        numbers = tuple(str(number) for number in range(len(_EMOTIONS)))
        raise DataError(f"{path}: {unknown_choice('emotion number', text, numbers)}") from None


def missing(root: Path) -> list[str]:
    """List the label files of whose sequences there is no image."""
    if root.is_file():
        return []
    frames = (_FRAME.fullmatch(path.stem) for _, path in files_below(root, IMAGES))
    there = {(match[1], match[2]) for match in frames if match}
    labels = (match for _, path in files_below(root, (".txt",)) if (match := _LABEL.fullmatch(path.stem)))
    return [f"{match[0]}.txt: no image of it" for match in labels if (match[1], match[2]) not in there]


def skip_reason(name: str) -> str:
    """Say why a file below the corpus's folder is no item."""
    if _FRAME.fullmatch(Path(name).stem):
        return "of a sequence without a label, or between its first and its last three frames"
    return "its name is not of the form SNNN_NNN_NNNNNNNN.png, or its folder is not an emotion"


CORPUS = Corpus(
    name="ck",
    title="CK+, the extended Cohn-Kanade faces (Lucey et al. 2010)",
    licence="by agreement with its publisher, non-commercial research",
    layout="cohn-kanade-images/S005/001/*.png with Emotion/S005/001/*_emotion.txt, or Kaggle's CLASS/*.png, "
    "or a csv with the columns emotion, pixels",
    origin="Affect Analysis Group, University of Pittsburgh, jeffcohn.net/Resources",
    speakers="123",
    emotions={str(number): name for number, name in enumerate(_EMOTIONS)},
    read_faces=read_faces,
    tables=tables.TABLES,
    skip_reason=skip_reason,
    missing=missing,
    file_names=_FRAME,
)
