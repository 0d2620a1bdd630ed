"""eNTERFACE'05 (Martin et al. 2006): videos of about 43 speakers, 6 emotions, 5 sentences of English each."""

from __future__ import annotations

import re
from pathlib import Path

from fdan_edge.data.corpora import SOUNDS, VIDEOS, Corpus, Item, files_below

_FOLDERS = re.compile(
    r"subject[ _-]?(\d+)/(anger|disgust|fear|happiness|sadness|surprise)(?:/sentence[ _-]?(\d))?/[^/]+",
    re.IGNORECASE,
)
_NAME = re.compile(r"s[_-]?(\d+)_(an|di|fe|ha|sa|su)_(\d)", re.IGNORECASE)
_WORDS = {
    "an": "anger",
    "di": "disgust",
    "fe": "fear",
    "ha": "happiness",
    "sa": "sadness",
    "su": "surprise",
}
_EMOTIONS = {
    "anger": "angry",
    "disgust": "disgust",
    "fear": "fear",
    "happiness": "happy",
    "sadness": "sad",
    "surprise": "surprise",
}


def read_speech(root: Path) -> list[Item]:
    """List the videos, since the publisher supplies no sound files; one extracted from a video takes its place."""
    sounds = _items(root, SOUNDS)
    extracted = {(item.speaker, item.text) for item in sounds}  # the names of some files are wrong
    return sounds + [item for item in _items(root, VIDEOS) if (item.speaker, item.text) not in extracted]


def read_videos(root: Path) -> list[Item]:
    """List the publisher's videos."""
    return _items(root, VIDEOS)


def _items(root: Path, suffixes: tuple[str, ...]) -> list[Item]:
    items = []
    for _, path in files_below(root, suffixes):
        if fields := _parse(path):
            speaker, word, sentence = fields
            name = f"subject {speaker}/{word}/sentence {sentence}/{path.name}"
            # Each emotion has five sentences of its own.
            items.append(Item("enterface", name, path, _EMOTIONS[word], speaker, f"{word}{sentence}"))
    return items


def _parse(path: Path) -> tuple[str, str, str] | None:
    """Read speaker, emotion word and sentence: of the folders, since some file names are wrong, else of the name.

    Subject 6 has no sentence folders; there the name ends with the sentence.
    """
    folders, name = _FOLDERS.search(path.absolute().as_posix()), _NAME.fullmatch(path.stem)
    if folders:
        sentence = folders[3] or (re.findall(r"\d", path.stem) or ["0"])[-1]
        return str(int(folders[1])), folders[2].lower(), sentence
    return (str(int(name[1])), _WORDS[name[2].lower()], name[3]) if name else None


CORPUS = Corpus(
    name="enterface",
    title="eNTERFACE'05 (Martin et al. 2006)",
    licence="research use",
    layout="subject N/EMOTION/sentence M/*.avi; sound may be extracted to .wav beside them or as sN_EE_M.wav",
    origin="enterface.net/enterface05",
    speakers="42 to 44",
    emotions=_EMOTIONS,
    read_speech=read_speech,
    read_videos=read_videos,
    file_names=_NAME,
)
