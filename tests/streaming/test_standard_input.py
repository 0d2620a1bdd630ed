"""Sound on standard input: raw samples, WAV, and every other kind."""

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

from fdan_edge.audio.pcm import PcmFormat
from fdan_edge.audio.resample import Samples
from fdan_edge.errors import AudioError
from fdan_edge.streaming.backlog import Backlog, Sound
from fdan_edge.streaming.sources import ENDED, PipeLead
from fdan_edge.streaming.standard_input import PipeSource
from tests.streaming.test_sources import NOISE, drained


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


_SUBTYPES = {"s16": "PCM_16", "s24": "PCM_24", "s32": "PCM_32", "f32": "FLOAT", "f64": "DOUBLE", "u8": "PCM_U8"}
_SUBTYPES |= {"ulaw": "ULAW", "alaw": "ALAW"}


def raw(sound: Samples, sample: str) -> bytes:
    """Samples as libsndfile writes them, without a header."""
    file, name = io.BytesIO(), sample.removesuffix("be")
    endian = "BIG" if sample.endswith("be") else "LITTLE"
    soundfile.write(file, sound, 16_000, subtype=_SUBTYPES[name], format="RAW", endian=endian)
    return file.getvalue()


@pytest.mark.parametrize("chunk", [1001, 65_536])
@pytest.mark.parametrize(
    ("sample", "exact"),
    [
        *(("s16", 1e-4), ("s24", 1e-6), ("s32", 1e-6), ("f32", 0), ("f64", 1e-7), ("u8", 0.02)),
        *(("ulaw", 0.03), ("alaw", 0.03), ("s16be", 1e-4), ("s24be", 1e-6), ("f32be", 0), ("f64be", 1e-7)),
    ],
)
def test_raw_samples(sample: str, exact: float, chunk: int) -> None:
    with pipe(raw(NOISE, sample), chunk=chunk) as end:
        source = PipeSource(PcmFormat(24_000, 2, sample), end)
        assert source.name == f"standard input (raw: 24000 Hz, 2 channels, {sample})"
        got, reason = drained(source)
    assert reason == ENDED
    np.testing.assert_allclose(got, NOISE, atol=exact)


def test_half_a_frame_at_the_end_is_left() -> None:
    with pipe(raw(NOISE[:100], "s16") + b"abc") as end:
        assert len(drained(PipeSource(PcmFormat(16_000, 2, "s16"), end))[0]) == 100


def test_samples_come_when_they_are_there() -> None:
    taken, given = os.pipe()
    os.write(given, bytes(64))
    source, backlog = PipeSource(descriptor=taken), Backlog(16_000)
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
    values = np.array([0.5, np.nan, np.inf, -np.inf, -0.5], "<f4")
    with pipe(values.tobytes()) as end:
        got, reason = drained(PipeSource(PcmFormat(sample="f32"), end))
    assert got[:, 0].tolist() == [0.5, 0, 0, 0, -0.5]
    assert reason.startswith(f"{ENDED}; 3 values in it were no sound")


def test_a_fast_pipe_loses_nothing() -> None:
    """A pipe from a decoder brings minutes in a moment; beside a microphone's it can wait."""
    sound = np.zeros(16_000 * 60, "<i2")
    with pipe(sound.tobytes(), chunk=60_000) as end:
        got, _ = drained(PipeSource(descriptor=end), limit=3.0)
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
        source = PipeSource(descriptor=file.fileno())
        assert not source.live
        assert len(drained(source, limit=0.5)[0]) == 16_000 * 60


@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
@pytest.mark.parametrize(
    ("subtype", "sample", "exact"),
    [
        ("PCM_16", "s16", 1e-4),
        ("PCM_32", "s32", 1e-6),
        ("FLOAT", "f32", 0),
        ("PCM_U8", "u8", 0.02),
        ("PCM_24", "s24", 1e-6),
        ("DOUBLE", "f64", 1e-7),
        ("ULAW", "ulaw", 0.03),
        ("ALAW", "alaw", 0.03),
    ],
)
def test_a_wav_header_says_what_follows(kind: str, subtype: str, sample: str, exact: float) -> None:
    data = wav(NOISE, subtype, kind)
    with pipe(data, chunk=999) as end:
        source = PipeSource(PcmFormat(8000, 1, "f32"), end)
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
        assert len(drained(PipeSource(descriptor=end))[0]) == len(NOISE)


def test_chunks_behind_the_samples_are_no_sound() -> None:
    data = wav(NOISE)
    with pipe(data + b"LIST" + struct.pack("<I", 70_000) + bytes(70_000)) as end:
        got, _ = drained(PipeSource(descriptor=end))
    assert len(got) == len(NOISE)


def test_chunks_before_the_samples_are_passed_over() -> None:
    data = wav(NOISE)
    other = b"LIST" + struct.pack("<I", 70_001) + bytes(70_002)  # padded to an even size
    with pipe(data[:12] + other + data[12:]) as end:
        got, _ = drained(PipeSource(descriptor=end))
    np.testing.assert_allclose(got[: len(NOISE)], NOISE, atol=1e-4)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no sound came"),
        (wav(NOISE)[:30], "cut short"),
        (wav(NOISE)[:24] + bytes(4) + wav(NOISE)[28:], "damaged header: a sample rate of 0 Hz"),
        (wav(NOISE)[:22] + bytes(2) + wav(NOISE)[24:], "damaged header: 0 channels"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), r"is a picture \(PNG\)"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "is a git-lfs pointer: git lfs pull",
        ),
        (b"hello, world\n" * 9, "is text"),
    ],
)
def test_what_is_no_sound_on_a_pipe(data: bytes, message: str) -> None:
    with pipe(data) as end, pytest.raises(AudioError, match=message):
        PipeSource(descriptor=end)


def test_a_terminal_is_told_what_to_do() -> None:
    import pty

    ours, theirs = pty.openpty()
    with pytest.raises(AudioError, match="is a terminal; pipe sound into it"):
        PipeSource(descriptor=theirs)
    os.close(ours)
    os.close(theirs)


def test_a_closed_pipe_is_told() -> None:
    taken, given = os.pipe()
    os.close(given)
    os.close(taken)
    with pytest.raises(AudioError, match="standard input: is closed"):
        PipeSource(descriptor=taken)


def test_megabytes_before_encoded_sound_take_no_time() -> None:
    data = wav(NOISE, "IMA_ADPCM")
    junk = b"junk" + struct.pack("<I", 30 << 20) + bytes(30 << 20)
    begun = time.process_time()
    with pipe(data[:12] + junk + data[12:], chunk=1 << 16) as end:
        got, reason = drained(PipeSource(descriptor=end), limit=60)
    assert (abs(len(got) - len(NOISE)) < 2000, reason) == (True, ENDED)
    assert time.process_time() - begun < 2  # 15 where all that waits is copied for each piece


# --- every kind of file, through a pipe ---


@pytest.mark.parametrize("name", ["a.flac", "a.ogg", "a.mp3", "a.aiff", "a.au", "a.w64", "a.caf", "a.rf64"])
def test_what_is_read_from_disk_is_read_from_a_pipe(tmp_path: Path, name: str) -> None:
    soundfile.write(tmp_path / name, NOISE, 44_100)
    expected = soundfile.read(tmp_path / name, dtype="float32", always_2d=True)[0]
    with pipe((tmp_path / name).read_bytes(), chunk=5000) as end:
        source = PipeSource(descriptor=end)
        assert source.rate == 44_100
        got, reason = drained(source, limit=60)
    assert reason == ENDED
    assert abs(len(got) - len(expected)) <= 2304  # an MP3's delay may be cut in one of the two
    lossy = name in ("a.ogg", "a.mp3")
    if not lossy:
        np.testing.assert_allclose(got, expected, atol=1e-6)


def test_big_endian_wav() -> None:
    file = io.BytesIO()
    soundfile.write(file, NOISE, 22_050, format="WAV", endian="BIG")
    with pipe(file.getvalue()) as end:
        source = PipeSource(descriptor=end)
        assert source.name == "standard input (RIFX: 22050 Hz, 2 channels, s16be)"
        np.testing.assert_allclose(drained(source)[0], NOISE, atol=1e-4)


def test_a_header_that_promises_more_than_comes() -> None:
    data = wav(NOISE)
    with pipe(data[: len(data) // 2]) as end:
        got, reason = drained(PipeSource(descriptor=end))
    came = len(data) // 2 - (len(data) - 4 * len(NOISE))
    assert len(got) == came // 4
    assert reason == f"standard input: is cut short: {came} of {4 * len(NOISE)} bytes of sound came"


def test_a_header_that_promises_less_than_comes() -> None:
    data = bytearray(wav(NOISE))
    data[40:44] = struct.pack("<I", 4000)
    with pipe(bytes(data)) as end:
        got, reason = drained(PipeSource(descriptor=end))
    assert len(got) == 1000
    assert "more follows than the 4000 bytes of sound that its header promises" in reason


def test_an_ogg_stream_that_is_cut_short(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.ogg", np.tile(NOISE, (4, 1)), 44_100)
    data = (tmp_path / "a.ogg").read_bytes()
    with pipe(data[: len(data) * 2 // 3]) as end:
        _, reason = drained(PipeSource(descriptor=end), limit=60)
    assert "is cut short" in reason


def test_who_names_a_format_has_raw_samples() -> None:
    """Loud 8-bit samples may look like text."""
    data = b"AbCdEfGh" * 2000
    with pipe(data) as end:
        source = PipeSource(PcmFormat(8000, 1, "u8"), end)
        assert len(drained(source)[0]) == len(data)
    with pipe(data) as end, pytest.raises(AudioError, match="is text"):
        PipeSource(descriptor=end)


@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}, {"movflags": "frag_keyframe+empty_moov"}])
def test_mp4_wherever_its_index_is(tmp_path: Path, options: dict[str, str]) -> None:
    av = pytest.importorskip("av")
    with av.open(tmp_path / "a.mp4", "w", options=options) as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(NOISE[None, :, 0].copy(), "fltp", "mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pipe((tmp_path / "a.mp4").read_bytes(), chunk=3000) as end:
        source = PipeSource(descriptor=end)
        got, reason = drained(source, limit=60)
    assert source.name == "standard input (MP4: 16000 Hz, 1 channel)"
    assert (abs(len(got) - len(NOISE)) < 2100, reason) == (True, ENDED)


def test_mp4_with_room_before_its_sound(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    with av.open(tmp_path / "a.mp4", "w") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(NOISE[None, :, 0].copy(), "fltp", "mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    data, room = bytearray((tmp_path / "a.mp4").read_bytes()), 20_008
    table = data.index(b"stco") + 8  # the places of the sound, which move with it
    (count,) = struct.unpack_from(">I", data, table)
    for place in range(table + 4, table + 4 + 4 * count, 4):
        struct.pack_into(">I", data, place, struct.unpack_from(">I", data, place)[0] + room)
    sound = data.index(b"mdat") - 4
    free = struct.pack(">I", room) + b"free" + bytes(room - 8)
    with pipe(bytes(data[:sound] + free + data[sound:])) as end:
        got, reason = drained(PipeSource(descriptor=end), limit=60)
    assert (abs(len(got) - len(NOISE)) < 2100, reason) == (True, ENDED)


def tag(size: int) -> bytes:
    """An ID3v2 tag with a picture."""
    return b"ID3\4\0\0" + bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0)) + b"A" * size


@pytest.mark.parametrize("size", [100, 20_000, 1_500_000])
def test_tags_with_pictures_are_passed_over(tmp_path: Path, size: int) -> None:
    soundfile.write(tmp_path / "a.flac", NOISE, 48_000)
    with pipe(tag(size) + tag(10) + (tmp_path / "a.flac").read_bytes(), chunk=60_000) as end:
        got, reason = drained(PipeSource(descriptor=end))
    assert (len(got), reason) == (len(NOISE), ENDED)


def test_a_cut_mp3_behind_a_large_picture(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.mp3", np.tile(NOISE, (4, 1)), 48_000)
    data = (tmp_path / "a.mp3").read_bytes()
    with pipe(tag(1_500_000) + data[: len(data) // 2]) as end:
        _, reason = drained(PipeSource(descriptor=end), limit=60)
    assert "is cut short" in reason


def test_an_mp3_that_is_damaged_in_the_middle(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    soundfile.write(tmp_path / "a.mp3", np.tile(NOISE, (8, 1)), 48_000)
    data = (tmp_path / "a.mp3").read_bytes()
    seconds = 8 * len(NOISE) / 48_000
    with pipe(data) as end:
        drained(PipeSource(descriptor=end), limit=60)
    assert not caplog.messages
    with pipe(data[: len(data) // 4] + bytes(len(data) // 2) + data[len(data) // 4 * 3 :]) as end:
        drained(PipeSource(descriptor=end), limit=60)
    assert f"of the {seconds:.2f} s that its header promises could be decoded" in caplog.text


def test_a_second_chunk_of_sound_is_told() -> None:
    data = wav(NOISE)
    with pipe(data + data[36:]) as end:
        got, reason = drained(PipeSource(descriptor=end))
    assert (len(got), "more follows" in reason) == (len(NOISE), True)


@pytest.mark.parametrize("name", ["a.ogg", "a.opus", "a.mp3"])
def test_what_follows_in_one_pipe_is_read_whole(tmp_path: Path, name: str) -> None:
    kind, subtype = ("OGG", "OPUS") if name == "a.opus" else (None, None)
    soundfile.write(tmp_path / name, np.tile(NOISE, (4, 1)), 48_000, format=kind, subtype=subtype)
    with pipe(2 * (tmp_path / name).read_bytes(), chunk=7777) as end:
        got, reason = drained(PipeSource(descriptor=end), limit=60)
    assert reason == ENDED
    assert abs(len(got) - 8 * len(NOISE)) < 6000


def encoded(path: Path, codec: str) -> bytes:
    """Encode with FFmpeg, in the container of the file's name."""
    av = pytest.importorskip("av")
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=16_000, layout="mono")
        sound = np.tile(NOISE[:, 0], 4)
        resampler = av.AudioResampler(format=stream.format.name, layout="mono", rate=16_000, frame_size=1024)
        frame = av.AudioFrame.from_ndarray(sound[None], "fltp", "mono")
        frame.sample_rate = 16_000
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path.read_bytes()


@pytest.mark.parametrize(("name", "codec"), [("a.mka", "aac"), ("a.wv", "wavpack")])
def test_containers_of_ffmpeg_whole_and_cut_short(tmp_path: Path, name: str, codec: str) -> None:
    data = encoded(tmp_path / name, codec)
    with pipe(data, chunk=3000) as end:
        got, reason = drained(PipeSource(descriptor=end), limit=60)
    assert (abs(len(got) - 4 * len(NOISE)) < 3000, reason) == (True, ENDED)
    with pipe(data[: int(0.8 * len(data))], chunk=3000) as end:
        try:
            _, reason = drained(PipeSource(descriptor=end), limit=60)
        except AudioError as error:
            reason = str(error)
    assert "is cut short" in reason


def ogg(subtype: str, rate: int, times: int = 4) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.tile(NOISE, (times, 1)), rate, format="OGG", subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize("chunk", [777, 70_000])
def test_ogg_of_another_codec_and_rate_follows_in_one_pipe(chunk: int) -> None:
    with pipe(ogg("OPUS", 48_000) + ogg("VORBIS", 24_000), chunk=chunk) as end:
        got, reason = drained(PipeSource(descriptor=end), limit=60)
    assert (abs(len(got) - 12 * len(NOISE)) < 6000, reason) == (True, ENDED)


def test_an_ogg_stream_that_is_cut_short_before_another() -> None:
    cut = ogg("VORBIS", 24_000, 20)
    with pipe(cut[: int(0.7 * len(cut))] + ogg("VORBIS", 24_000)) as end:
        _, reason = drained(PipeSource(descriptor=end), limit=60)
    assert "is cut short" in reason


def test_flac_of_unknown_length(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", NOISE, 48_000)
    data = bytearray((tmp_path / "a.flac").read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    with pipe(bytes(data)) as end:
        got, reason = drained(PipeSource(descriptor=end))
    assert (len(got), reason) == (len(NOISE), ENDED)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_flac_that_is_cut_short(tmp_path: Path, share: float) -> None:
    soundfile.write(tmp_path / "a.flac", np.tile(NOISE, (10, 1)), 24_000)
    data = (tmp_path / "a.flac").read_bytes()
    with pipe(data[: int(len(data) * share)]) as end:
        _, reason = drained(PipeSource(descriptor=end), limit=60)
    assert "is cut short" in reason
