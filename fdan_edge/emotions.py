"""The class names used everywhere, and how corpora's own words map to them."""

from __future__ import annotations

from fdan_edge.errors import DataError, choose

#: Ekman's six plus neutral (the papers' seven) and RAVDESS's calm.
EMOTIONS = ("angry", "calm", "disgust", "fear", "happy", "neutral", "sad", "surprise")

_ALIASES = {
    "anger": "angry",
    "disgusted": "disgust",
    "fearful": "fear",
    "anxiety": "fear",
    "happiness": "happy",
    "joy": "happy",
    "sadness": "sad",
    "surprised": "surprise",
}


def canonical(name: str, *, calm_as_neutral: bool = False) -> str:
    """The canonical name of an emotion word, upper or lower case.

    Raises:
        DataError: the word is not a known emotion.
    """
    word = name.strip().lower()
    word = _ALIASES.get(word, word)
    if word not in EMOTIONS:
        raise DataError(choose("emotion", name, EMOTIONS))
    return "neutral" if calm_as_neutral and word == "calm" else word
