"""Open video files with PyAV, and read their sound; PyAV is imported when a video is opened."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fdan_edge.errors import INSTALL_VIDEO, DataError, MissingDependencyError, one_line

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

VIDEOS = (".mp4", ".avi", ".flv", ".mov", ".mkv", ".mpg", ".webm", ".wmv")
_SLACK = 0.5  # seconds that a stream may end before its header says: players and cutters are that careless


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
    av = _pyav()
    try:
        # As a stream: FFmpeg takes some names for addresses or numbered images, and must encode them.
        with path.open("rb") as file:
            _check_size(path, file)
            # Titles are in whatever encoding their writer liked, and nobody here reads them.
            with av.open(file, metadata_errors="replace") as container:
                yield container
    except av.error.FFmpegError as error:  # before OSError, of which some of these are
        raise DataError(f"{path}: not a readable video, or damaged: {_reason(error)}") from None
    except OSError as error:
        reason = error.strerror or one_line(error)
        missing = isinstance(error, FileNotFoundError)
        raise DataError(f"{path}: no such file" if missing else f"{path}: cannot be read: {reason}") from None


def sound(path: Path) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the sample rate in Hz and mono blocks, float32 of shape (n,), of a video's default sound.

    Raises:
        DataError: as `opened`, or without sound, with a rate that changes, or cut short.
    """
    with opened(path) as container:
        stream = container.streams.best("audio")
        if stream is None:
            raise DataError(f"{path}: a video without sound")
        first, samples, as_floats = 0, 0, _pyav().AudioResampler(format="fltp")
        frames: Iterator[Any] = container.decode(stream)
        for frame in frames:
            first = first or frame.sample_rate
            if frame.sample_rate != first:
                raise DataError(f"{path}: its sound changes from {first} to {frame.sample_rate} Hz")
            samples += frame.samples
            for converted in as_floats.resample(frame):
                yield first, converted.to_ndarray().mean(axis=0, dtype=np.float64).astype(np.float32)
        check_end(path, container, stream, samples / (first or 1))


def check_end(path: Path, container: InputContainer, stream: Any, seconds: float) -> None:
    """Raise DataError where a stream ends before the length that its header promises.

    Only mp4 and mov promise an exact one; see `_check_size` for avi. What is left of others counts as whole.
    """
    if "mov" in container.format.name.split(",") and stream.duration:
        whole = float(stream.duration * stream.time_base)
        if seconds < whole - _SLACK:
            raise DataError(f"{path}: is cut short or damaged: {seconds:.2f} of {whole:.2f} s could be decoded")


def _check_size(path: Path, file: BinaryIO) -> None:
    """Raise DataError for a file without content, or an avi with less of it than it promises."""
    head = file.read(8)
    there = file.seek(0, os.SEEK_END)
    file.seek(0)
    if not there:
        raise DataError(f"{path}: is empty (0 bytes)")
    promised = int.from_bytes(head[4:], "little") + len(head) if head[:4] == b"RIFF" else 0
    # A program that wrote to a pipe left 0 or the largest number; an odd length may lack its last, empty byte.
    if there + 1 < promised < 0xFFFFFFFF:
        raise DataError(f"{path}: is cut short: {there} of {promised} bytes are there")


def _pyav() -> Any:
    try:
        import av
    except ImportError:
        raise MissingDependencyError("av", "reading videos", INSTALL_VIDEO) from None
    return av


def _reason(error: av.error.FFmpegError) -> str:
    """Return FFmpeg's own words, without PyAV's number before them and the function behind."""
    return str(getattr(error, "strerror", "")) or one_line(error)
