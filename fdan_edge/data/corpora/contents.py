"""What files are by their first bytes, as far as corpora need to know: sound under another name, and pointers."""

from __future__ import annotations

import os
import re
import stat
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from fdan_edge.audio.kinds import GIT_LFS, Kind, identify, kind_of
from fdan_edge.data.corpora.items import IMAGES, SOUNDS, VIDEOS

#: Suffixes of what lies beside sound and is none; such files are not opened before a training.
_NO_SOUND = frozenset(
    (
        *IMAGES,
        *(".gif", ".webp", ".svg", ".heic", ".eps", ".ps", ".pdf"),
        *(".txt", ".md", ".rst", ".html", ".htm", ".tex", ".bib", ".doc", ".docx", ".odt", ".rtf", ".log"),
        *(".csv", ".tsv", ".xls", ".xlsx", ".ods", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".ini"),
        *(".textgrid", ".lab", ".eaf", ".srt", ".vtt", ".trs", ".ctm", ".stm", ".mlf", ".pitch", ".f0", ".ctl"),
        *(".py", ".ipynb", ".m", ".r", ".sh", ".c", ".h", ".cpp", ".java", ".praat"),
        *(".npy", ".npz", ".mat", ".pt", ".pth", ".pkl", ".h5", ".hdf5", ".arff", ".htk", ".parquet"),
        *(".zip", ".gz", ".tgz", ".tar", ".bz2", ".xz", ".7z", ".rar", ".md5", ".sha1", ".sha256", ".dvc", ".db"),
    )
)
_KNOWN = _NO_SOUND | {*SOUNDS, *VIDEOS}
_SAMPLE = 20  # files of a suffix: to tell what one holds takes some milliseconds
_POINTER = 1024  # bytes that a pointer has at most
_ANNEX = b"/annex/objects/"


def sound_under_other_name(path: Path) -> Kind | None:
    """Tell what sound or video a file holds that is not named as such; None where it is named so, or holds none.

    Pipes, devices and what cannot be read hold none.
    """
    if path.suffix.lower() in (*SOUNDS, *VIDEOS):
        return None
    kind = kind_of(path)
    return kind if kind is not None and kind.reader else None


def sounds_under_other_names(paths: Iterable[Path]) -> list[Path]:
    """List the files that hold sound and are not named so, quickly: a training must not open thousands of files.

    Files that are named as text, tables, images and so on are taken at their names' word. Of each other suffix
    some files are looked at, and all where one of these holds sound.
    """
    unknown: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        suffix = path.suffix.lower()
        if suffix not in _KNOWN:
            unknown[re.sub(r"\d+", "0", suffix)].append(path)
    lost = []
    for alike in unknown.values():
        sample = alike[:: -(-len(alike) // _SAMPLE)]
        if any(map(sound_under_other_name, sample)):
            lost += [path for path in alike if sound_under_other_name(path)]
    return lost


def pointer_of(path: Path) -> str:
    """Say which program must fetch a file before it holds anything: git-lfs or git-annex; "" where none must.

    Pointers are small texts; git-annex has links that lead nowhere as well. Other files are not opened.
    """
    try:
        state = path.stat()
        if not 0 < state.st_size <= _POINTER or not stat.S_ISREG(state.st_mode):
            return ""
        with path.open("rb") as file:
            head = file.read(_POINTER)
    except FileNotFoundError:
        return "git-annex" if path.is_symlink() and _ANNEX in os.fsencode(path.readlink()) else ""
    except OSError:
        return ""
    if head.startswith(_ANNEX):
        return "git-annex"
    return "git-lfs" if identify(head) is GIT_LFS else ""


def fetch_command(program: str) -> str:
    """Return the command that fetches the files which pointers of git-lfs or git-annex stand for."""
    return {"git-lfs": "git lfs pull", "git-annex": "git annex get ."}[program]
