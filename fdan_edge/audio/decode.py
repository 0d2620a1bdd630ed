"""Read recordings as numpy arrays: decode, mix to mono, resample, trim, cut into windows.

Sound files are read by libsndfile, the sound of videos by PyAV, where it is installed.

All of this runs on the device too, so nothing imports torch or librosa.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fdan_edge.audio import video
from fdan_edge.audio.resample import Resampler
from fdan_edge.errors import AudioError, DataError, one_line

if TYPE_CHECKING:
    import soundfile

Waveform = NDArray[np.float32]

EXTENSIONS = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64", ".opus")
SILENCE = 1e-4  # a peak below -80 dBFS is no sound
MIN_SECONDS = 0.05  # less than one syllable tells nothing
RATES = (1000, 768_000)  # Hz; a header outside of this is damaged
_FRAME, _HOP = 2048, 512  # samples, of librosa.effects.trim
BLOCK_VALUES = 1 << 20  # decoded at once, all channels together
_OGG_PAGE = 65307  # bytes at most
#: How libsndfile's log says that a header promises more bytes than the file has (WAV, AIFF, AU, W64).
_PROMISED = re.compile(r"^ ?(?:data|SSND|  Data Size|riff) *: (\d+) \(should be (\d+)\)", re.MULTILINE)


def load(path: Path, sample_rate: int = 16000) -> Waveform:
    """Decode a sound file, or the sound of a video, to mono at `sample_rate`.

    Returns:
        float32 samples, shape (n,), usually within -1..1; channels are averaged. The file is
        decoded in blocks, so an hour of 48 kHz stereo needs little more than its result.

    Raises:
        AudioError: missing, empty, not audio, cut short, or with samples that are not finite.
        MissingDependencyError: a video, and PyAV is not installed.
    """
    check_readable(path)
    samples = bytearray()  # grows in place; joining a list of arrays would hold everything twice
    blocks = _of_video(path) if video.is_video(path) else sound_blocks(path)
    for block in _resampled(blocks, sample_rate):
        samples += block.tobytes()
    if not samples:
        raise AudioError(f"{path}: holds no samples")
    return np.frombuffer(samples, np.float32)


def load_speech(path: Path, sample_rate: int = 16000, trim_db: float = 40.0) -> Waveform:
    """Load a recording ready to be windowed: decoded, checked to hold sound, ends trimmed.

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
        seconds = len(waveform) / sample_rate
        raise AudioError(f"is too short: {seconds:.4f} s of sound; {MIN_SECONDS} s are needed")
    peak = float(np.maximum(waveform.max(), -waveform.min()))
    if not np.isfinite(peak):
        raise AudioError("has samples that are not finite numbers")
    if peak < SILENCE:
        raise AudioError("is silent: no sample is above -80 dBFS, so there is nothing to recognise")
    return trim(waveform, trim_db) if trim_db else waveform


def check_readable(path: Path) -> None:
    """Raise AudioError when `path` is not a file with something in it."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            if _sounds_below(path):
                raise AudioError(f"{path}: is a folder, not a sound file")
            raise AudioError(f"{path}: no sound file in this folder ({', '.join(EXTENSIONS)})")
        if not stat.S_ISREG(mode):  # opening a pipe could wait for ever
            raise AudioError(f"{path}: is a pipe or a device, not a file")
        with path.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError:
        raise AudioError(f"{path}: no such file") from None
    except OSError as error:
        raise AudioError(f"{path}: cannot be read: {error.strerror}") from None
    if empty:
        raise AudioError(f"{path}: is empty (0 bytes)")


def trim(waveform: Waveform, top_db: float) -> Waveform:
    """Cut the ends that are more than `top_db` below the loudest frame.

    Frames of 2048 samples, 512 apart; the result is that of `librosa.effects.trim`, without librosa.
    """
    # A frame is 4 hops long and centred on one, so its energy is a sum over 4 of them.
    hops = np.zeros(-(-len(waveform) // _HOP) + _FRAME // _HOP)
    before, whole = _FRAME // _HOP // 2, len(waveform) // _HOP
    hops[before : before + whole] = _energy(waveform[: whole * _HOP].reshape(-1, _HOP))
    hops[before + whole] = _energy(waveform[None, whole * _HOP :])[0]
    count = len(waveform) // _HOP + 1
    power = sum(hops[i : i + count] for i in range(_FRAME // _HOP)) / _FRAME
    power = np.maximum(power, 1e-10)
    loud = np.flatnonzero(10 * np.log10(power / power.max()) > -top_db)
    return waveform[loud[0] * _HOP : min(len(waveform), (loud[-1] + 1) * _HOP)]


def windows(waveform: Waveform, size: int, hop: int) -> Waveform:
    """Cut a waveform into windows of `size` samples, `hop` apart.

    Shorter than one window: centred in zeros. Longer: the last window ends with the waveform.

    Returns:
        float32, shape (n >= 1, size).
    """
    return next(window_batches(waveform, size, hop, batch=0))


def window_batches(waveform: Waveform, size: int, hop: int, batch: int) -> Iterator[Waveform]:
    """Yield the windows of `windows` by the batch (0: all at once), so that an hour needs no second copy."""
    spare = len(waveform) - size
    if spare <= 0:
        before = -spare // 2
        yield np.pad(waveform, (before, -spare - before))[None]
        return
    starts = np.minimum(np.arange(0, spare + hop, hop), spare)
    step = batch or len(starts)
    for first in range(0, len(starts), step):
        yield np.stack([waveform[start : start + size] for start in starts[first : first + step]])


def find(paths: list[Path]) -> list[Path]:
    """List the files among `paths`, and the sound files below the folders among them, sorted.

    Hidden files and folders are skipped: macOS leaves a `._NAME.wav` beside every NAME.wav. A folder without a
    sound file is listed itself, so that `load` reports it as it reports a missing file.
    """
    files: list[Path] = []
    for path in paths:
        files.extend((_sounds_below(path) if path.is_dir() else []) or [path])
    return files


def _sounds_below(folder: Path) -> list[Path]:
    files: list[Path] = []
    for base, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files.extend(Path(base, name) for name in names)
    return sorted(path for path in files if _is_sound(path))


def _is_sound(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS and not path.name.startswith(".") and path.is_file()


def _energy(rows: Waveform) -> NDArray[np.float64]:
    """Return the sum of squares of each row, in double precision without a copy in it."""
    energy: NDArray[np.float64] = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    return energy


@contextlib.contextmanager
def _open(path: Path) -> Iterator[soundfile.SoundFile]:
    import soundfile

    def reading(source: Any) -> soundfile.SoundFile:
        try:
            return soundfile.SoundFile(source)
        except (soundfile.SoundFileError, RuntimeError) as error:
            raise AudioError(f"{path}: not a readable sound file: {_reason(error)}") from None
        except TypeError:  # soundfile asks for the rate and channels of what is called .raw
            raise AudioError(f"{path}: not a readable sound file: raw samples without a header") from None

    # As bytes, because soundfile cannot encode names that are not UTF-8.
    with reading(os.fsencode(path)) as file:
        if file.frames or file.format not in ("WAV", "WAVEX"):
            yield file
            return
    with _StreamedWav(path) as raw, reading(raw) as file:
        yield file


def _reason(error: Exception) -> str:
    """Return libsndfile's own words, without the file name that soundfile puts before them."""
    reason = str(getattr(error, "error_string", "")) or one_line(error)
    # Its MP3 decoder's way to say that there is no MP3 frame; the file was there a moment ago.
    return "Format not recognised." if "does not exist" in reason else reason


class _StreamedWav(io.FileIO):
    """Reads a WAV file; a data size of 0 that a program wrote before it streamed is read as the real size."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "rb")
        self._at, self._size = self._find_data()
        self.seek(0)

    def readinto(self, buffer: Any) -> int:
        start = self.tell()
        count = super().readinto(buffer) or 0
        for index, byte in enumerate(self._size):
            if start <= self._at + index < start + count:
                buffer[self._at + index - start : self._at + index - start + 1] = bytes([byte])
        return count

    def _find_data(self) -> tuple[int, bytes]:
        """Return where the data chunk's size is, and the bytes to read there: none to leave it as it is."""
        length = self.seek(0, os.SEEK_END)
        self.seek(4)
        riff_end = 8 + struct.unpack("<I", self.read(4))[0]
        at = 12
        while at + 8 <= length:
            self.seek(at)
            name, size = struct.unpack("<4sI", self.read(8))
            if name == b"data":
                # A chunk that the RIFF size covers follows an honestly empty one.
                streamed = size == 0 and not at + 8 < riff_end <= length
                return at + 4, struct.pack("<I", min(length - at - 8, 0xFFFFFFFE)) if streamed else b""
            at += 8 + size + size % 2
        return 0, b""


def _of_video(path: Path) -> Iterator[tuple[int, Waveform]]:
    """Yield the sample rate and mono blocks of a video's sound."""
    try:
        for rate, block in video.sound(path):
            _check_rate(rate, path)
            _check_finite(block, path)
            yield rate, block
    except DataError as error:
        raise AudioError(str(error)) from None


def sound_blocks(path: Path) -> Iterator[tuple[int, Waveform]]:
    """Yield the sample rate and mono blocks (n,) of a file that libsndfile reads, however long it is.

    Raises:
        AudioError: not such a file, damaged, or cut short; the last two at times after some blocks.
    """
    with _open(path) as file:
        _check_header(file, path)
        for block in _decoded(file, path):
            yield file.samplerate, block


def _resampled(blocks: Iterator[tuple[int, Waveform]], sample_rate: int) -> Iterator[Waveform]:
    """Yield mono blocks at `sample_rate` from blocks that all have the same rate."""
    resampler: Resampler | None = None
    for rate, block in blocks:
        resampler = resampler or Resampler(rate, sample_rate)
        yield resampler(block)
    if resampler:
        yield resampler.flush()


def _decoded(file: soundfile.SoundFile, path: Path) -> Iterator[Waveform]:
    """Yield mono blocks of an open file; raise where it holds less than its header promises."""
    import soundfile

    promised, read = file.frames, 0
    while True:
        try:
            block = file.read(max(1, BLOCK_VALUES // file.channels), dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, RuntimeError):
            seconds = promised / file.samplerate
            raise AudioError(
                f"{path}: is cut short or damaged: not all of its {seconds:.2f} s can be decoded"
            ) from None
        if not len(block):
            break
        read += len(block)
        _check_finite(block, path)
        yield block.mean(axis=1, dtype=np.float64).astype(np.float32)
    if read < promised:
        there, whole = read / file.samplerate, promised / file.samplerate
        raise AudioError(f"{path}: is cut short or damaged: {there:.2f} of {whole:.2f} s could be decoded")


def _check_header(file: soundfile.SoundFile, path: Path) -> None:
    """Raise for what libsndfile only logs: a file that ends early, or a header that makes no sense."""
    _check_rate(file.samplerate, path)
    if file.format == "OGG" and not _ends_well(path):
        raise AudioError(f"{path}: is cut short: the end of its Ogg stream is missing")
    match = _PROMISED.search(file.extra_info)
    if match and int(match[1]) > int(match[2]) and not _streamed(int(match[1])):
        raise AudioError(f"{path}: is cut short: {match[2]} of {match[1]} bytes of sound are there")


def _check_rate(rate: int, path: Path) -> None:
    if not RATES[0] <= rate <= RATES[1]:
        raise AudioError(f"{path}: damaged header: a sample rate of {rate} Hz")


def _check_finite(block: Waveform, path: Path) -> None:
    bad = block.size - int(np.isfinite(block).sum())
    if bad:
        raise AudioError(f"{path}: {bad} samples are not finite numbers (NaN or infinity)")


def _ends_well(path: Path) -> bool:
    """Return whether the last Ogg page is whole and marked as the last; libsndfile reads what there is."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2 * _OGG_PAGE))
        tail = file.read()
    start = tail.rfind(b"OggS")
    page = tail[start:]
    if start < 0 or len(page) < 27:
        return False
    segments = page[27 : 27 + page[26]]
    return bool(page[5] & 4) and len(page) >= 27 + page[26] + sum(segments)


def _streamed(size: int) -> bool:
    """Return whether a program that cannot seek back wrote this size, to mean "until the end of the file"."""
    return 0x7FFFF000 <= size <= 0x80000000 or 0xFFFFF000 <= size <= 0xFFFFFFFF
