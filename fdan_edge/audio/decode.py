"""Decode recordings: any sound file or video to one channel at one rate, float32.

What a file is, its content tells (`kinds`). WAV is read by this package, what libsndfile reads rightly by
libsndfile, and the rest, the sound of videos among it, by PyAV (FFmpeg), where it is installed.

All of this runs on the device too, so nothing imports torch.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from fdan_edge.audio import ffmpeg, mp3, mp4, ogg, promises, sndfile, wav
from fdan_edge.audio.full_scale import full_scale
from fdan_edge.audio.high_pass import HighPass
from fdan_edge.audio.kinds import AVI, CAF, FLAC, MP3, MP4, OGG, RIFX, Kind, after_tags, identify_file
from fdan_edge.audio.listing import find
from fdan_edge.audio.pcm import Frames
from fdan_edge.audio.resample import Resampler
from fdan_edge.audio.windows import Waveform, trim
from fdan_edge.errors import AudioError
from fdan_edge.utils.messages import warn_once

NOT_FINITE = "has samples that are not finite numbers"
SILENCE = 1e-4  # a peak below -80 dBFS is no sound
MIN_SECONDS = 0.05  # less than one syllable tells nothing
_JOINED = 1 << 16  # samples of each channel


def load(path: Path, sample_rate: int = 16000, *, high_pass: float = 0.0, channel: str = "auto") -> Waveform:
    """Decode a sound file, or the sound of a video, to one channel at `sample_rate`.

    Args:
        path: of the file.
        sample_rate: Hz.
        high_pass: Hz below which sound is stopped, as the model asks for; 0: nothing is.
        channel: see `channels.CHANNELS`.

    Returns:
        float32 samples, shape (n,), usually within -1..1. The file is decoded in blocks, so an hour of 48 kHz
        stereo needs little more than its result.

    Raises:
        AudioError: missing, empty, not audio, cut short, or with samples that are not finite.
        MissingDependencyError: only PyAV reads it, and it is not installed.
    """
    samples = bytearray()  # grows in place; joining a list of arrays would hold everything twice
    for block in mono_blocks(path, sample_rate, high_pass=high_pass, channel=channel):
        samples += block.tobytes()
    return np.frombuffer(samples, np.float32)


def load_speech(
    path: Path,
    sample_rate: int = 16000,
    trim_db: float = 40.0,
    *,
    high_pass: float = 0.0,
    channel: str = "auto",
) -> Waveform:
    """Load a recording ready to be windowed: decoded, checked to hold sound, ends trimmed.

    Raises:
        AudioError: as `load`, or shorter than 0.05 s, or silent throughout.
        MissingDependencyError: as `load`.
    """
    waveform = load(path, sample_rate, high_pass=high_pass, channel=channel)
    try:
        return prepare(waveform, sample_rate, trim_db, noisy=expects_noise(high_pass))
    except AudioError as error:
        raise AudioError(f"{path}: {error}") from None


def speech_seconds(path: Path) -> float:
    """Return the seconds of a recording that can be used, in the memory of some seconds of it.

    Raises:
        AudioError, MissingDependencyError: as `load_speech`.
    """
    rate, length, peak = 16000, 0, 0.0
    for block in mono_blocks(path, rate):
        length += len(block)
        peak = float(np.maximum(peak, np.abs(block).max(initial=0)))
    try:
        check_sound(length, peak, rate)
    except AudioError as error:
        raise AudioError(f"{path}: {error}") from None
    return length / rate


def expects_noise(high_pass: float) -> bool:
    """Tell whether ends are cut as `windows.trim` does in noise: not for older models, which have no filter."""
    return high_pass > 0


def prepare(waveform: Waveform, sample_rate: int, trim_db: float, *, noisy: bool = False) -> Waveform:
    """Check that a waveform holds sound, and cut its quiet ends.

    Args:
        waveform: (n,), filtered.
        sample_rate: Hz.
        trim_db: see `windows.trim`; 0: nothing is cut.
        noisy: see `windows.trim`.

    Raises:
        AudioError: shorter than 0.05 s, silent throughout, or with values that are not finite.
    """
    peak = float(np.maximum(waveform.max(), -waveform.min())) if len(waveform) else 0.0
    check_sound(len(waveform), peak, sample_rate)
    return trim(waveform, trim_db, noisy=noisy) if trim_db else waveform


def check_sound(length: int, peak: float, sample_rate: int) -> None:
    """Raise AudioError for a recording without anything to recognise, or with values that no sound has.

    Args:
        length: samples.
        peak: the largest absolute value; of whole numbers too, see `full_scale`.
        sample_rate: Hz.
    """
    if length < MIN_SECONDS * sample_rate:
        seconds = length / sample_rate
        raise AudioError(f"is too short: {seconds:.4f} s of sound; {MIN_SECONDS} s are needed")
    if not np.isfinite(peak):
        raise AudioError(NOT_FINITE)
    if peak < SILENCE * full_scale(peak):
        raise AudioError("is silent: no sample is above -80 dBFS, so there is nothing to recognise")


def mono_blocks(
    path: Path, sample_rate: int, *, high_pass: float = 0.0, channel: str = "auto"
) -> Iterator[Waveform]:
    """Yield what `load` returns in blocks (n,), at least one sample in all; arguments and errors as of `load`."""
    empty = True
    for block in conditioned(file_blocks(path), sample_rate, high_pass, channel, str(path)):
        empty = empty and not len(block)
        yield block
    if empty:
        raise AudioError(f"{path}: {wav.EMPTY}")


def conditioned(
    blocks: Iterator[tuple[int, Frames]], sample_rate: int, high_pass: float, channel: str, where: str
) -> Iterator[Waveform]:
    """Mix, resample and filter blocks of one recording, (rate, (n, channels)) to (m,).

    The rate may change between blocks, as between recordings that somebody put one behind another.

    Raises:
        AudioError: samples are not finite, or there is no such channel.
        ConfigError: `channel` is not one of `channels.CHANNELS`.
    """
    keep, resampler, known = HighPass(high_pass, sample_rate), None, 0
    for rate, block in blocks:
        check_finite(block, where)
        if resampler is not None and rate != known:
            yield keep(resampler.flush())
            resampler = None
        resampler, known = resampler or Resampler(rate, sample_rate, channel, where), rate
        yield keep(resampler(block))
    if resampler:
        yield keep(resampler.flush())


def _joined(blocks: Iterator[tuple[int, Frames]]) -> Iterator[tuple[int, Frames]]:
    """Join the blocks of a codec, some 20 ms each: to filter them one by one takes several times as long."""
    waiting: list[Frames] = []
    count, of = 0, (0, 0)
    for rate, block in blocks:
        shape = rate, block.shape[1]
        if waiting and (shape != of or count >= _JOINED):
            yield of[0], np.concatenate(waiting)
            waiting, count = [], 0
        waiting.append(block)
        count, of = count + len(block), shape
    if waiting:
        yield of[0], np.concatenate(waiting)


def channel_count(path: Path) -> int:
    """Return the number of channels that a recording begins with.

    Raises:
        AudioError, MissingDependencyError: as `file_blocks`, or there is no sound in it.
    """
    for _, block in file_blocks(path):
        return int(block.shape[1])
    raise AudioError(f"{path}: {wav.EMPTY}")


def one_rate(blocks: Iterator[tuple[int, Frames]]) -> Iterator[tuple[int, Frames]]:
    """Yield blocks (rate, (n, channels)) at the rate of the first one, all channels of each kept."""
    import soxr

    first, stream, of = 0, None, (0, 0)
    for rate, block in blocks:
        first, shape = first or rate, (rate, block.shape[1])
        if stream is not None and shape != of:
            yield first, stream.resample_chunk(np.zeros((0, of[1]), np.float32), last=True).reshape(-1, of[1])
            stream = None
        if rate == first:
            yield rate, block
            continue
        stream, of = stream or soxr.ResampleStream(rate, first, shape[1]), shape
        yield first, stream.resample_chunk(block).reshape(-1, shape[1])
    if stream is not None:
        yield first, stream.resample_chunk(np.zeros((0, of[1]), np.float32), last=True).reshape(-1, of[1])


def file_blocks(path: Path) -> Iterator[tuple[int, Frames]]:
    """Yield the sample rate and blocks (n, channels) of a file of any kind, however long it is.

    Raises:
        AudioError: not sound, damaged, or cut short; the last two at times after some blocks.
        MissingDependencyError: only PyAV reads it, and it is not installed.
    """
    check_readable(path)
    with path.open("rb") as file:
        kind, head = identify_file(file)
    if kind is None or not kind.reader:
        raise AudioError(f"{path}: {not_sound(kind, path.suffix)}")
    return _and_what_follows(_reader(path, kind, head), path, kind)


def _and_what_follows(
    blocks: Iterator[tuple[int, Frames]], path: Path, kind: Kind
) -> Iterator[tuple[int, Frames]]:
    """Yield blocks, and warn where another file begins behind the first, of a kind whose decoders end there."""
    yield from blocks
    start = promises.second_start(kind)
    if start is None:
        return
    with path.open("rb") as file:
        file.seek(after_tags(file) + 1)  # not its own start
        before = b""
        while block := file.read(1 << 20):
            if start.search(before + block):
                warn_once(f"{path}: {promises.ANOTHER}")
                return
            before = (before + block)[-promises.LONGEST_START :]


def not_sound(kind: Kind | None, suffix: str = "") -> str:
    """Say what something without sound is."""
    if kind is None:
        raw = suffix.lower() in (".raw", ".pcm")
        return f"not a readable sound file: {'raw samples without a header' if raw else 'of no known kind'}"
    if kind.advice.startswith("git "):
        return f"not a readable sound file: is {kind}: {kind.advice}"
    return f"not a readable sound file: is {kind}{'; ' if kind.advice else ''}{kind.advice}"


def check_readable(path: Path) -> None:
    """Raise AudioError when `path` is not a file with something in it."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            empty = find([path]).files == [path]
            raise AudioError(
                f"{path}: {'no recording in this folder' if empty else 'is a folder, not a sound file'}"
            )
        if not stat.S_ISREG(mode):  # opening a pipe could wait for ever
            raise AudioError(f"{path}: is a pipe or a device, not a file")
        with path.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError:
        raise AudioError(f"{path}: no such file") from None
    except OSError as error:
        raise AudioError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:  # a NUL in its name
        raise AudioError(f"{path}: no such file") from None
    if empty:
        raise AudioError(f"{path}: is empty (0 bytes)")


def check_finite(block: Frames, where: str) -> None:
    """Raise AudioError for samples that are not finite."""
    bad = block.size - int(np.isfinite(block).sum())
    if bad:
        raise AudioError(f"{where}: {bad} samples are not finite numbers (NaN or infinity)")


def _reader(path: Path, kind: Kind, head: bytes) -> Iterator[tuple[int, Frames]]:
    """Choose what reads a file of this kind. Libsndfile loses the end of FLAC and CAF that were not finished."""
    if kind.reader == "wav":
        return _wav(path, kind)
    if kind == OGG and b"theora" not in head:
        return _or_ffmpeg(sndfile.ogg_blocks(path), path, kind, head)
    unfinished = (kind == FLAC and not sndfile.is_whole_flac(head)) or (kind == CAF and promises.is_open_caf(head))
    if kind == FLAC and ffmpeg.is_installed():
        unfinished = unfinished or sndfile.counts_too_few(head, path.stat().st_size)
    if kind.reader == "libsndfile" and not unfinished and kind != OGG:
        return _or_ffmpeg(sndfile.blocks(path, kind), path, kind, head)
    if kind == MP3 and not ffmpeg.is_installed():
        return sndfile.blocks(path, kind)
    return _ffmpeg(path, kind, head)


def _or_ffmpeg(
    blocks: Iterator[tuple[int, Frames]], path: Path, kind: Kind, head: bytes
) -> Iterator[tuple[int, Frames]]:
    """Yield libsndfile's blocks; FFmpeg's where libsndfile cannot begin: some FLAC in Ogg, some ALAC in CAF."""
    try:
        first = next(blocks, None)
    except sndfile.NotReadableError:
        if not (kind == CAF or b"\x7fFLAC" in head) or not ffmpeg.is_installed():
            raise
        if kind == OGG and not ogg.ends_well(ogg.ends(path, 0, path.stat().st_size)[1]):
            raise
        yield from _ffmpeg(path, kind, head)
        return
    if first is not None:
        yield first
        yield from blocks


def _ffmpeg(path: Path, kind: Kind, head: bytes) -> Iterator[tuple[int, Frames]]:
    exact = kind != FLAC or sndfile.is_whole_flac(head)
    with path.open("rb") as file:
        if kind == AVI:
            ffmpeg.check_riff_size(file, str(path))
        promises.checked(file, kind, str(path), path.stat().st_size)
        if kind == MP4:
            mp4.check_tables(file, str(path))
        file.seek(0)
        if kind == MP3:
            exact = mp3.check_size(file, str(path))
        yield from _joined(ffmpeg.sound(file, kind, str(path), exact=exact))


def _wav(path: Path, kind: Kind) -> Iterator[tuple[int, Frames]]:
    """Yield the blocks of a WAV file; see `wav` for how much of it is sound."""
    with path.open("rb") as file:
        try:
            header = wav.read_header(file.read)
        except AudioError as error:
            raise AudioError(f"{path}: {_as_file(str(error))}") from None
        length, pcm = path.stat().st_size, header.pcm
        there = length - header.at
        size = there if header.size is None else header.size
        if size > there:
            raise AudioError(f"{path}: is cut short: {there} of {size} bytes of sound are there")
        if pcm is None:
            yield from _encoded_wav(path, kind, header.encoding)
            return
        file.seek(header.at)
        yield from ((pcm.rate, block) for block in _pcm(file.read, size, pcm.size, pcm.decode))
        left = wav.bytes_left_over(file, header.at + size, length, ">" if kind == RIFX else "<")
        wav.tell_left_over(str(path), left, size / pcm.size / pcm.rate, left / pcm.size / pcm.rate)


def _pcm(
    read: Callable[[int], bytes], size: int, frame: int, decode: Callable[[bytes], Frames]
) -> Iterator[Frames]:
    at_once = max(1, sndfile.BLOCK_VALUES // frame) * frame
    while size >= frame:
        data = read(min(at_once, size - size % frame))
        whole = data[: len(data) - len(data) % frame]
        if not whole:  # it became shorter while it was read
            return
        size -= len(whole)
        yield decode(whole)


def _encoded_wav(path: Path, kind: Kind, encoding: str) -> Iterator[tuple[int, Frames]]:
    """Yield the blocks of a WAV file whose samples are encoded: ADPCM, GSM, MP3 and others."""
    if ffmpeg.is_installed() and encoding not in wav.OF_LIBSNDFILE:
        with path.open("rb") as file:
            of_codec = Kind(f"WAV of {encoding}", "ffmpeg", kind.demuxer)
            yield from _joined(ffmpeg.sound(file, of_codec, str(path)))
    else:
        yield from sndfile.blocks(path, kind)


def _as_file(reason: str) -> str:
    return "not a readable sound file: " + reason if reason == wav.DAMAGED else reason
