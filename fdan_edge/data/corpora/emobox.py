"""EmoBox (Ma et al. 2024): lists of recordings and published folds of 32 corpora, read as `emobox:PATH#DATASET`.

The format is that of github.com/emo-box/EmoBox: data/DATASET/DATASET.jsonl with a table for each recording (key,
wav, emo ...), data/DATASET/fold_K/DATASET_{train,valid,test}_fold_K.jsonl, and label_map.json, which renames
emotions. Some folders hold older lists too (emodb_test_fold1.jsonl, with other names of the columns): they are not
read, as EmoBox' own EmoDataset.py does not read them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fdan_edge.data.corpora.items import SOUNDS, VIDEOS, Item, files_below
from fdan_edge.data.corpora.registry import Collection, Corpus, corpus_names, get_corpus
from fdan_edge.data.labels import find_emotion
from fdan_edge.errors import DataError, one_line, printable, shown
from fdan_edge.utils.small_files import MOST_OF_A_LIST, read_json, read_json_lines

_PARTS = {"train": "train", "valid": "val", "test": "test"}
_FOLD = re.compile(r"fold_([1-9]\d*)")
#: EmoBox' datasets that have another name here.
_OWN_NAMES = {"cremad": "crema"}
#: EmoBox' names of emotions that have another name here; one that is not known here is a class of its own.
_CLASSES = {"bored": "boredom", "fearful": "fear", "surprised": "surprise"}
_NO_CLASS = ("no-agreement", "other", "unknown")
#: Which of several formats of a recording is used: what loses no sound first, a video last.
_LAST = {".wav": 0, ".flac": 0, **dict.fromkeys(VIDEOS, 2)}
_WHERE = ("", "data", "EmoBox/data")  # below the path that the user names


@dataclass
class _Row:
    """What EmoBox says of one recording."""

    wav: str  # its path below EmoBox' own folder
    emotion: str  # EmoBox' word, before label_map.json
    folds: dict[int, str]  # fold -> train, val or test


def datasets(path: Path) -> list[str]:
    """List the datasets below EmoBox' folder, or the folder that holds it."""
    return sorted(folder.name for folder in _base(path).glob("*/") if _has_lists(folder))


def _has_lists(folder: Path) -> bool:
    return (folder / f"{folder.name}.jsonl").is_file() or (folder / "fold_1").is_dir()


def audio(path: Path, dataset: str, given: Path | None) -> Path:
    """Find the folder with the sound of a dataset.

    Args:
        path: EmoBox' folder.
        dataset: EmoBox' name of it.
        given: what the user named; None: EmoBox' own place, downloads/DATASET beside the folder data.

    Raises:
        DataError: it is not there.
    """
    if given is not None:
        if not given.is_dir():
            raise DataError(f"emobox:{path}#{dataset}={given}: no folder {given}, where its sound would lie")
        return given
    base = _base(path)
    for folder in (base.parent, base, path):
        if (own := folder / "downloads" / dataset).is_dir():
            return own
    raise DataError(
        f"emobox:{path}#{dataset}: no folder downloads/{dataset} beside {base.name}; name where the sound lies: "
        f"emobox:{path}#{dataset}=FOLDER"
    )


def entry(dataset: str, path: Path | None) -> Corpus:
    """Make the entry of one dataset; its readers take the folder of its sound."""
    own = _own(dataset)
    return Corpus(
        name=f"emobox#{dataset}",
        title=own.title if own else f"{dataset}, as listed by EmoBox (Ma et al. 2024)",
        licence=own.licence if own else "the publisher's: see there",
        layout=f"the files that EmoBox' list of {dataset} names, in folders of the same names or any others",
        origin="github.com/emo-box/EmoBox",
        read_speech=partial(_read, dataset, path),
        missing=partial(_missing, dataset, path),
        skip_reason=lambda _: f"not in EmoBox' list of {dataset}, or of no class there",
        official_split="",
    )


def _base(path: Path) -> Path:
    """Find the folder that holds a folder for each dataset; the path itself where there is none."""
    places = [path / below for below in _WHERE]
    return next((place for place in places if any(map(_has_lists, place.glob("*/")))), path)


def _own(dataset: str) -> Corpus | None:
    """Return the entry of the corpus itself, where there is a reader of it."""
    name = _OWN_NAMES.get(dataset, dataset)
    return get_corpus(name) if name in corpus_names() and get_corpus(name).read_speech else None


def _read(dataset: str, path: Path | None, root: Path) -> list[Item]:
    """List the recordings of a dataset whose sound is below `root`.

    EmoBox' lists name neither speakers nor sentences: they are those of the corpus's own reader, if there is one.

    Raises:
        DataError: a list is damaged, or no recording of it is there.
    """
    folder = _folder(dataset, path)
    rows, places = _rows(folder, dataset), _Places(root)
    class_of = _classes_of(folder, dataset)
    count, known = max((fold for row in rows.values() for fold in row.folds), default=0), _known(dataset, root)
    items, lost = [], ""
    for key, row in rows.items():
        emotion, place = class_of(row.emotion), places.find(row.wav)
        if place is None:
            lost = lost or row.wav
        elif emotion:
            speaker, text = known.get(place, (None, None))
            folds = tuple(row.folds.get(fold, "") for fold in range(1, count + 1))
            name = f"{key}{place.suffix.lower()}"
            items.append(Item(f"emobox#{dataset}", name, place, emotion, speaker, text, folds=folds))
    if not items and lost:
        first = printable(lost)
        raise DataError(f"{root}: none of the {len(rows)} recordings of EmoBox' {dataset} is there, e.g. {first}")
    return items


def _missing(dataset: str, path: Path | None, root: Path) -> list[str]:
    """List the recordings whose sound is not there, or which several files could be."""
    places = _Places(root)
    rows = _rows(_folder(dataset, path), dataset)
    return [f"{dataset}.jsonl: {row.wav}" for row in rows.values() if places.find(row.wav) is None]


def _folder(dataset: str, path: Path | None) -> Path:
    assert path is not None, "the entry of a dataset without a path reads nothing"
    return _base(path) / dataset


def _known(dataset: str, root: Path) -> dict[Path, tuple[str | None, str | None]]:
    """Return speaker and sentence of the files that the corpus's own reader knows."""
    own = _own(dataset)
    try:
        items = own.read_speech(root) if own and own.read_speech else []
    except DataError:  # EmoBox' list does without the publisher's tables
        items = []
    return {item.path: (item.speaker, item.text) for item in items}


def _rows(folder: Path, dataset: str) -> dict[str, _Row]:
    """Read the lists of a dataset, by the recordings' keys.

    Raises:
        DataError: a list is missing or damaged, or its recordings are parts of longer files.
    """
    rows: dict[str, _Row] = {}
    whole = folder / f"{dataset}.jsonl"
    folds = sorted(int(match[1]) for below in folder.glob("fold_*/") if (match := _FOLD.fullmatch(below.name)))
    if not whole.is_file() and not folds:
        raise DataError(f"{folder}: holds neither {whole.name} nor folders fold_1, fold_2, ...")
    if whole.is_file():
        _add(rows, whole, None, "")
    if gone := set(range(1, max(folds, default=0))) - {*folds}:
        raise DataError(f"{folder}: fold_{min(gone)} is not there, but fold_{folds[-1]} is")
    for fold in folds:
        for word, part in _PARTS.items():
            file = folder / f"fold_{fold}" / f"{dataset}_{word}_fold_{fold}.jsonl"
            if word != "valid" or file.is_file():
                _add(rows, file, fold, part)
    return rows


def _add(rows: dict[str, _Row], file: Path, fold: int | None, part: str) -> None:
    """Add what a list says."""
    try:
        for number, values in enumerate(read_json_lines(file, MOST_OF_A_LIST), 1):
            key, wav, word = (values.get(name) for name in ("key", "wav", "emo"))
            if not (isinstance(key, str) and isinstance(wav, str) and isinstance(word, str)):
                raise ValueError(f"line {number}: {shown(values)} has no texts key, wav and emo")
            if values.get("start_time") is not None:
                raise ValueError(f"line {number}: a part of a longer file (start_time), which is not cut here")
            row = rows.setdefault(key, _Row(wav, word, {}))
            if fold is not None:
                row.folds[fold] = part
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{file}: not a list of EmoBox: {one_line(error)}") from None


def _classes_of(folder: Path, dataset: str) -> Callable[[str], str]:
    """Make what gives the class of a word of EmoBox' lists; "" for what is none, such as no agreement.

    Words that label_map.json does not have are codes of the corpus's own reader, or mean what they mean here.

    Raises:
        DataError: label_map.json is damaged.
    """
    file, own = folder / "label_map.json", _own(dataset)
    try:
        named = read_json(file) if file.is_file() else {}
        if not isinstance(named, dict) or not all(isinstance(name, str) for name in named.values()):
            raise ValueError("not a table of names")
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be used: {one_line(error)}") from None
    names = {word.lower(): _class(name) for word, name in named.items()}  # emodb's has Neutral for its neutral
    codes = {code.lower(): emotion for code, emotion in own.emotions.items()} if own else {}

    def class_of(word: str) -> str:
        word = word.lower()
        return names[word] if word in names else codes.get(word) or find_emotion(word) or _class(word)

    return class_of


def _class(name: str) -> str:
    """Return the class that EmoBox' name stands for; "" for what is none."""
    word = name.strip().lower()
    if word in _NO_CLASS:
        return ""
    return _CLASSES.get(word, word)


class _Places:
    """Finds the files that EmoBox names by other paths, in any of the formats of sound or video."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._by_name: dict[str, list[tuple[list[str], Path]]] = defaultdict(list)
        for below, path in files_below(root, (*SOUNDS, *VIDEOS)):
            self._by_name[path.stem.lower()].append((below.lower().split("/")[:-1][::-1], path))

    def find(self, wav: str) -> Path | None:
        """Return the file of this name whose folders are most alike; None where there is none, or one of several.

        Several files with as many folders alike are copies if their folder is the same or they are as large.
        """
        name = Path(wav)
        folders = [part.lower() for part in reversed(name.parts[:-1])]
        places = self._by_name.get(name.stem.lower(), [])
        most = max((_alike(folders, own) for own, _ in places), default=0)
        best = [path for own, path in places if _alike(folders, own) == most]
        if not best:
            return None
        folders_of_best, sizes = {path.parent for path in best}, {path.stat().st_size for path in best}
        if not most and len(folders_of_best) > 1 and len(sizes) > 1:
            return None
        return min(best, key=lambda path: (_LAST.get(path.suffix.lower(), 1), path))


def _alike(folders: list[str], own: list[str]) -> int:
    """Count the folders, from the nearest on, that have the same names."""
    count = 0
    while count < min(len(folders), len(own)) and folders[count] == own[count]:
        count += 1
    return count


def _read_none(root: Path) -> list[Item]:
    raise DataError(f"emobox:{root} names no dataset; write emobox:PATH#DATASET")


CORPUS = Corpus(
    name="emobox",
    title="EmoBox' lists and folds of 32 corpora (Ma et al. 2024)",
    licence="those of each corpus",
    layout="data/DATASET/DATASET.jsonl, and data/DATASET/fold_K/DATASET_{train,valid,test}_fold_K.jsonl",
    origin="github.com/emo-box/EmoBox",
    read_speech=_read_none,
    official_split="",
    collection=Collection(datasets, audio, entry),
)
