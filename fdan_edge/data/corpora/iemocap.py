"""IEMOCAP (Busso et al. 2008): 10 actors in five sessions of two, scripted and improvised dialogues, English.

The publisher's tree, as EmoBox' preparation reads it (preprocess/scripts/iemocap.py of github.com/emo-box/EmoBox):
Session1/sentences/wav/DIALOGUE/DIALOGUE_F000.wav, and for each dialogue dialog/EmoEvaluation/DIALOGUE.txt, with
lines such as `[6.2901 - 8.2357]<TAB>Ses01F_impro01_F000<TAB>neu<TAB>[2.5000, 2.5000, 2.5000]`.
"""

from __future__ import annotations

import re
from pathlib import Path

from fdan_edge.data.corpora import SOUNDS, Corpus, Item, files_below
from fdan_edge.errors import DataError

#: Session, who wears the markers, the dialogue, who speaks.
_NAME = re.compile(r"Ses(0[1-5])[FM]_(?:impro|script)\w+_([FM])[A-Z]*\d{3}")
_LINE = re.compile(r"^\[[\d. ]+-[\d. ]+\]\t(\w+)\t(\w+)\t\[", re.MULTILINE)
_TURN = re.compile(r"^(Ses\w+) \[[\d. -]+\]: *(.*)$", re.MULTILINE)
_EMOTIONS = {
    "ang": "angry",
    "hap": "happy",
    "exc": "happy",  # excited: in the literature's four classes, and EmoBox', it counts as happy
    "sad": "sad",
    "neu": "neutral",
    "fru": "frustrated",
    "sur": "surprise",
    "fea": "fear",
    "dis": "disgust",
}
_LABELS, _WORDS = "EmoEvaluation", "transcriptions"


def read_speech(root: Path) -> list[Item]:
    """List the utterances on whose emotion most listeners agreed (not oth and xxx).

    Raises:
        DataError: there are utterances and no file of dialog/EmoEvaluation, or one cannot be read.
    """
    files = [path for _, path in files_below(root, SOUNDS) if _NAME.fullmatch(path.stem)]
    labels = _read(root, _LABELS, _LINE) if files else {}
    if files and not labels:
        raise DataError(f"{root}: holds utterances but none of the files dialog/EmoEvaluation/*.txt")
    words, items = _read(root, _WORDS, _TURN) if files else {}, []
    for path in files:
        match, code = _NAME.fullmatch(path.stem), labels.get(path.stem, "")
        if match and code in _EMOTIONS:
            speaker, text = match[1] + match[2], words.get(path.stem)
            items.append(Item("iemocap", path.name, path, _EMOTIONS[code], speaker=speaker, text=text))
    return items


def _read(root: Path, folder: str, line: re.Pattern[str]) -> dict[str, str]:
    """Read utterance -> what the lines of the text files in a folder of this name say of it."""
    told: dict[str, str] = {}
    for _, path in files_below(root, (".txt",)):
        if path.parent.name == folder:
            try:
                told.update(line.findall(path.read_text(encoding="latin-1").replace("\r", "")))
            except OSError as error:
                raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    return told


def skip_reason(name: str) -> str:
    """Say why a file below the corpus's folder is no item."""
    if "dialog" in Path(name).parts:
        return "a whole dialogue: its utterances are in sentences/wav"
    if not _NAME.fullmatch(Path(name).stem):
        return "its name is not of the form Ses01F_impro01_F000"
    return "its emotion is other or not agreed upon, or no line of EmoEvaluation is of it"


CORPUS = Corpus(
    name="iemocap",
    title="IEMOCAP (Busso et al. 2008)",
    licence="by agreement, research use",
    layout="Session1/sentences/wav/*/Ses01F_impro01_F000.wav, and Session1/dialog/EmoEvaluation/*.txt",
    origin="sail.usc.edu/iemocap",
    speakers="10",
    emotions=_EMOTIONS,
    read_speech=read_speech,
    skip_reason=skip_reason,
    file_names=_NAME,
)
