"""Open video files with PyAV for their pictures; PyAV is imported when a video is opened."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fdan_edge.audio import ffmpeg, mp4
from fdan_edge.audio.kinds import MP4, VIDEOS, identify_file
from fdan_edge.errors import AudioError, DataError

if TYPE_CHECKING:
    from av.container import InputContainer


def is_video(path: Path) -> bool:
    """Return whether a file is named as a video; only opening it shows what it holds."""
    return path.suffix.lower() in VIDEOS


@contextlib.contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """Open a video; errors of PyAV within the block become one line that names the file.

    Raises:
        DataError: missing, empty, of no known kind or damaged.
        MissingDependencyError: PyAV is not installed.
    """
    ffmpeg.import_av("reading videos")
    try:
        if path.exists() and not path.is_file():  # opening a pipe could wait for ever
            raise DataError(f"{path}: is a folder, a pipe or a device, not a file")
        # As a stream: FFmpeg takes some names for addresses or numbered images, and must encode them.
        with path.open("rb") as file:
            if not file.read(1):
                raise DataError(f"{path}: is empty (0 bytes)")
            ffmpeg.check_riff_size(file, str(path))
            kind, _ = identify_file(file)
            if kind is None or not kind.demuxer:
                raise DataError(f"{path}: not a readable video: is {kind or 'of no known kind'}")
            if kind == MP4:
                mp4.check_tables(file, str(path))
            file.seek(0)
            with ffmpeg.opened(file, kind, str(path)) as container:
                yield container
    except AudioError as error:
        raise DataError(str(error)) from None
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None


def check_end(path: Path, container: InputContainer, stream: Any, seconds: float) -> None:
    """Raise DataError where a stream ends before the length that its header promises.

    Only mp4 and mov promise an exact one; see `ffmpeg.check_riff_size` for avi. What is left of others is whole.
    """
    if "mov" in container.format.name.split(",") and stream.duration:
        ffmpeg.check_length(str(path), seconds, float(stream.duration * stream.time_base))
