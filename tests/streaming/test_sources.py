"""Files and pipes as sources of live sound."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import threading
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fdan_edge.audio.resample import Samples
from fdan_edge.errors import AudioError, ConfigError
from fdan_edge.streaming.backlog import Backlog, End, Sound
from fdan_edge.streaming.sources import (
    ENDED,
    SAMPLES,
    STOPPED,
    AudioSource,
    FileSource,
    PcmFormat,
    PcmPipe,
    PipeLead,
)

NOISE = np.random.default_rng(0).uniform(-0.9, 0.9, (24_000, 2)).astype(np.float32)


def drained(source: AudioSource, limit: float = 5.0) -> tuple[Samples, str]:
    """All that a source brings, and its last word."""
    backlog, parts = Backlog(source.rate, limit), []

    def bring() -> None:
        try:
            backlog.close(source.feed(backlog))
        except AudioError as error:
            backlog.close(str(error))

    thread = threading.Thread(target=bring)
    thread.start()
    while not isinstance(piece := backlog.take(timeout=10), End):
        assert isinstance(piece, Sound)
        parts.append(piece.samples)
    thread.join()
    return np.concatenate(parts), piece.reason


@contextlib.contextmanager
def pipe(data: bytes, *, chunk: int | None = None) -> Iterator[int]:
    """The end of a pipe that brings `data`, some bytes at once."""
    taken, given = os.pipe()

    def write() -> None:
        with contextlib.suppress(BrokenPipeError):
            for first in range(0, len(data), chunk or len(data) or 1):
                os.write(given, data[first : first + (chunk or len(data))])
        os.close(given)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield taken
    finally:
        os.close(taken)
        thread.join()


def wav(sound: Samples, subtype: str = "PCM_16", kind: str = "WAV", rate: int = 22_050) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound, rate, subtype=subtype, format=kind)
    return file.getvalue()


@pytest.mark.parametrize(("suffix", "rate"), [("wav", 16_000), ("flac", 48_000), ("ogg", 44_100)])
def test_a_file_is_heard_whole(tmp_path: Path, suffix: str, rate: int) -> None:
    path = tmp_path / f"two channels.{suffix}"
    soundfile.write(path, NOISE, rate)
    source = FileSource(path)
    assert (source.name, source.rate, source.live) == (path.name, rate, False)
    got, reason = drained(source, limit=0.1)
    assert reason == ENDED
    expected = soundfile.read(path, dtype="float32")[0].mean(axis=1)
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_a_long_file_waits_for_its_listener(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.tile(NOISE, (10, 1)), 16_000)
    source, backlog = FileSource(tmp_path / "x.wav"), Backlog(16_000, limit=1.0)
    reasons: list[str] = []
    thread = threading.Thread(target=lambda: reasons.append(source.feed(backlog)))
    thread.start()
    while backlog.waiting < 15_200:
        time.sleep(0.01)
    backlog.close("enough")
    thread.join(timeout=10)
    assert reasons == [STOPPED]
    assert backlog.waiting <= 16_000
    assert backlog.dropped == 0


def test_real_time_takes_its_time(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", NOISE[:4800], 16_000)
    source, begun = FileSource(tmp_path / "x.wav", realtime=True), time.monotonic()
    assert source.live
    got, reason = drained(source)
    assert time.monotonic() - begun >= 0.3
    assert (len(got), reason) == (4800, ENDED)


def test_real_time_can_be_ended(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.tile(NOISE, (100, 1)), 16_000)
    source = FileSource(tmp_path / "x.wav", realtime=True)
    threading.Timer(0.1, source.close).start()
    assert source.feed(Backlog(16_000)) == STOPPED


def test_a_damaged_file_says_so_after_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "x.flac"
    soundfile.write(path, np.tile(NOISE, (100, 1)), 16_000)
    data = bytearray(path.read_bytes())
    middle = len(data) * 3 // 4
    data[middle : middle + 20_000] = bytes(20_000)
    path.write_bytes(data)
    got, reason = drained(FileSource(path))
    assert 0 < len(got) < 2_400_000
    assert "damaged" in reason


def test_what_is_no_sound_file(tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(b"no sound")
    with pytest.raises(AudioError, match="not a readable sound file"):
        FileSource(tmp_path / "x.wav")
    with pytest.raises(AudioError, match="no such file"):
        FileSource(tmp_path / "y.wav")
    soundfile.write(tmp_path / "z.wav", NOISE[:0], 16_000)
    with pytest.raises(AudioError, match="holds no samples"):
        FileSource(tmp_path / "z.wav")


def raw(sound: Samples, sample: str) -> bytes:
    kind, zero, scale = SAMPLES[sample]
    values = sound.astype(np.float64) * (scale - (kind != "<f4")) + zero
    return (values if kind == "<f4" else np.round(values)).astype(kind).tobytes()


@pytest.mark.parametrize("chunk", [1001, 65_536])
@pytest.mark.parametrize(("sample", "exact"), [("s16", 1e-4), ("s32", 1e-6), ("f32", 0), ("u8", 0.02)])
def test_raw_samples(sample: str, exact: float, chunk: int) -> None:
    with pipe(raw(NOISE, sample), chunk=chunk) as end:
        source = PcmPipe(PcmFormat(24_000, 2, sample), end)
        assert source.name == f"standard input (raw: 24000 Hz, 2 channels, {sample})"
        got, reason = drained(source)
    assert reason == ENDED
    np.testing.assert_allclose(got, NOISE, atol=exact)


def test_half_a_frame_at_the_end_is_left() -> None:
    with pipe(raw(NOISE[:100], "s16") + b"abc") as end:
        assert len(drained(PcmPipe(PcmFormat(16_000, 2, "s16"), end))[0]) == 100


def test_samples_come_when_they_are_there() -> None:
    taken, given = os.pipe()
    os.write(given, bytes(64))
    source, backlog = PcmPipe(PcmFormat(), taken), Backlog(16_000)
    thread = threading.Thread(target=source.feed, args=(backlog,))
    thread.start()
    first = backlog.take(timeout=10)
    assert isinstance(first, Sound)  # though the pipe stays open
    source.close()
    thread.join(timeout=10)
    assert not thread.is_alive()
    os.close(given)
    os.close(taken)


def test_what_is_no_number_is_silence_and_told() -> None:
    values = np.array([0.5, np.nan, np.inf, -np.inf, 1e30, -0.5], "<f4")
    with pipe(values.tobytes()) as end:
        got, reason = drained(PcmPipe(PcmFormat(sample="f32"), end))
    assert got[:, 0].tolist() == [0.5, 0, 0, 0, 0, -0.5]
    assert reason.startswith(f"{ENDED}; 4 values in it were no sound")


def test_a_fast_pipe_loses_nothing() -> None:
    """A pipe from a decoder brings minutes in a moment; beside a microphone's it can wait."""
    sound = np.zeros(16_000 * 60, "<i2")
    with pipe(sound.tobytes(), chunk=60_000) as end:
        got, _ = drained(PcmPipe(PcmFormat(), end), limit=3.0)
    assert len(got) == len(sound)


def test_hours_of_a_fast_sound_card_are_not_a_decoder() -> None:
    lead, now = PipeLead(0.0), 0.0
    for _ in range(36_000):
        now += 0.0995
        assert lead.after(0.1, now) < 0.2
    now += 60  # the pipe stood still; that is no credit
    assert [lead.after(0.5, now) > 1 for _ in range(4)] == [False, False, True, True]


def test_a_file_on_standard_input_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.raw").write_bytes(bytes(2 * 16_000 * 60))
    with (tmp_path / "x.raw").open("rb") as file:
        source = PcmPipe(PcmFormat(), file.fileno())
        assert not source.live
        assert len(drained(source, limit=0.5)[0]) == 16_000 * 60


@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
@pytest.mark.parametrize(
    ("subtype", "sample", "exact"),
    [("PCM_16", "s16", 1e-4), ("PCM_32", "s32", 1e-6), ("FLOAT", "f32", 0), ("PCM_U8", "u8", 0.02)],
)
def test_a_wav_header_says_what_follows(kind: str, subtype: str, sample: str, exact: float) -> None:
    data = wav(NOISE, subtype, kind)
    with pipe(data, chunk=999) as end:
        source = PcmPipe(PcmFormat(8000, 1, "f32"), end)
        assert source.name == f"standard input (WAV: 22050 Hz, 2 channels, {sample})"
        assert source.rate == 22_050
        got, _ = drained(source)
    np.testing.assert_allclose(got[: len(NOISE)], NOISE, atol=exact)


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_the_sizes_of_a_streamed_wav_mean_nothing(size: int) -> None:
    file = io.BytesIO()
    with wave.open(file, "wb") as made:
        made.setnchannels(1)
        made.setsampwidth(2)
        made.setframerate(16_000)
        made.writeframes(raw(NOISE[:, :1], "s16"))
    data = bytearray(file.getvalue())
    data[40:44] = struct.pack("<I", size)
    with pipe(bytes(data)) as end:
        assert len(drained(PcmPipe(PcmFormat(), end))[0]) == len(NOISE)


def test_chunks_behind_the_samples_are_no_sound() -> None:
    data = wav(NOISE)
    with pipe(data + b"LIST" + struct.pack("<I", 70_000) + bytes(70_000)) as end:
        got, _ = drained(PcmPipe(PcmFormat(), end))
    assert len(got) == len(NOISE)


def test_chunks_before_the_samples_are_passed_over() -> None:
    data = wav(NOISE)
    other = b"LIST" + struct.pack("<I", 70_001) + bytes(70_002)  # padded to an even size
    with pipe(data[:12] + other + data[12:]) as end:
        got, _ = drained(PcmPipe(PcmFormat(), end))
    np.testing.assert_allclose(got[: len(NOISE)], NOISE, atol=1e-4)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no sound came"),
        (wav(NOISE)[:30], "cut short"),
        (wav(NOISE, "PCM_24"), "24 bits"),
        (wav(NOISE, "DOUBLE"), "64 bits"),
        (wav(NOISE, "ALAW"), "encoding 6"),
        (wav(NOISE)[:24] + bytes(4) + wav(NOISE)[28:], "damaged WAV header: rate = 0"),
        (wav(NOISE)[:22] + bytes(2) + wav(NOISE)[24:], "damaged WAV header: channels = 0"),
    ],
)
def test_what_is_no_sound_on_a_pipe(data: bytes, message: str) -> None:
    with pipe(data) as end, pytest.raises(AudioError, match=message):
        PcmPipe(PcmFormat(), end)


def test_a_terminal_is_told_what_to_do() -> None:
    import pty

    ours, theirs = pty.openpty()
    with pytest.raises(AudioError, match="is a terminal; pipe sound into it"):
        PcmPipe(PcmFormat(), theirs)
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sample": "s24"}, "unknown format 's24'.*; valid: s16, s32, f32, u8"),
        ({"rate": 10}, "rate = 10: valid are 1000 to 768000 Hz"),
        ({"channels": 0}, "channels = 0: valid are 1 to 64"),
    ],
)
def test_formats_that_cannot_be(values: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PcmFormat(**values)  # type: ignore[arg-type]
