"""The class names used everywhere, and how corpora's own words map to them."""

from __future__ import annotations

from fdan_edge.data.similar_names import nearest
from fdan_edge.errors import DataError, unknown_choice

#: Ekman's six plus neutral (the papers' seven), RAVDESS's calm, EMO-DB's boredom and CK+'s contempt.
EMOTIONS = (
    "angry",
    "boredom",
    "calm",
    "contempt",
    "disgust",
    "fear",
    "happy",
    "neutral",
    "sad",
    "surprise",
)

#: Other words -> the emotion that they mean.
ALIASES = {
    "anger": "angry",
    "ang": "angry",
    "angriness": "angry",
    "mad": "angry",
    "bored": "boredom",
    "calmness": "calm",
    "contemptuous": "contempt",
    "disgusted": "disgust",
    "dis": "disgust",
    "fearful": "fear",
    "afraid": "fear",
    "anxiety": "fear",
    "anxious": "fear",
    "fea": "fear",
    "scared": "fear",
    "happiness": "happy",
    "hap": "happy",
    "joy": "happy",
    "joyful": "happy",
    "neu": "neutral",
    "normal": "neutral",
    "sadness": "sad",
    "suprise": "surprise",  # a common slip in the names of folders
    "sur": "surprise",
    "surprised": "surprise",
}


def find_emotion(word: str) -> str | None:
    """Return the emotion that a word means, in upper or lower case; None where it means none of EMOTIONS."""
    word = word.strip().lower()
    word = ALIASES.get(word, word)
    return word if word in EMOTIONS else None


def canonical_emotion(word: str) -> str:
    """Return the emotion that a word means, in upper or lower case.

    Raises:
        DataError: the word is not a known emotion.
    """
    emotion = find_emotion(word)
    if emotion is None:
        raise DataError(unknown_choice("emotion", word, EMOTIONS))
    return emotion


def nearest_emotion(word: str) -> str | None:
    """Return the emotion that a word in lower case is likely a slip for, as angrry for angry; None: for none."""
    long_aliases = [alias for alias in ALIASES if len(alias) > 3]  # three letters are near to too many words
    near = None if find_emotion(word) else nearest(word, (*EMOTIONS, *long_aliases))
    return near and find_emotion(near)


def training_class(emotion: str, *, calm_as_neutral: bool) -> str:
    """Return the class that an item's emotion is trained as; a user's own classes stay what they are."""
    return "neutral" if calm_as_neutral and emotion == "calm" else emotion
