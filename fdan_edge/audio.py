"""Recordings as numpy arrays: decode, mix to mono, resample, trim, cut into windows.

Everything here runs on the device too, so nothing imports torch or librosa.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fdan_edge.errors import AudioError, one_line

if TYPE_CHECKING:
    import soundfile

Waveform = NDArray[np.float32]

EXTENSIONS = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64", ".opus")
SILENCE = 1e-4  # a peak below -80 dBFS is no sound
MIN_SECONDS = 0.05  # less than one syllable tells nothing
_BLOCK_SECONDS = 30
#: Data sizes that programs write when they cannot seek back: "until the end of the file".
_STREAMED_SIZES = {0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF} | set(range(0x7FFFF000, 0x7FFFFFFF))


def load(path: Path, sample_rate: int = 16000) -> Waveform:
    """Decode a sound file to mono at `sample_rate`.

    Returns:
        float32 samples, shape (n,), usually within -1..1; channels are averaged. The file is
        decoded in blocks, so an hour of 48 kHz stereo needs little more than its result.

    Raises:
        AudioError: missing, empty, not audio, cut short, or with samples that are not finite.
    """
    check_readable(path)
    blocks = list(_resampled(_open(path), path, sample_rate))
    waveform = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    if not len(waveform):
        raise AudioError(f"{path}: holds no samples")
    return waveform


def load_speech(path: Path, sample_rate: int = 16000, trim_db: float = 40.0) -> Waveform:
    """A recording ready to be windowed: decoded, checked to hold sound, ends trimmed.

    Raises:
        AudioError: as `load`, or shorter than 0.05 s, or silent throughout.
    """
    waveform = load(path, sample_rate)
    try:
        return prepare(waveform, sample_rate, trim_db)
    except AudioError as error:
        raise AudioError(f"{path}: {error}") from None


def prepare(waveform: Waveform, sample_rate: int, trim_db: float) -> Waveform:
    """Check that a waveform holds sound, and cut its quiet ends.

    Raises:
        AudioError: shorter than 0.05 s, silent throughout, or with values that are not finite.
    """
    if len(waveform) < MIN_SECONDS * sample_rate:
        raise AudioError(f"only {len(waveform)} samples long; {MIN_SECONDS} s are needed")
    peak = float(np.max(np.abs(waveform)))
    if not np.isfinite(peak):
        raise AudioError("has samples that are not finite numbers")
    if peak < SILENCE:
        raise AudioError("is silent: no sample is above -80 dBFS, so there is nothing to recognise")
    return trim(waveform, trim_db) if trim_db else waveform


def check_readable(path: Path) -> None:
    """Raise AudioError when `path` is not a file with something in it."""
    if path.is_dir():
        raise AudioError(f"{path}: is a folder, not a sound file")
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError:
        raise AudioError(f"{path}: no such file") from None
    except OSError as error:
        raise AudioError(f"{path}: cannot be read: {error.strerror}") from None
    if empty:
        raise AudioError(f"{path}: is empty (0 bytes)")


def trim(waveform: Waveform, top_db: float, frame: int = 2048, hop: int = 512) -> Waveform:
    """Cut the ends that are more than `top_db` below the loudest frame.

    The frames, thresholds and result are those of `librosa.effects.trim`, without librosa.
    """
    padded = np.pad(waveform.astype(np.float64), frame // 2)
    energy = np.concatenate([[0.0], np.cumsum(padded**2)])
    starts = np.arange(0, len(waveform) + 1, hop)
    starts = starts[starts + frame <= len(padded)]
    power = np.maximum((energy[starts + frame] - energy[starts]) / frame, 1e-10)
    loud = np.flatnonzero(10 * np.log10(power / power.max()) > -top_db)
    return waveform[loud[0] * hop : min(len(waveform), (loud[-1] + 1) * hop)]


def windows(waveform: Waveform, size: int, hop: int) -> Waveform:
    """Cut a waveform into windows of `size` samples, `hop` apart.

    Shorter than one window: centred in zeros. Longer: the last window ends with the waveform.

    Returns:
        float32, shape (n >= 1, size).
    """
    spare = len(waveform) - size
    if spare <= 0:
        before = -spare // 2
        return np.pad(waveform, (before, -spare - before))[None]
    starts = np.minimum(np.arange(0, spare + hop, hop), spare)
    return np.stack([waveform[start : start + size] for start in starts])


def find(paths: list[Path]) -> list[Path]:
    """The files among `paths`, and the sound files below the folders among them, sorted.

    Raises:
        AudioError: a folder holds no sound file.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in EXTENSIONS and p.is_file())
        if not inside:
            raise AudioError(f"{path}: no sound file in this folder ({', '.join(EXTENSIONS)})")
        found.extend(inside)
    return found


def _open(path: Path) -> soundfile.SoundFile:
    import soundfile

    try:
        return soundfile.SoundFile(path)
    except (soundfile.SoundFileError, RuntimeError, TypeError) as error:
        reason = one_line(error).partition(": ")[2] or one_line(error)
        raise AudioError(f"{path}: not a sound file that libsndfile reads: {reason}") from None


def _resampled(file: soundfile.SoundFile, path: Path, sample_rate: int) -> Iterator[Waveform]:
    """Mono blocks of an open file at `sample_rate`; a length that is short of the header's raises."""
    import soxr

    with file:
        _check_not_cut(file, path)
        native = file.samplerate
        stream = None if native == sample_rate else soxr.ResampleStream(native, sample_rate, 1)
        for block in _decoded(file, path):
            yield stream.resample_chunk(block) if stream else block
        if stream:
            yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def _decoded(file: soundfile.SoundFile, path: Path) -> Iterator[Waveform]:
    import soundfile

    promised, read = file.frames, 0
    while True:
        try:
            block = file.read(_BLOCK_SECONDS * file.samplerate, dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, RuntimeError):
            raise _cut_short(path, read, promised, file.samplerate) from None
        if not len(block):
            break
        read += len(block)
        mono: Waveform = block.mean(axis=1, dtype=np.float32)
        if not np.isfinite(mono).all():
            bad = int((~np.isfinite(mono)).sum())
            raise AudioError(f"{path}: {bad} samples are not finite numbers (NaN or infinity)")
        yield mono
    if file.seekable() and read < promised:
        raise _cut_short(path, read, promised, file.samplerate)


def _check_not_cut(file: soundfile.SoundFile, path: Path) -> None:
    """Raise when a WAV header promises more data than the file holds; libsndfile only logs it."""
    match = re.search(r"data\s*:\s*(\d+)\s*\(should be (\d+)\)", file.extra_info)
    if match and int(match[1]) > int(match[2]) and int(match[1]) not in _STREAMED_SIZES:
        promised, present = int(match[1]), int(match[2])
        raise AudioError(f"{path}: is cut short: {present} of {promised} bytes of sound are there")


def _cut_short(path: Path, read: int, promised: int, sample_rate: int) -> AudioError:
    seconds = f"{read / sample_rate:.2f} s could be decoded"
    if 0 < promised < 2**40:
        seconds = f"{read / sample_rate:.2f} of {promised / sample_rate:.2f} s could be decoded"
    return AudioError(f"{path}: is cut short or damaged: {seconds}")
