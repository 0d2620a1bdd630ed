"""The corpora of the package's models: where their folders are, and digests that tell other files from the same.

Names and digests alone are kept, in benchmarks/models/corpora.toml; no recording is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fdan_edge.audio.kinds import SOUNDS
from fdan_edge.errors import DataError, unknown_choice
from fdan_edge.runtime.typed_json import MAY_LACK, from_json
from fdan_edge.utils.files import sha256
from fdan_edge.utils.folders import walk


@dataclass(frozen=True)
class Folder:
    """A folder of a corpus.

    Args:
        name: by which its place is given, as in --folder NAME=PATH.
        path: of it below the folder of all data.
        files: number of sound files; 0: not known yet.
        sha256: of `digest`; "": not known yet.
    """

    name: str
    path: str
    files: int = field(default=0, metadata=MAY_LACK)
    sha256: str = field(default="", metadata=MAY_LACK)


@dataclass(frozen=True)
class Corpus:
    """A corpus by the name of its reader."""

    name: str
    language: str
    credit: str  # whom to name
    folders: tuple[Folder, ...]


@dataclass(frozen=True)
class _Table:
    """A corpus as corpora.toml has it: its name is that of the table."""

    language: str
    credit: str
    folders: tuple[Folder, ...]

    def corpus(self, name: str) -> Corpus:
        return Corpus(name, self.language, self.credit, self.folders)


@dataclass(frozen=True)
class Digest:
    """What a folder holds."""

    files: int
    sha256: str


@dataclass(frozen=True)
class Places:
    """Where the folders are.

    Args:
        data: the folder of all data.
        given: name of a folder -> its path, where it is elsewhere.
    """

    data: Path
    given: Mapping[str, Path] = field(default_factory=dict)

    def of(self, folder: Folder) -> Path:
        """Give the path of a folder."""
        return self.given.get(folder.name, self.data / folder.path)

    def sources(self, corpus: Corpus) -> list[str]:
        """Give a corpus as --speech takes it."""
        return [f"{corpus.name}:{self.of(folder)}" for folder in corpus.folders]


def read_corpora(values: Mapping[str, Any]) -> dict[str, Corpus]:
    """Read the tables of corpora.toml."""
    return {name: from_json(_Table, table, name).corpus(name) for name, table in values.items()}


def digest(folder: Path) -> Digest:
    """Compute the digest of a folder: of lines `sha256  path` of its sound files, in the order of their paths."""
    names = sorted(name for name in walk(folder).files if Path(name).suffix.lower() in SOUNDS)
    lines = "".join(f"{sha256(folder / name)}  {name}\n" for name in names)
    return Digest(len(names), hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest())


def check(corpora: Sequence[Corpus], places: Places, *, any_files: bool) -> tuple[dict[str, Digest], list[str]]:
    """Compare folders with what is known of them.

    Args:
        corpora: whose folders.
        places: where they are.
        any_files: take other files too.

    Returns:
        Digests by the names of folders, and a line for each folder with other files, which `any_files` allowed.

    Raises:
        DataError: a folder is missing, or holds other files.
    """
    found, others = {}, []
    for corpus in corpora:
        for folder in corpus.folders:
            path = places.of(folder)
            if not path.is_dir():
                raise DataError(f"{path}: no such folder; say where {corpus.name} is: --folder {folder.name}=PATH")
            found[folder.name] = here = digest(path)
            if here != Digest(folder.files, folder.sha256):
                others.append(
                    f"{path}: {here.files} files, sha256 {here.sha256[:12]}; expected {folder.files}, "
                    f"sha256 {folder.sha256[:12]}"
                )
    if others and not any_files:
        raise DataError(f"{others[0]}; --any-files takes what is there, and the scores will be others")
    return found, others


def of_corpus(corpus: Corpus, found: Mapping[str, Digest]) -> str:
    """Join the digests of a corpus's folders to one: its folder's, or the SHA-256 of all of theirs."""
    digests = [found[folder.name].sha256 for folder in corpus.folders]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def known_folders(corpora: Mapping[str, Corpus], given: Sequence[str]) -> dict[str, Path]:
    """Parse words NAME=PATH.

    Raises:
        DataError: there is no folder of that name, or that is no such word.
    """
    valid = [folder.name for corpus in corpora.values() for folder in corpus.folders]
    places = {}
    for word in given:
        name, _, path = word.partition("=")
        example = f"as in {valid[0]}=/data/{valid[0]}"
        if name not in valid:
            raise DataError(f"--folder {unknown_choice('folder', name, valid)}, {example}")
        if not path:
            raise DataError(f"--folder {name!r} names no path, {example}")
        places[name] = Path(path)
    return places
