"""What files are by their first bytes, as far as corpora need to know: sound under another name, and pointers."""

from __future__ import annotations

import os
from pathlib import Path

from fdan_edge.audio.kinds import GIT_LFS, HEAD, Kind, identify
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
_TRIAGE = 64  # bytes: to look for MPEG frames in more of them takes milliseconds a file
_POINTER = 1024  # bytes that a pointer has at most
_ANNEX = b"/annex/objects/"


def sound_under_other_name(path: Path, *, by_suffix: bool) -> Kind | None:
    """Tell what sound or video a file holds that is not named as such; None where it is named so, or holds none.

    Args:
        path: a file; pipes, devices and what cannot be read hold none.
        by_suffix: whether files that are named as text, tables, images and so on are taken at their names' word,
            and the others looked at only briefly: for trainings, which must not open thousands of files.
    """
    suffix = path.suffix.lower()
    if suffix in SOUNDS or suffix in VIDEOS or (by_suffix and suffix in _NO_SOUND):
        return None
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            start = file.read(_TRIAGE)
            # MPEG-TS has its sign at every 188th byte.
            if by_suffix and not _is_sound(identify(start)) and start[:1] != b"G":
                return None
            kind = identify(start + file.read(HEAD - len(start)))
    except OSError:
        return None
    return kind if _is_sound(kind) else None


def pointer_of(path: Path) -> str:
    """Say which program must fetch a file before it holds anything: git-lfs or git-annex; "" where none must.

    Pointers are small texts; git-annex has links that lead nowhere as well. Other files are not opened.
    """
    try:
        if not 0 < path.stat().st_size <= _POINTER or not path.is_file():
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


def _is_sound(kind: Kind | None) -> bool:
    return kind is not None and bool(kind.reader)
