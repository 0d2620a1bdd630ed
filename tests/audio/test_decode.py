"""Decoding, trimming and windowing: what works, and the one line that every unusable file gets."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from fdan_edge.audio import decode, sndfile
from fdan_edge.errors import AudioError

RATE = 16000


def tone(seconds: float = 1.0, rate: int = RATE, channels: int = 1) -> NDArray[np.float32]:
    """A 220 Hz tone that fades in and out; shape (n,) or (n, channels)."""
    n = round(seconds * rate)
    wave = 0.4 * np.sin(2 * np.pi * 220 * np.arange(n) / rate) * np.hanning(n)
    mono = wave.astype(np.float32)
    return mono if channels == 1 else np.stack([mono] * channels, axis=1)


def message(path: Path) -> str:
    """The error that loading `path` ends with: one line that begins with the file's name."""
    with pytest.raises(AudioError) as caught:
        decode.load_speech(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000])
def test_any_sample_rate_gives_the_same_tone(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(rate=rate), rate, subtype="FLOAT")
    loaded = decode.load(path)
    assert loaded.dtype == np.float32
    assert abs(len(loaded) - RATE) <= 1
    np.testing.assert_allclose(loaded[:RATE], tone()[: len(loaded)], atol=2e-3)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_are_averaged(tmp_path: Path, channels: int) -> None:
    path = tmp_path / "a.wav"
    gains = np.linspace(0.2, 1.0, channels, dtype=np.float32)
    soundfile.write(path, tone()[:, None] * gains, RATE, subtype="FLOAT")
    np.testing.assert_allclose(decode.load(path), tone() * gains.mean(), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "subtype", "tolerance"),
    [
        ("a.wav", "PCM_16", 1e-4),
        ("a.wav", "PCM_24", 1e-6),
        ("a.wav", "PCM_U8", 1e-2),
        ("a.wav", "FLOAT", 0),
        ("a.wav", "DOUBLE", 0),
        ("a.WAV", "ULAW", 2e-2),
        ("a.flac", "PCM_16", 1e-4),
        ("a.aiff", "PCM_16", 1e-4),
        ("a.au", "PCM_16", 1e-4),
        ("a.w64", "PCM_16", 1e-4),
        ("a.caf", "PCM_16", 1e-4),
        ("a.ogg", "VORBIS", 5e-2),
        ("a.mp3", None, 5e-2),
    ],
)
def test_formats(tmp_path: Path, name: str, subtype: str | None, tolerance: float) -> None:
    path = tmp_path / name
    soundfile.write(path, tone(), RATE, subtype=subtype)
    loaded = decode.load(path)
    assert len(loaded) == RATE
    np.testing.assert_allclose(loaded, tone(), atol=tolerance)


@pytest.mark.parametrize("name", ["with space.wav", "ä 中文 🎤.wav", "a: b.wav", "[red]x.wav"])
def test_names_of_any_letters(tmp_path: Path, name: str) -> None:
    soundfile.write(tmp_path / name, tone(), RATE)
    assert len(decode.load(tmp_path / name)) == RATE


def test_name_that_is_not_utf8(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(), RATE)
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.wav"))
    (tmp_path / "a.wav").rename(path)
    assert len(decode.load(path)) == RATE


def test_a_long_file_is_decoded_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(2.0, 44100, channels=2), 44100, subtype="FLOAT")
    whole = decode.load(path)
    monkeypatch.setattr(sndfile, "BLOCK_VALUES", 1000)
    np.testing.assert_allclose(decode.load(path), whole, atol=1e-6)


# --- files that cannot be used ---


def write(path: Path, samples: NDArray[np.generic] | None = None, subtype: str | None = "PCM_16") -> bytes:
    """Write samples (a tone by default) in the format of the name, and give the file's bytes back."""
    soundfile.write(path, tone() if samples is None else samples, RATE, subtype=subtype)
    return path.read_bytes()


def test_missing_folder_and_empty(tmp_path: Path) -> None:
    assert message(tmp_path / "none.wav") == "no such file"
    assert message(tmp_path) == "no recording in this folder"
    (tmp_path / "a.wav").touch()
    assert message(tmp_path) == "is a folder, not a sound file"
    (tmp_path / "0.wav").touch()
    assert message(tmp_path / "0.wav") == "is empty (0 bytes)"
    assert "Not a directory" in message(tmp_path / "0.wav" / "x.wav")


def test_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.wav")
    assert "is a pipe or a device" in message(tmp_path / "a.wav")


@pytest.mark.parametrize(
    "name", ["a.wav", "a.flac", "a.ogg", "a.opus", "a.aiff", "a.au", "a.w64", "a.caf", "a.mp3"]
)
@pytest.mark.parametrize("share", [0.4, 0.8, 0.99])
def test_cut_short(tmp_path: Path, name: str, share: float) -> None:
    whole = tmp_path / name
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE * 8)
    if name == "a.opus":
        soundfile.write(whole, noise, RATE, format="OGG", subtype="OPUS")
    else:
        soundfile.write(whole, noise, RATE)
    decode.load_speech(whole)
    data = whole.read_bytes()
    whole.write_bytes(data[: int(len(data) * share)])
    assert "is cut short" in message(whole) or "not a readable sound file" in message(whole)


def test_cut_wav_says_how_much_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(write(path)[: 44 + 8000])
    assert message(path) == "is cut short: 8000 of 32000 bytes of sound are there"


def test_damaged_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    data = bytearray(write(path))
    middle = len(data) // 2
    data[middle : middle + 100] = bytes(100)
    path.write_bytes(data)
    assert message(path) == "is cut short or damaged: not all of its 1.00 s can be decoded"


@pytest.mark.parametrize(
    "content",
    [
        b"this is no sound\n" * 50,
        b"\x89PNG\r\n\x1a\n" + bytes(200),
        b"RIFF",
        b"fLaC" + bytes(range(256)) * 4,
        b"OggS" + bytes(200),
        np.random.default_rng(1).bytes(3000),
    ],
    ids=["text", "png", "riff", "flac", "ogg", "noise"],
)
@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_not_audio(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert message(tmp_path / name).startswith("not a readable sound file: ")


def test_raw_samples(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(bytes(3200))
    assert message(tmp_path / "a.raw") == "not a readable sound file: raw samples without a header"


@pytest.mark.parametrize("name", ["a.wav", "a.aiff", "a.ogg"])
def test_no_samples(tmp_path: Path, name: str) -> None:
    soundfile.write(tmp_path / name, np.zeros(0), RATE)
    assert message(tmp_path / name) == "holds no samples"


def test_one_sample(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.ones(1), RATE)
    assert len(decode.load(path)) == 1
    assert message(path) == "is too short: 0.0001 s of sound; 0.05 s are needed"


def test_silence(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", np.zeros(RATE))
    assert message(tmp_path / "a.wav").startswith("is silent: no sample is above -80 dBFS")
    write(tmp_path / "b.wav", np.full(RATE, 2e-4), "FLOAT")
    assert len(decode.load_speech(tmp_path / "b.wav")) == RATE


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rate", [16000, 44100])
def test_not_finite(tmp_path: Path, value: float, rate: int) -> None:
    samples = tone(channels=2)
    samples[100] = value, -value  # their mean would warn
    soundfile.write(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
    assert message(tmp_path / "a.wav") == "2 samples are not finite numbers (NaN or infinity)"


def test_prepare_refuses_what_is_not_finite() -> None:
    waveform = tone()
    waveform[5] = np.nan
    with pytest.raises(AudioError, match="not finite"):
        decode.prepare(waveform, RATE, 40.0)


def patched(path: Path, offset: int, *numbers: int) -> None:
    """Put 32-bit numbers over a file's bytes."""
    data = bytearray(path.read_bytes())
    struct.pack_into(f"<{len(numbers)}I", data, offset, *numbers)
    path.write_bytes(data)


@pytest.mark.parametrize("rate", [1, 2**31 - 1])
def test_impossible_sample_rate(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "a.wav"
    write(path)
    patched(path, 24, rate)
    assert message(path) == f"damaged header: a sample rate of {rate} Hz; valid are 1000 to 768000"


def test_impossible_header(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    write(path)
    patched(path, 24, 0)
    assert message(path) == "damaged header: a sample rate of 0 Hz; valid are 1000 to 768000"


# --- WAV files written by programs that stream ---


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF - 36, 0xFFFFFFFF])
@pytest.mark.parametrize("riff", [0, 36, 0xFFFFFFFF])
def test_streamed_wav(tmp_path: Path, size: int, riff: int) -> None:
    path = tmp_path / "a.wav"
    write(path)
    patched(path, 4, riff)
    patched(path, 40, size)
    np.testing.assert_allclose(decode.load(path), tone(), atol=1e-4)


def test_empty_wav_with_a_chunk_behind_is_not_taken_for_a_stream(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    data = write(path, np.zeros(0)) + b"LIST" + struct.pack("<I", 4000) + bytes(4000)
    path.write_bytes(data)
    patched(path, 4, len(data) - 8)
    assert message(path) == "holds no samples"


def test_chunk_behind_the_sound_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(write(path) + b"LIST" + struct.pack("<I", 4) + b"abcd")
    assert len(decode.load(path)) == RATE


# --- an hour ---

_HOUR = """
import sys
from pathlib import Path
from fdan_edge.audio import decode
from fdan_edge.audio.windows import window_batches
wave = decode.load_speech(Path(sys.argv[1]), 16000, 40.0)
count = sum(len(batch) for batch in window_batches(wave, 48000, 24000, 16))
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print(len(wave), count, peak // 1024)
"""


def test_an_hour_needs_little_more_memory_than_its_samples(tmp_path: Path) -> None:
    path = tmp_path / "hour.wav"
    hour, data = 3600 * RATE, 2 * 3600 * RATE
    write(path)
    with path.open("r+b") as file:
        file.truncate(44 + data)  # a sparse file: zeros that take no room on the disk
        file.seek(44 + data // 2)
        file.write((tone(rate=RATE) * 32767).astype("<i2").tobytes())
    patched(path, 4, 36 + data)
    patched(path, 40, data)
    done = subprocess.run([sys.executable, "-c", _HOUR, path], capture_output=True, text=True, check=True)
    length, count, peak = (int(word) for word in done.stdout.split())
    assert hour // 2 < length < hour // 2 + 1.1 * RATE  # silence after the second tone is trimmed
    assert count == -(-(length - 48000) // 24000) + 1
    assert peak < 400  # MiB; the samples are 220


@pytest.mark.corpora
def test_real_recordings_are_decoded_as_librosa_does(pytestconfig: pytest.Config) -> None:
    librosa = pytest.importorskip("librosa")

    root = pytestconfig.rootpath.parent / "shared" / "data"
    for path in [sorted((root / "ravdess").rglob("*.flac"))[0], sorted((root / "emodb").rglob("*.*"))[-1]]:
        samples, rate = soundfile.read(path, dtype="float32")
        expected = librosa.resample(samples, orig_sr=rate, target_sr=RATE, res_type="soxr_hq")
        loaded = decode.load(path)
        assert abs(len(loaded) - len(expected)) <= 1
        n = min(len(loaded), len(expected))
        np.testing.assert_allclose(loaded[:n], expected[:n], atol=2e-3)
