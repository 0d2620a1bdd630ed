"""Tiny synthetic corpora in the publishers' layouts, in the place of the `/data/...` of the documents."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import soundfile

from fdan_edge.data.corpora.synthetic.corpus import CLASSES
from fdan_edge.data.corpora.synthetic.faces import face
from fdan_edge.data.corpora.synthetic.voices import SAMPLE_RATE, voice

_SHARED = ("angry", "happy", "neutral", "sad")
_SPEAKERS = 4
_NAMED = re.compile(r"(?:(?P<corpus>\b[a-z0-9_]+):|(?<![\w.]))/data/(?P<name>[\w.-]+)")
_SYNTHETIC = re.compile(r"\bsynthetic:(?=[\s\"']|$)")


class Corpora:
    """Makes a corpus when a command first names it.

    Args:
        folder: where they go.
        ready: corpora that are there already, by name.
    """

    def __init__(self, folder: Path, ready: dict[str, Path]) -> None:
        self._folder, self._places = folder, dict(ready)

    def translate(self, text: str) -> str:
        """The text with every `corpus:/data/name`, `/data/name` and `synthetic:` replaced by what is here."""

        def replace(match: re.Match[str]) -> str:
            corpus = match["corpus"] or match["name"]
            place = str(self._place(corpus.lower(), match["name"]))
            return f"{match['corpus']}:{place}" if match["corpus"] else place

        text = _SYNTHETIC.sub(lambda _: f"synthetic:{self._place('synthetic', 'synthetic')}", text)
        return _NAMED.sub(replace, text)

    def _place(self, corpus: str, name: str) -> Path:
        # A folder of one's own may have any name; a published corpus is the same wherever it lies.
        key = corpus if (corpus in _LAYOUTS or corpus in self._places) and name not in _LAYOUTS else name
        if key not in self._places:
            place = self._folder / key
            _LAYOUTS.get(key, _LAYOUTS.get(corpus, _own))(place)
            self._places[key] = place
        return self._places[key]


def write_voice(path: Path, emotion: str, speaker: int = 0, index: int = 0) -> Path:
    """Write a synthetic voice; its folder is made too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, voice(emotion, speaker, index), SAMPLE_RATE)
    return path


def _emodb(root: Path) -> None:
    letters = {"angry": "W", "happy": "F", "neutral": "N", "sad": "T"}
    for speaker in range(_SPEAKERS):
        for emotion, letter in letters.items():
            write_voice(root / "wav" / f"{speaker + 3:02}a01{letter}a.wav", emotion, speaker)


def _own(root: Path) -> None:
    """A folder for each class, and a table beside them."""
    rows = []
    for emotion in _SHARED:
        for speaker in range(_SPEAKERS):
            path = write_voice(root / emotion / f"{speaker}.wav", emotion, speaker)
            rows.append((path.relative_to(root), emotion, f"p{speaker}"))
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "emotion", "speaker"), *rows])


def _later(root: Path) -> None:
    """Folders of recordings that came after those of `_own`."""
    for emotion in _SHARED:
        write_voice(root / emotion / "later.wav", emotion, 9)


def _unlabelled(root: Path) -> None:
    for index, emotion in enumerate(_SHARED * 2):
        write_voice(root / f"{index}.wav", emotion, index % 2 + 8, index)


def _synthetic(root: Path) -> None:
    for speaker in range(_SPEAKERS):
        for emotion in CLASSES:
            write_voice(root / "speech" / f"s{speaker:02}" / f"{emotion}-00.flac", emotion, speaker)
    for emotion in CLASSES:
        (root / "faces" / emotion).mkdir(parents=True)
        for index in range(2):
            face(emotion, index).save(root / "faces" / emotion / f"{index:03}.png")


def _emobox(root: Path) -> None:
    """EmoBox' lists of RAVDESS, in two folds of two of the four actors that the tests' RAVDESS has."""
    rows = [
        {"key": f"ravdess-{name}", "wav": f"downloads/ravdess/Actor_{name[-2:]}/{name}.wav", "emo": code}
        for actor in range(1, 5)
        for code in (f"{emotion:02}" for emotion in range(1, 9))
        for name in [f"03-01-{code}-01-01-01-{actor:02}"]
    ]
    for fold, tested in enumerate((("01", "02"), ("03", "04")), 1):
        folder = root / "data" / "ravdess" / f"fold_{fold}"
        folder.mkdir(parents=True)
        for part in ("train", "test"):
            lines = [json.dumps(row) for row in rows if (row["key"][-2:] in tested) == (part == "test")]
            (folder / f"ravdess_{part}_fold_{fold}.jsonl").write_text("\n".join(lines) + "\n")


def _subesco(root: Path) -> None:
    write_voice(root / "F_02_MONIKA_S_1_SAD_5.wav", "sad")


_LAYOUTS: dict[str, Callable[[Path], None]] = {
    "emodb": _emodb,
    "folder": _own,
    "later": _later,
    "unlabelled": _unlabelled,
    "recordings": _unlabelled,
    "synthetic": _synthetic,
    "emobox": _emobox,
    "subesco": _subesco,
}
