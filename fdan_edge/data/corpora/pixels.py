"""Faces that are rows of a table `emotion,pixels[,Usage]` (FER2013 and CK+ on Kaggle), as image files."""

from __future__ import annotations

import logging
import math
import shutil
import tempfile
from pathlib import Path

from fdan_edge.data.corpora import Item, files_below, tables
from fdan_edge.errors import DataError, shown
from fdan_edge.utils.files import cache_home, sha256
from fdan_edge.utils.progress import track

log = logging.getLogger(__name__)

#: The numbers of both corpora; 7 is only in CK+.
CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt")
_COLUMNS = ("emotion", "pixels")
_USAGES = {"training": "train", "publictest": "val", "privatetest": "test", "": ""}


def find_table(root: Path) -> Path | None:
    """Find the table of faces in a folder; of several, the one with the official parts and then the largest."""
    files = [path for _, path in files_below(root, tables.TABLES)]
    of_faces = [path for path in files if set(_COLUMNS) <= set(tables.columns_of(path))]
    return max(
        of_faces, key=lambda path: ("usage" in tables.columns_of(path), path.stat().st_size, path), default=None
    )


def read_table(corpus: str, table: Path) -> list[Item]:
    """List the faces of a table, which are written to the cache folder as images on the first call.

    Raises:
        DataError: a row has no known emotion, part or image; the message names its line.
    """
    folder = cache_home() / "pixels" / sha256(table)[:16]
    if not folder.is_dir():
        write_faces(table, folder)
    items = []
    for name, path in files_below(folder, (".pgm",)):
        part, emotion, _ = name.split("/")
        items.append(Item(corpus, name, path, emotion, split=part if part in _USAGES.values() else None))
    return items


def write_faces(table: Path, folder: Path) -> None:
    """Write all faces of a table as images, or none; two calls at once do not collide."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".pixels-", dir=folder.parent))
    try:
        for line, values in track(tables.rows(table, _COLUMNS), f"read {table.name}", total=None):
            try:
                _write_face(temporary, line, values)
            except ValueError as error:
                raise DataError(f"{table}, line {line}: {error}") from None
        temporary.chmod(0o755)
        temporary.rename(folder)
        log.info(f"{table}: its faces are written to {folder}, once")
    except OSError:
        if not folder.is_dir():  # else another process wrote it meanwhile
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_face(folder: Path, line: int, values: dict[str, str]) -> None:
    """Write one square grey image as PGM, which needs no library and is quick to write.

    Raises:
        ValueError: what is wrong with the row.
    """
    number, usage = values["emotion"], values.get("usage", "").lower()
    if number not in map(str, range(len(CLASSES))):
        raise ValueError(f"emotion {shown(number)} is none of 0 to {len(CLASSES) - 1}")
    if usage not in _USAGES:
        raise ValueError(f"usage {shown(values['usage'])} is none of Training, PublicTest, PrivateTest")
    try:
        pixels = bytes(map(int, values["pixels"].split()))
    except ValueError:
        raise ValueError("its pixels are not all numbers from 0 to 255") from None
    side = math.isqrt(len(pixels))
    if not pixels or side * side != len(pixels):
        raise ValueError(f"{len(pixels)} pixels are not a square image")
    path = folder / (_USAGES[usage] or "all") / CLASSES[int(number)] / f"{line:06}.pgm"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"P5 %d %d 255\n" % (side, side) + pixels)
