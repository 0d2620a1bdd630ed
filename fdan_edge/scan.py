"""What a corpus holds, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fdan_edge import audio
from fdan_edge.corpora import READERS, Item, Source, read
from fdan_edge.errors import INSTALL_TRAINING, DataError, MissingDependencyError, one_line
from fdan_edge.progress import track


@dataclass(frozen=True)
class Scan:
    """Counts of one corpus."""

    source: str
    modality: str
    items: int
    classes: dict[str, int]
    speakers: dict[str, int]
    hours: float  # of speech
    broken: list[str]  # one line per file that cannot be used

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def scan(source: Source) -> Scan:
    """Open every file of a corpus: speech where it has any, else faces."""
    import importlib

    reader = importlib.import_module(READERS[source.corpus])
    modality = "speech" if hasattr(reader, "read_speech") else "faces"
    items = read(source, modality)
    seconds, broken = 0.0, []
    for item in track(items, f"scan {source}"):
        try:
            seconds += _check(item, modality)
        except DataError as error:
            broken.append(str(error))
    speakers = Counter(item.speaker for item in items if item.speaker)
    classes = Counter(item.emotion for item in items)
    hours = round(seconds / 3600, 4)
    return Scan(
        str(source),
        modality,
        len(items),
        dict(sorted(classes.items())),
        dict(sorted(speakers.items())),
        hours,
        broken,
    )


def _check(item: Item, modality: str) -> float:
    """Seconds of speech in a usable file; DataError for one that is not."""
    if modality == "speech":
        return len(audio.load_speech(item.path, 16000, 0)) / 16000
    _check_image(item.path)
    return 0.0


def _check_image(path: Path) -> None:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise MissingDependencyError("pillow", "looking at faces", INSTALL_TRAINING) from None
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, SyntaxError, ValueError) as error:
        reason = "not of a known kind" if isinstance(error, UnidentifiedImageError) else one_line(error)
        raise DataError(f"{path}: not a readable image: {reason}") from None
