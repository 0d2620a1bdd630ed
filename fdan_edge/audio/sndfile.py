"""Read sound files with libsndfile; soundfile is imported when a file is opened."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from fdan_edge.audio import ogg, promises, wav
from fdan_edge.audio.kinds import MP3, OGG, SPHERE, W64, Kind
from fdan_edge.audio.pcm import Frames
from fdan_edge.audio.wav import check_rate, stands_for_all
from fdan_edge.errors import AudioError, MissingDependencyError, one_line
from fdan_edge.utils import c_messages

if TYPE_CHECKING:
    import soundfile

log = logging.getLogger(__name__)

BLOCK_VALUES = 1 << 20  # decoded at once, all channels together
_FLAC_SAMPLES = slice(18, 26)  # bytes of STREAMINFO with the rate, channels, bits and number of samples
#: How libsndfile's log says that a header promises more bytes than the file has (WAV, AIFF, AU, W64).
_PROMISED = re.compile(r"^ ?(?:data|SSND|  Data Size) *: (\d+) \(should be (\d+)\)", re.MULTILINE)


class NotReadableError(AudioError):
    """Raised for a file that libsndfile cannot open."""


def blocks(path: Path, kind: Kind) -> Iterator[tuple[int, Frames]]:
    """Yield the sample rate in Hz and blocks, float32 (n, channels), of a file that libsndfile reads.

    Raises:
        AudioError: not such a file, damaged, or cut short; the last two at times after some blocks.
        MissingDependencyError: soundfile, or libsndfile for it, is not installed.
    """
    # libsndfile's MP3 decoder writes on standard error what it thinks of a file.
    quiet = partial(c_messages.logged, log) if kind == MP3 else contextlib.nullcontext
    with contextlib.ExitStack() as stack:
        with path.open("rb") as header:
            promise = promises.checked(header, kind, str(path), path.stat().st_size)
        with quiet():
            file = stack.enter_context(_open(path))
        _check_header(file, path)
        most = _frames_of_sound(file, path, promise) if promise and kind in (SPHERE, W64) else file.frames
        read = 0
        for block in _decoded(file, path, quiet, exact=kind != MP3):
            yield file.samplerate, block[: most - read] if most < file.frames else block
            read += len(block)
        if promise and file.frames < promise.frames:
            raise AudioError(f"{path}: is damaged: {file.frames} of {promise.frames} samples could be decoded")
        if promise and promise.size:
            _tell_left_over(path, kind, promise, most / file.samplerate)


def _frames_of_sound(file: soundfile.SoundFile, path: Path, promise: promises.Promise) -> int:
    """Count the frames that a header promises: libsndfile takes all until the end of these kinds for sound."""
    there = path.stat().st_size - promise.at
    frames: int = file.frames
    return frames * promise.size // there if 0 < promise.size < there else frames


def _tell_left_over(path: Path, kind: Kind, promise: promises.Promise, seconds: float) -> None:
    with path.open("rb") as file:
        left = promises.left_over(file, promise.at + promise.size, path.stat().st_size, kind)
    wav.tell_left_over(str(path), left, seconds, seconds * left / promise.size)


def ogg_blocks(path: Path) -> Iterator[tuple[int, Frames]]:
    """Yield the blocks of all streams that follow each other in an Ogg file; see `blocks`."""
    parts = ogg.parts(path)
    for start, end in parts:
        head, tail = ogg.ends(path, start, end)
        of_part = blocks(path, OGG) if len(parts) == 1 else _part(path, start, end)
        yield from _complete(of_part, path, head, tail)


def _part(path: Path, start: int, end: int) -> Iterator[tuple[int, Frames]]:
    with path.open("rb") as whole:
        whole.seek(start)
        content = whole.read(end - start)
    with _open(path, io.BytesIO(content)) as file:
        for block in _decoded(file, path, contextlib.nullcontext, exact=True):
            yield file.samplerate, block


def _complete(
    of_part: Iterator[tuple[int, Frames]], path: Path, head: bytes, tail: bytes
) -> Iterator[tuple[int, Frames]]:
    """Yield blocks of a stream that ends well, and raise where some are missing.

    libsndfile passes over damaged pages without a word.
    """
    seconds = 0.0
    for rate, block in of_part:
        if not seconds and not ogg.ends_well(tail):
            raise AudioError(f"{path}: {ogg.CUT}")
        seconds += len(block) / rate
        yield rate, block
    if problem := ogg.problem(head, tail, seconds):
        raise AudioError(f"{path}: {problem}")


def is_whole_flac(head: bytes) -> bool:
    """Tell whether a FLAC file says how long it is: one that was written to a pipe does not."""
    return len(head) >= 26 and head[4] & 0x7F == 0 and _streaminfo(head)[2] > 0


def counts_too_few(head: bytes, size: int) -> bool:
    """Tell whether a FLAC file of `size` bytes holds more than the samples that it counts would take unpacked."""
    channels, bits, samples = _streaminfo(head)
    return size > len(head) + samples * channels * bits // 8


def _streaminfo(head: bytes) -> tuple[int, int, int]:
    """Return the channels, the bits of a sample, and the samples of each channel that FLAC's STREAMINFO names."""
    numbers = int.from_bytes(head[_FLAC_SAMPLES], "big")
    return (numbers >> 41 & 7) + 1, (numbers >> 36 & 31) + 1, numbers & (1 << 36) - 1


@contextlib.contextmanager
def _open(path: Path, content: BinaryIO | None = None) -> Iterator[soundfile.SoundFile]:
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: the package is there, and libsndfile is not
        package = "soundfile" if isinstance(error, ImportError) else "libsndfile"
        raise MissingDependencyError(package, f"reading {path}", "pip install soundfile") from None
    try:
        # As bytes, because soundfile cannot encode names that are not UTF-8.
        file = soundfile.SoundFile(content or os.fsencode(path))
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise NotReadableError(f"{path}: not a readable sound file: {_reason(error)}") from None
    except TypeError:  # soundfile asks for the rate and channels of what is called .raw
        raise AudioError(f"{path}: not a readable sound file: raw samples without a header") from None
    with file:
        yield file


def _reason(error: Exception) -> str:
    """Return libsndfile's own words, without the file name that soundfile puts before them."""
    reason = str(getattr(error, "error_string", "")) or one_line(error)
    # Its MP3 decoder's way to say that there is no MP3 frame; the file was there a moment ago.
    return "Format not recognised." if "does not exist" in reason else reason


def _decoded(
    file: soundfile.SoundFile, path: Path, quiet: Callable[[], AbstractContextManager[None]], *, exact: bool
) -> Iterator[Frames]:
    """Yield the blocks of an open file; raise where it holds less than its header promises.

    Args:
        file: open.
        path: of it.
        quiet: a context in which a block is decoded.
        exact: whether the header's length is more than an estimate.
    """
    import soundfile

    promised, read = file.frames, 0
    while True:
        try:
            with quiet():
                block = file.read(max(1, BLOCK_VALUES // file.channels), dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, RuntimeError):
            length = f"not all of its {promised / file.samplerate:.2f} s" if exact else "not all of it"
            raise AudioError(f"{path}: is cut short or damaged: {length} can be decoded") from None
        if not len(block):
            break
        read += len(block)
        yield block
    if exact and read < promised:
        there, whole = read / file.samplerate, promised / file.samplerate
        raise AudioError(f"{path}: is cut short or damaged: {there:.2f} of {whole:.2f} s could be decoded")


def _check_header(file: soundfile.SoundFile, path: Path) -> None:
    """Raise for what libsndfile only logs: a file that ends early, or a header that makes no sense."""
    try:
        check_rate(file.samplerate)
    except AudioError as error:
        raise AudioError(f"{path}: {error}") from None
    match = _PROMISED.search(file.extra_info)
    if match and int(match[1]) > int(match[2]) and not stands_for_all(int(match[1])):
        raise AudioError(f"{path}: is cut short: {match[2]} of {match[1]} bytes of sound are there")
