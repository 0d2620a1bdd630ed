"""Read sound with PyAV (FFmpeg), from files and pipes; PyAV is imported when it is needed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from fdan_edge.audio.kinds import AAC, AC3, AMR, AVI, LATM, MP3, OGG, WAVPACK, Kind
from fdan_edge.audio.pcm import Frames
from fdan_edge.audio.wav import check_rate
from fdan_edge.errors import INSTALL_VIDEO, AudioError, MissingDependencyError, one_line, shown
from fdan_edge.utils.messages import warn_once

if TYPE_CHECKING:
    from av.container import InputContainer

SLACK = 0.5  # seconds that a stream may end before its header says: players and cutters are that careless
#: Demuxers whose header gives an exact length. Of others it is an estimate, or there is none.
_EXACT = {"mov": SLACK, "wav": SLACK}  # seconds by which it may be off
_EXACT |= dict.fromkeys(("flac", "aiff", "au", "caf", "w64", "voc", "wv", "ape", "tta"), 0.01)
_MANY = 8  # channels of which PyAV's arrays are wrong, or end the process, where each channel has its own memory
MOST_PIXELS = 1 << 26  # of a picture, in any video: 8192 x 8192; a decoder takes four bytes and more of each
_FRAMES = (MP3, AAC, LATM, AC3, AMR, WAVPACK)
_GAP = 0.2  # s that are missing between two pages of an Ogg stream: some of it was lost


def is_installed() -> bool:
    """Tell whether PyAV is there."""
    from importlib.util import find_spec

    return find_spec("av") is not None


def import_av(purpose: str) -> Any:
    """Import PyAV, and keep FFmpeg's own lines off the terminal.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import av
        import av.logging
    except ImportError:
        raise MissingDependencyError("av", purpose, INSTALL_VIDEO) from None
    av.logging.set_level(None)
    return av


@contextlib.contextmanager
def opened(file: BinaryIO, kind: Kind, where: str) -> Iterator[InputContainer]:
    """Open what begins at a file's position; errors of PyAV within the block become one line.

    Args:
        file: for reading; it may be a pipe.
        kind: of it. FFmpeg is not left to guess: it would take texts for playlists, and open what they name. It
            opens no other file and no socket, whatever a header says.
        where: what it is called, for messages.

    Raises:
        AudioError: damaged, or not of that kind.
        MissingDependencyError: PyAV is not installed.
    """
    av = import_av(f"reading {kind}")
    pixels = {"max_pixels": str(MOST_PIXELS)}
    options = {"format_whitelist": kind.demuxer, "protocol_whitelist": "none", **pixels}
    try:
        # Titles are in whatever encoding their writer liked, and nobody here reads them.
        with av.open(
            file, format=kind.demuxer, options=options, io_open=_refuse, metadata_errors="replace"
        ) as container:
            for stream in container.streams.video:  # their decoders are opened later, with options of their own
                stream.codec_context.options = pixels
            yield container
    except av.error.FFmpegError as error:  # before OSError, of which some of these are
        raise AudioError(f"{where}: is cut short or damaged {kind}: {_reason(error)}") from None
    except (OSError, ValueError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise AudioError(f"{where}: cannot be read as {kind}: {reason}") from None


def _refuse(url: str, _flags: int, _options: Any) -> Any:
    """Open nothing of what a file names."""
    raise PermissionError(f"names {shown(url)}, which is not opened")


def sound(
    file: BinaryIO, kind: Kind, where: str, *, exact: bool = True, promised: float = 0.0
) -> Iterator[tuple[int, Frames]]:
    """Yield the sample rate in Hz and blocks, float32 (n, channels), of the default sound of a file or pipe.

    Args:
        file, kind, where: see `opened`.
        exact: whether the header's length counts where its format gives an exact one.
        promised: seconds that the header promises, where FFmpeg does not read them: of MP3 in pipes.

    Raises:
        AudioError: as `opened`, or without sound, or cut short.
    """
    with opened(file, kind, where) as container:
        stream = container.streams.best("audio")
        if stream is None:
            raise AudioError(
                f"{where}: a video without sound" if container.streams.video else f"{where}: no sound"
            )
        decoder = _Decoder(container, stream, kind, where)
        yield from decoder.blocks()
        if stream.duration and stream.time_base:
            promised = float(stream.duration * stream.time_base)
        if exact and kind.demuxer in _EXACT:
            check_length(where, decoder.seconds, promised, _EXACT[kind.demuxer])
        if (
            exact and kind in (AVI, MP3) and decoder.seconds < promised - SLACK
        ):  # its length is not what players go by
            warn_once(
                f"{where}: {decoder.seconds:.2f} of the {promised:.2f} s that its header promises could be decoded"
            )


def check_riff_size(file: BinaryIO, where: str, there: int | None = None) -> None:
    """Raise AudioError for a RIFF file, such as AVI, with less content than it promises; seeks to its start.

    Args:
        file, where, there: as of `mp3.check_size`.
    """
    file.seek(0)
    head = file.read(8)
    there = file.seek(0, os.SEEK_END) if there is None else there
    file.seek(0)
    promised = int.from_bytes(head[4:], "little") + len(head) if head[:4] == b"RIFF" else 0
    # A program that wrote to a pipe left 0 or the largest number; an odd length may lack its last, empty byte.
    if there + 1 < promised < 0xFFFFFFFF:
        raise AudioError(f"{where}: is cut short: {there} of {promised} bytes are there")


def check_length(where: str, seconds: float, promised: float, slack: float = SLACK) -> None:
    """Raise AudioError where a stream ends before the length that its header promises, by more than `slack`."""
    if seconds < promised - slack:
        raise AudioError(f"{where}: is cut short or damaged: {seconds:.2f} of {promised:.2f} s could be decoded")


class _Decoder:
    def __init__(self, container: InputContainer, stream: Any, kind: Kind, where: str) -> None:
        self._container, self._stream, self._kind, self._where = container, stream, kind, where
        self.seconds = 0.0
        self._resampler: Any = None
        self._shape: tuple[str, str, int] | None = None
        self._bad = 0  # packets that could not be decoded

    def blocks(self) -> Iterator[tuple[int, Frames]]:
        for frame in self._frames():
            if not frame.samples:
                continue
            self._check_gap(frame)
            self.seconds += frame.samples / frame.sample_rate
            yield frame.sample_rate, self._as_floats(frame)
        if self._bad > 2:  # the first frames of a broadcast that was cut out need what came before them
            warn_once(f"{self._where}: damaged: {self._bad} packets could not be decoded; the others are used")

    def _packets(self) -> Iterator[Any]:
        try:
            yield from self._container.demux(self._stream)
        except import_av("").error.FFmpegError:
            if self._kind not in _FRAMES or not self.seconds:
                raise
            warn_once(f"{self._where}: what follows after {self.seconds:.2f} s cannot be read, and is not used")

    def _frames(self) -> Iterator[Any]:
        for packet in self._packets():
            try:
                yield from packet.decode()
            except import_av("").error.FFmpegError as error:
                # Frames of these stand for themselves, and tags and rubbish stand between and behind them.
                if self._kind not in _FRAMES:
                    raise AudioError(f"{self._where}: is cut short or damaged: {_reason(error)}") from None
                self._bad += 1

    def _check_gap(self, frame: Any) -> None:
        """Raise AudioError where pages of an Ogg stream are missing: FFmpeg passes over damaged ones."""
        if self._kind != OGG or frame.pts is None or frame.time_base is None:
            return
        gap = float(frame.pts * frame.time_base) - self.seconds
        if self.seconds and _GAP < gap < 3600:
            raise AudioError(f"{self._where}: is damaged: {gap:.2f} s are missing after {self.seconds:.2f} s")

    def _as_floats(self, frame: Any) -> Frames:
        check_rate(frame.sample_rate)
        channels = frame.layout.nb_channels
        if frame.format.name == "fltp" and channels < _MANY:
            return np.ascontiguousarray(frame.to_ndarray().T, np.float32)
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if shape != self._shape:
            self._resampler, self._shape = import_av("").AudioResampler(format="flt"), shape
        parts = [part.to_ndarray().reshape(-1, channels) for part in self._resampler.resample(frame)]
        return np.concatenate(parts, dtype=np.float32)


def _reason(error: Exception) -> str:
    """Return FFmpeg's own words, without PyAV's number before them and the function behind."""
    return str(getattr(error, "strerror", "")) or one_line(error)
