"""Which images and videos of a corpus faces are taken from."""

from __future__ import annotations

from collections import defaultdict

from fdan_edge.data.corpora.registry import READERS, VIDEOS, Item, Source, read_all, reader_of, recording, unique
from fdan_edge.data.face_crops import middles
from fdan_edge.errors import DataError


def read_visual(source: Source, frames: int) -> list[Item]:
    """What a corpus has to look at, sorted by id: its images, and its videos of what is not there as images.

    Of a performance that several files show, `frames` images spread evenly are taken, or the first video.

    Raises:
        DataError: as `corpora.read`; the corpus has neither, or none is there.
    """
    reader = reader_of(source.corpus)
    able = [modality for modality in ("faces", "videos") if hasattr(reader, f"read_{modality}")]
    if not able:
        kinds = ("read_faces", "read_videos")
        have = [name for name in READERS if any(hasattr(reader_of(name), kind) for kind in kinds)]
        raise DataError(f"corpus {source.corpus} has no faces; corpora that have: {', '.join(have)}")
    found = {modality: read_all(source, modality) for modality in able}
    images = found.get("faces", [])
    there = {name for item in images for name in (recording(item.key), f"{item.corpus}:{item.clip}")}
    videos = [item for item in found.get("videos", []) if recording(item.key) not in there]
    items = unique([*images, *videos], str(source))
    if not items:
        raise DataError(f"{source}: no {' or '.join(able)} found; expected {reader.LAYOUT}")
    return _thinned(items, frames)


def _thinned(items: list[Item], frames: int) -> list[Item]:
    clips: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        clips[item.clip or item.id].append(item)
    return [item for clip in clips.values() for item in _of_clip(clip, frames)]


def _of_clip(clip: list[Item], frames: int) -> list[Item]:
    """One video, or `frames` images at the middles of as many equal parts, from the sorted files of a clip."""
    if clip[0].path.suffix.lower() in VIDEOS:
        return clip[:1]
    count = min(frames, len(clip))
    return [clip[int(middle)] for middle in middles(len(clip), count)]
