"""The Emotional Speech Database, ESD (Zhou et al. 2021): 10 English and 10 Mandarin speakers, 5 emotions.

Layout as in EmoBox' preparation (preprocess/scripts/esd.py of github.com/emo-box/EmoBox), that is
0011/Angry/0011_000351.wav; older copies have folders evaluation, test and train below those of the emotions. The
publisher numbers the 350 sentences of a language through the five emotions, so that 000001 and 000351 are the same
sentence.
"""

from __future__ import annotations

import re
from pathlib import Path

from fdan_edge.data.corpora import SOUNDS, Corpus, Item, files_below

_NAME = re.compile(r"(00[01]\d|0020)_(\d{6})")
_EMOTIONS = {"neutral": "neutral", "angry": "angry", "happy": "happy", "sad": "sad", "surprise": "surprise"}
_PARTS = {"train": "train", "evaluation": "val", "test": "test"}
_SENTENCES = 350  # of a language
_MANDARIN = 10  # the first speakers


def read_speech(root: Path) -> list[Item]:
    """List the recordings in folders named as an emotion; their numbers give the sentence."""
    items = []
    for below, path in files_below(root, SOUNDS):
        match, folders = _NAME.fullmatch(path.stem), [name.lower() for name in Path(below).parts[:-1]]
        emotion = next((_EMOTIONS[name] for name in reversed(folders) if name in _EMOTIONS), None)
        if match and emotion:
            language = "zh" if int(match[1]) <= _MANDARIN else "en"
            text = f"{language}-{(int(match[2]) - 1) % _SENTENCES + 1:03}"
            part = next((_PARTS[name] for name in reversed(folders) if name in _PARTS), None)
            items.append(Item("esd", path.name, path, emotion, speaker=match[1], text=text, split=part))
    return items


def skip_reason(name: str) -> str:
    """Say why a file below the corpus's folder is no item."""
    if not _NAME.fullmatch(Path(name).stem):
        return "its name is not of the form 0011_000351.wav"
    return f"lies in no folder of an emotion: {', '.join(word.capitalize() for word in _EMOTIONS)}"


CORPUS = Corpus(
    name="esd",
    title="ESD, the Emotional Speech Database (Zhou et al. 2021)",
    licence="research use, by agreement",
    layout="0011/Angry/0011_000351.wav: speaker, emotion, number; or 0011/Angry/{train,evaluation,test}/*.wav",
    origin="hltsingapore.github.io/ESD",
    speakers="20",
    emotions=_EMOTIONS,
    read_speech=read_speech,
    skip_reason=skip_reason,
    file_names=_NAME,
    official_split="where it has folders train, evaluation and test",
)
