"""Which folders of a user's own recordings are classes: those at the level that names emotions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fdan_edge.data.corpora.own_labels import own_class
from fdan_edge.data.labels import find_emotion
from fdan_edge.errors import DataError, printable

#: Names of folders that are a part of a corpus.
PARTS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
#: Names of folders that hold classes, and are none.
_HOLDERS = frozenset(
    (
        *("audio", "audios", "wav", "wavs", "wave", "waves", "flac", "mp3", "sound", "sounds", "speech", "voice"),
        *(
            "voices",
            "recording",
            "recordings",
            "clip",
            "clips",
            "sample",
            "samples",
            "data",
            "dataset",
            "datasets",
        ),
        *("corpus", "corpora", "raw", "files", "media", "image", "images", "face", "faces", "frames", "picture"),
        *("datasets", "pictures", "video", "videos"),
    )
)
_SHOWN = 4  # names of a level in a message


class Place(NamedTuple):
    """Where a file lies."""

    word: str  # the name of its class's folder
    split: str | None  # train, val or test, by a folder of such a name
    rest: str  # its path below the class's folder, without suffix


@dataclass(frozen=True)
class Places:
    """Where the files of a folder lie.

    Args:
        of: path below the root -> place; files that lie in no class's folder are not there.
        note: which folders are classes; "" where there is no choice.
        others: folders above or below those of classes, which may name speakers; "" for none.
    """

    of: dict[str, Place]
    note: str
    others: str


class _Level(NamedTuple):
    """What the folders at one depth are named."""

    depth: int
    words: Counter[str]  # name -> files
    emotions: set[str]
    share: float  # of the files in any folder, those in folders that name emotions

    @property
    def names_all(self) -> bool:
        """Whether every folder names an emotion."""
        return len(self.emotions) > 0 and all(_means_emotion(word) for word in self.words)


def place(names: Sequence[str]) -> Places:
    """Find the folder of its class for each file.

    Folders named as parts (train, val, test) are passed over at any level where all are such, and at the first
    level one by one. So are first levels of which all folders are named as holders (wav, audio). Of the levels
    that are left, the one that names emotions is taken; the first where none does, since classes may be a user's
    own.

    Args:
        names: paths of files below the root, with /.

    Raises:
        DataError: two levels could be it.
    """
    folders = {name: tuple(name.split("/")[:-1]) for name in names}
    splits: dict[str, str] = {}
    plain = _without_inner_parts(_without_holders(folders, splits), splits)
    levels = _levels(plain)
    depth = _depth(levels, plain)
    of = {
        name: Place(own[depth], splits.get(name), "/".join((*own[depth + 1 :], _stem(name))))
        for name, own in plain.items()
        if len(own) > depth
    }
    held = [name for name in of if len(folders[name]) - len(plain[name]) > (name in splits)]
    other = _above(of, plain, depth) or _below(of, plain, depth)
    words = _list({own.word for own in of.values()})
    note = f"classes are the folders {words}, as in {printable(min(held or of))}" if held or other else ""
    return Places(of, note, _list(other))


def _without_holders(folders: dict[str, tuple[str, ...]], splits: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """Cut the folders in front that hold classes: parts, of which `splits` is told, and holders."""
    plain, changed = dict(folders), True
    while changed:
        before = dict(plain)
        for name, own in plain.items():
            if own and name not in splits and own[0].lower() in PARTS:
                splits[name] = PARTS[own[0].lower()]
                plain[name] = own[1:]
        heads = {own[0] for own in plain.values() if own}
        holders = {own[0] for own in plain.values() if len(own) > 1 and own[0].lower() in _HOLDERS}
        if all(head in holders or find_emotion(head) for head in heads):
            plain = {name: own[1:] if own and own[0] in holders else own for name, own in plain.items()}
        changed = plain != before
    return plain


def _without_inner_parts(plain: dict[str, tuple[str, ...]], splits: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """Cut the folders below the first level where all of one depth are named as parts."""
    for depth in range(max(map(len, plain.values()), default=0) - 1, 0, -1):
        if all(own[depth].lower() in PARTS for own in plain.values() if len(own) > depth):
            for name, own in plain.items():
                if len(own) > depth:
                    splits.setdefault(name, PARTS[own[depth].lower()])
            plain = {name: own[:depth] + own[depth + 1 :] for name, own in plain.items()}
    return plain


def _levels(plain: dict[str, tuple[str, ...]]) -> list[_Level]:
    levels, placed = [], sum(len(own) > 0 for own in plain.values())
    for depth in range(max(map(len, plain.values()), default=0)):
        words = Counter(own[depth] for own in plain.values() if len(own) > depth)
        known = {word for word in words if _means_emotion(word)}
        share = sum(words[word] for word in known) / placed
        levels.append(_Level(depth, words, {own_class(word)[0] for word in known}, share))
    return levels


def _depth(levels: Sequence[_Level], plain: dict[str, tuple[str, ...]]) -> int:
    """Choose the level of the classes; DataError where two are as likely."""
    if marked := [level for level in levels if any(own_class(word)[1] for word in level.words)]:
        return marked[0].depth
    several = [level for level in levels if len(level.emotions) > 1]
    whole = [level for level in several if level.names_all and level.share >= 0.5]
    if len(whole) > 1 and not _agree(whole, plain):
        raise _ambiguous(whole[0], whole[1], plain)
    if whole:
        return whole[0].depth
    if several:
        best = max(several, key=lambda level: level.share)
        others = [level for level in several if level is not best and 2 * level.share > best.share]
        if others or (best.depth and best.share < 0.5):
            first, second = sorted((best, others[0] if others else levels[0]), key=lambda level: level.depth)
            raise _ambiguous(first, second, plain)
        return best.depth
    single = [level for level in levels if level.names_all]
    if not single:
        deeper = [level for level in levels[1:] if level.emotions & {word.lower() for word in level.words}]
        if deeper and not levels[0].emotions:
            raise _ambiguous(levels[0], deeper[0], plain)
        return 0
    if above := [level for level in levels[: single[0].depth] if len(level.words) > 1]:
        raise _ambiguous(above[0], single[0], plain)
    return single[0].depth


def _agree(levels: Sequence[_Level], plain: dict[str, tuple[str, ...]]) -> bool:
    """Return whether every file has the same class by all of these levels, as in sad/sad/1.wav."""
    depths = [level.depth for level in levels]
    return all(
        len({own_class(own[depth])[0] for depth in depths if len(own) > depth}) < 2 for own in plain.values()
    )


def _ambiguous(first: _Level, second: _Level, plain: dict[str, tuple[str, ...]]) -> DataError:
    example = next(name for name, own in sorted(plain.items()) if len(own) > second.depth)
    one = printable(min(second.words))
    return DataError(
        f"the classes may be the folders {_list(first.words)} or those below them, {_list(second.words)}, as in "
        f"{printable(example)}; write an exclamation mark after the name of one that is a class ({one}!), or "
        "name files and classes in a table"
    )


def _above(of: dict[str, Place], plain: dict[str, tuple[str, ...]], depth: int) -> set[str]:
    """Return the names of the folders that hold those of classes."""
    return {folder for name in of for folder in plain[name][:depth]}


def _below(of: dict[str, Place], plain: dict[str, tuple[str, ...]], depth: int) -> set[str]:
    """Return the names of folders that are there in several classes, as those of speakers are."""
    classes: dict[str, set[str]] = defaultdict(set)
    for name, own in of.items():
        for folder in plain[name][depth + 1 : depth + 2]:
            classes[folder].add(own_class(own.word)[0])
    return {folder for folder, names in classes.items() if len(names) > 1}


def _stem(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[0]


def _means_emotion(word: str) -> bool:
    name, meant = own_class(word)
    return meant or find_emotion(name) is not None


def _list(words: Counter[str] | set[str]) -> str:
    names = sorted(map(printable, words))
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"
