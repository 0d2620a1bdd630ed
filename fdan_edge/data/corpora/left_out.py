"""What lies in a corpus's folder and is not read: `data scan` lists it, and a training says how much it is."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from fdan_edge.data.corpora.contents import (
    fetch_command,
    pointer_of,
    sound_under_other_name,
    sounds_under_other_names,
)
from fdan_edge.data.corpora.items import IMAGES, SOUNDS, VIDEOS, Item, suffix_of
from fdan_edge.data.corpora.registry import Corpus, known_corpora
from fdan_edge.errors import DataError, printable
from fdan_edge.utils.folders import walk
from fdan_edge.utils.messages import warn_once

if TYPE_CHECKING:
    from fdan_edge.data.corpora.reading import Source

_MEDIA = (*SOUNDS, *VIDEOS, *IMAGES)
_SUFFIXES = {"speech": SOUNDS, "faces": IMAGES, "videos": VIDEOS}
_NOT_THERE = "a table names it, and it is not there"
_NAMED = 3  # files in a line
_LOOKED_AT = 200  # names by which a corpus is recognised
_ALIKE = 0.8  # share of them that must fit


def unlabelled(source: Source, modality: str, used: Collection[Path]) -> dict[str, list[Path]]:
    """List, by reason, the files that are named as those of a modality and are no items.

    Beside a table of labels, and EmoBox' lists, only the folders of the files that they name are looked at: these
    may lie anywhere.

    Args:
        source: the corpus.
        modality: speech, faces or videos. Where the corpus has no videos, speech has their files too.
        used: paths of all items.
    """
    corpus = source.entry
    suffixes = _SUFFIXES[modality]
    if modality == "speech" and corpus.read_videos is None:
        suffixes = (*suffixes, *VIDEOS)
    skipped: dict[str, list[Path]] = {}
    for name, path in _files(source, used, suffixes):
        if path not in used:
            skipped.setdefault(_reason(source, corpus, name), []).append(path)
    return {reason: sorted(paths) for reason, paths in sorted(skipped.items(), key=lambda entry: min(entry[1]))}


def unread(source: Source, used: Collection[Path]) -> dict[str, list[str]]:
    """List, by reason, what else is left out: folders, sound under names of another kind, rows without files."""
    lost: dict[str, list[str]] = {}
    if source.folder is not None and source.folder.is_dir():
        for folder, reason in walk(source.folder).unreadable.items():
            lost.setdefault(f"a folder that cannot be read: {reason}", []).append(str(folder))
    for path in sorted(path for _, path in _files(source, used, ())):
        if kind := sound_under_other_name(path):
            lost.setdefault(f"{kind} by its content, but not named as sound or video: rename it", []).append(
                str(path)
            )
    if rows := _missing(source) if used else []:
        lost[_NOT_THERE] = rows
    return lost


def tell(source: Source, items: Sequence[Item]) -> None:
    """Warn once of the files below a corpus's path that its speech lacks, and of rows of tables without files."""
    used = {item.path for item in items}
    lost = _flat(unlabelled(source, "speech", used))
    reader = source.entry.read_videos
    if reader and source.folder and any(path.suffix.lower() in VIDEOS for path in used):
        lost += _flat(unlabelled(source, "videos", used | {item.path for item in reader(source.folder)}))
    lost += sounds_under_other_names(path for _, path in _files(source, used, ()))
    if lost:
        verb = "file that holds sound or video is" if len(lost) == 1 else "files that hold sound or video are"
        names = [_below(source, path) for path in lost]
        warn_once(
            f"left out: {len(lost)} {verb} not read from {source} {_first(names)}; {_command(source)} says why"
        )
    tell_missing(source)


def tell_missing(source: Source) -> None:
    """Warn, once and in a line, of what a corpus's tables name and is not there."""
    if rows := _missing(source):
        verb = "row of a table names a file that is" if len(rows) == 1 else "rows of tables name files that are"
        warn_once(f"left out: {len(rows)} {verb} not in {source} {_first(rows)}; {_command(source)} lists them")


def without_pointers(source: Source, items: list[Item]) -> list[Item]:
    """Leave out, with one warning, the files that git-lfs or git-annex has yet to fetch.

    Raises:
        DataError: all are such.
    """
    programs = {item.path: program for item in items if (program := pointer_of(item.path))}
    for program in sorted(set(programs.values())):
        paths = [path for path, other in programs.items() if other == program]
        names = _first([_below(source, path) for path in sorted(paths)])
        what = f"files of {source} are {program} pointers" if len(items) > 1 else f"file of {source} is a pointer"
        text = f"{len(paths)} of {len(items)} {what} {names}: `{fetch_command(program)}` there fetches them"
        if len(programs) == len(items):
            raise DataError(text)
        warn_once(f"left out: {text}")
    return [item for item in items if item.path not in programs]


def nothing(source: Source, what: str) -> DataError:
    """Make the error that says that a corpus has none of what is asked for, and what may be there instead."""
    text = f"{source}: no {what} found; expected {source.entry.layout}"
    if other := suggestion(source, [path for _, path in _files(source, (), _MEDIA)]):
        return DataError(f"{text}; its files are named as those of {other}")
    for reason, names in unread(source, ()).items():
        text += f"; {_first([printable(name) for name in names])[1:-1]}: {reason}"
    return DataError(text)


def suggestion(source: Source, files: Sequence[Path]) -> str:
    """Return `corpus:path` of the corpus as whose nearly all of these files are named; "" where none is."""
    stems = [path.stem for path in files[:: max(1, len(files) // _LOOKED_AT)]]
    for corpus in known_corpora():
        pattern = corpus.file_names
        if stems and pattern and corpus.name != source.corpus:
            fitting = sum(pattern.fullmatch(stem) is not None for stem in stems)
            if fitting >= _ALIKE * len(stems):
                return f"{corpus.name}:{source.folder}"
    return ""


def _files(source: Source, used: Iterable[Path], suffixes: tuple[str, ...]) -> list[tuple[str, Path]]:
    """List (path below the corpus's, path) of files in its folder, or in those of the files of a table or list.

    Args:
        source: the corpus.
        used: paths of its items.
        suffixes: of the files; () for those that are named neither as sound nor as video or image.
    """
    if source.folder is None or source.entry.default_folder:
        return []

    def wanted(name: str) -> bool:
        return suffix_of(name) in suffixes if suffixes else suffix_of(name) not in _MEDIA

    if source.folder.is_dir() and not source.dataset:
        return [(name, source.folder / name) for name in walk(source.folder).files if wanted(name)]
    beside = (path for folder in {path.parent for path in used} for path in folder.glob("[!.]*"))
    return [(path.name, path) for path in beside if wanted(path.name) and not path.is_dir()]


def _reason(source: Source, corpus: Corpus, name: str) -> str:
    if source.folder is not None and source.folder.is_file():
        return "not in the table"
    return corpus.skip_reason(name) if corpus.skip_reason else f"not of the form {corpus.layout}"


def _missing(source: Source) -> list[str]:
    corpus = source.entry
    return corpus.missing(source.folder) if corpus.missing and source.folder else []


def _flat(by_reason: dict[str, list[Path]]) -> list[Path]:
    return [path for paths in by_reason.values() for path in paths]


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"({', '.join(names[:_NAMED])}{more})"


def _below(source: Source, path: Path) -> str:
    root = source.folder
    return printable(str(path.relative_to(root) if root and root != path and path.is_relative_to(root) else path))


def _command(source: Source) -> str:
    return f"`fdan-edge data scan {quote(str(source))}`"
