"""Files as recorders, browsers, call centres and pipes really write them; each is made here from one sound."""

from __future__ import annotations

import io
import logging
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from fdan_edge.audio import decode, ffmpeg
from fdan_edge.errors import AudioError, MissingDependencyError
from fdan_edge.utils.messages import warn_once

RATE = 16_000


def voice(seconds: float = 2.0, rate: int = RATE) -> NDArray[np.float32]:
    """A gliding tone with overtones, whose every moment differs from every other."""
    t = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * (150 * t + 60 * t**2)
    wave = 0.3 * np.sin(phase) + 0.15 * np.sin(2 * phase) + 0.1 * np.sin(5 * phase)
    return (wave * np.clip(20 * t, 0, 1)).astype(np.float32)


def alike(heard: NDArray[np.float32], expected: NDArray[np.float32], least: float = 0.98) -> bool:
    """Tell whether two sounds are the same but for a codec's delay and losses; their lengths too."""
    if abs(len(heard) - len(expected)) > 0.15 * RATE:
        return False
    middle = expected[RATE // 2 : RATE // 2 + RATE]
    fits = np.correlate(heard, middle, "valid")
    at = int(fits.argmax())
    return float(np.corrcoef(heard[at : at + len(middle)], middle)[0, 1]) > least


def encoded(path: Path, sound: NDArray[np.float32], codec: str, rate: int = RATE, **options: str) -> Path:
    """Encode a sound with FFmpeg, in the container of the file's name."""
    av = pytest.importorskip("av")
    container_options = {name: options.pop(name) for name in ("write_xing", "movflags") if name in options}
    name = {".amr": "amr", ".aac": "adts", ".weba": "webm"}.get(path.suffix)
    with av.open(path, "w", format=name, options=container_options) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono", options=options)
        resampler = av.AudioResampler(format=stream.format.name, layout="mono", rate=stream.rate)
        frame = av.AudioFrame.from_ndarray(sound[None], "fltp", "mono")
        frame.sample_rate = RATE
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


def wav(sound: NDArray[np.float32], subtype: str = "PCM_16", kind: str = "WAV", rate: int = RATE) -> bytearray:
    file = io.BytesIO()
    soundfile.write(file, sound, rate, subtype=subtype, format=kind)
    return bytearray(file.getvalue())


def message(path: Path) -> str:
    with pytest.raises(AudioError) as caught:
        decode.load(path)
    text = str(caught.value)
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


@pytest.fixture(autouse=True)
def fresh_warnings() -> None:
    warn_once.cache_clear()


# --- containers, whatever they are called ---


@pytest.mark.parametrize("name", [None, "recording.wav", "recording", "recording.mp3"])
@pytest.mark.parametrize(
    ("made", "codec", "rate"),
    [
        ("a.m4a", "aac", 44_100),
        ("a.aac", "aac", 48_000),
        ("a.3gp", "aac", RATE),
        ("a.mka", "libopus", 48_000),
        ("a.webm", "libopus", 48_000),
        ("a.weba", "libopus", 48_000),
        ("a.oga", "libopus", 48_000),
        ("a.mp3", "libmp3lame", 44_100),
        ("a.mov", "pcm_s16le", RATE),
        ("a.ac3", "ac3", 48_000),
        ("a.wv", "wavpack", RATE),
    ],
)
def test_content_tells_what_it_is(tmp_path: Path, made: str, codec: str, rate: int, name: str | None) -> None:
    path = encoded(tmp_path / made, voice(), codec, rate)
    if name:
        path = path.rename(tmp_path / name)
    assert alike(decode.load(path), voice())


def test_a_phones_amr(tmp_path: Path) -> None:
    """AMR of silence frames: the encoder is in few builds of FFmpeg, the decoder in all."""
    frame = bytes([0x3C]) + bytes(31)  # 12.2 kbit/s, 20 ms
    (tmp_path / "a.amr").write_bytes(b"#!AMR\n" + frame * 50)
    assert len(decode.load(tmp_path / "a.amr")) == pytest.approx(RATE, abs=400)


def test_without_pyav_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encoded(tmp_path / "a.m4a", voice(), "aac")
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(MissingDependencyError, match="reading MP4 needs av, which is not installed: pip install"):
        decode.load(path)


# --- MP3 ---


@pytest.mark.parametrize("rate", [22_050, 44_100])
@pytest.mark.parametrize("quality", [{"b": "64k"}, {"flags": "+qscale", "global_quality": "600"}])
def test_mp3_without_a_xing_header(tmp_path: Path, rate: int, quality: dict[str, str]) -> None:
    path = encoded(tmp_path / "a.mp3", voice(4), "libmp3lame", rate, write_xing="0", **quality)
    data = path.read_bytes()
    assert b"Xing" not in data
    assert b"Info" not in data
    assert alike(decode.load(path), voice(4))


def test_mp3_through_libsndfile_where_there_is_no_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encoded(tmp_path / "a.mp3", voice(4), "libmp3lame", 22_050, write_xing="0")
    monkeypatch.setattr(ffmpeg, "is_installed", lambda: False)
    assert alike(decode.load(path), voice(4))


@pytest.mark.parametrize("junk", [b"", bytes(417), b"TAG" + bytes(125)])
def test_concatenated_mp3_is_read_whole(tmp_path: Path, junk: bytes) -> None:
    data = encoded(tmp_path / "a.mp3", voice(2), "libmp3lame", 44_100).read_bytes()
    (tmp_path / "b.mp3").write_bytes(data + junk + data)
    heard = decode.load(tmp_path / "b.mp3")
    assert len(heard) == pytest.approx(4 * RATE, abs=0.2 * RATE)
    assert alike(heard[-2 * RATE - 800 : -800], voice(2), 0.9)


# --- Ogg ---


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("count", [2, 3])
def test_chained_ogg_is_read_whole(tmp_path: Path, subtype: str, count: int) -> None:
    file = io.BytesIO()
    soundfile.write(file, voice(), RATE, format="OGG", subtype=subtype)
    (tmp_path / "a.ogg").write_bytes(file.getvalue() * count)
    heard = decode.load(tmp_path / "a.ogg")
    assert len(heard) == pytest.approx(2 * count * RATE, abs=0.1 * RATE * count)
    assert alike(heard[-2 * RATE :], voice(), 0.9)


def test_chained_ogg_of_two_rates(tmp_path: Path) -> None:
    first, second = io.BytesIO(), io.BytesIO()
    soundfile.write(first, voice(), RATE, format="OGG", subtype="VORBIS")
    soundfile.write(second, voice(rate=44_100), 44_100, format="OGG", subtype="VORBIS")
    (tmp_path / "a.ogg").write_bytes(first.getvalue() + second.getvalue())
    assert len(decode.load(tmp_path / "a.ogg")) == pytest.approx(4 * RATE, abs=0.1 * RATE)


# --- WAV and FLAC whose headers promise too much, too little or nothing ---


def test_a_wav_header_that_promises_less(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = wav(voice(4))
    data[40:44] = struct.pack("<I", 40_000)
    (tmp_path / "a.wav").write_bytes(data)
    with caplog.at_level(logging.WARNING, "fdan_edge"):
        for _ in range(3):
            assert len(decode.load(tmp_path / "a.wav")) == 20_000
    (record,) = caplog.records
    assert record.message == (
        f"{tmp_path / 'a.wav'}: its header promises 1.25 s of sound; 88000 bytes follow that are no metadata "
        "(2.75 s if they are sound) and are not used"
    )


def test_a_second_chunk_of_sound_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = wav(voice())
    (tmp_path / "a.wav").write_bytes(data + b"LIST\4\0\0\0abcd" + data[36:])
    with caplog.at_level(logging.WARNING, "fdan_edge"):
        assert len(decode.load(tmp_path / "a.wav")) == 2 * RATE
    assert "its header promises 2.00 s of sound; 64008 bytes follow" in caplog.text


@pytest.mark.parametrize("picture", [100, 20_000])
@pytest.mark.parametrize("name", ["a.flac", "a.aac", "a.mp3"])
def test_a_tag_with_a_picture_before_any_kind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, picture: int
) -> None:
    path = tmp_path / name
    if name == "a.aac":
        encoded(path, voice(), "aac")
    else:
        soundfile.write(path, voice(), RATE)
    tag = b"ID3\4\0\0" + bytes(picture >> shift & 0x7F for shift in (21, 14, 7, 0)) + b"A" * picture
    path.write_bytes(tag + path.read_bytes())
    with caplog.at_level(logging.WARNING, "fdan_edge"):
        assert alike(decode.load(path), voice())
    assert not caplog.records


@pytest.mark.parametrize(
    "after",
    [
        b"LIST" + struct.pack("<I", 3) + b"abc\0" + b"id3 " + struct.pack("<I", 2) + b"xy",
        b"id3 " + struct.pack("<I", 7) + b"abcdefg",
        bytes(5000),
        b"\0LIST" + struct.pack("<I", 2) + b"ab",
        b"TAG" + bytes(125),
        b"-----BEGIN PGP SIGNATURE-----" + b"x" * 400,
        b"\0",
    ],
)
def test_ordinary_ends_of_wav_are_silent(tmp_path: Path, caplog: pytest.LogCaptureFixture, after: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(wav(voice()) + after)
    with caplog.at_level(logging.WARNING, "fdan_edge"):
        assert len(decode.load(tmp_path / "a.wav")) == 2 * RATE
    assert not caplog.records


def test_matroska_that_is_cut_short(tmp_path: Path) -> None:
    path = encoded(tmp_path / "a.mka", voice(), "aac")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert "is cut short" in message(path)
    size = data.index(b"\x18\x53\x80\x67") + 4
    streamed = data[:size] + b"\1" + 7 * b"\xff" + data[size + 8 :]  # as programs write it to a pipe
    path.write_bytes(streamed)
    assert alike(decode.load(path), voice())
    path.write_bytes(streamed[: int(0.9 * len(data))])
    assert len(decode.load(path)) > RATE


@pytest.mark.parametrize("kind", ["RF64", "BW64"])
@pytest.mark.parametrize("sizes", ["right", "zero", "ones"])
def test_rf64_from_pipes(tmp_path: Path, kind: str, sizes: str) -> None:
    data = wav(voice(), kind="RF64")
    data[:4] = kind.encode()
    at = data.index(b"ds64") + 8
    if sizes != "right":
        data[at : at + 24] = bytes(24) if sizes == "zero" else b"\xff" * 24
        data[data.index(b"data") + 4 : data.index(b"data") + 8] = b"\xff" * 4
    (tmp_path / "a.wav").write_bytes(data)
    np.testing.assert_allclose(decode.load(tmp_path / "a.wav"), voice(), atol=1e-4)


def test_a_data_size_of_0_with_a_right_riff_size(tmp_path: Path) -> None:
    data = wav(voice())
    data[40:44] = bytes(4)
    (tmp_path / "a.wav").write_bytes(data)
    np.testing.assert_allclose(decode.load(tmp_path / "a.wav"), voice(), atol=1e-4)


def test_flac_written_to_a_pipe_is_read_whole(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", voice(), RATE)
    data = bytearray((tmp_path / "a.flac").read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)  # the number of samples is not known
    (tmp_path / "a.flac").write_bytes(data)
    np.testing.assert_allclose(decode.load(tmp_path / "a.flac"), voice(), atol=1e-4)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "RF64"])
@pytest.mark.parametrize("endian", ["LITTLE", "BIG"])
def test_wav_is_what_libsndfile_makes_of_it(tmp_path: Path, subtype: str, kind: str, endian: str) -> None:
    if endian == "BIG" and kind != "WAV":
        pytest.skip("there is no such kind")
    stereo = np.stack([voice(0.5), -0.5 * voice(0.5)], axis=1)
    soundfile.write(tmp_path / "a.wav", stereo, RATE, subtype=subtype, format=kind, endian=endian)
    expected, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    ((rate, block),) = decode.file_blocks(tmp_path / "a.wav")
    assert rate == RATE
    np.testing.assert_array_equal(block, expected)


@pytest.mark.parametrize("subtype", ["IMA_ADPCM", "MS_ADPCM", "GSM610"])
@pytest.mark.parametrize("installed", [True, False])
def test_encoded_wav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subtype: str, installed: bool) -> None:
    soundfile.write(tmp_path / "a.wav", voice(rate=8000), 8000, subtype=subtype)
    if not installed:
        monkeypatch.setattr(ffmpeg, "is_installed", lambda: False)
    assert alike(decode.load(tmp_path / "a.wav"), voice(), 0.9)


@pytest.mark.parametrize("rate", [0, 999, 4_000_000_000])
def test_rates_that_cannot_be(tmp_path: Path, rate: int) -> None:
    data = wav(voice())
    data[24:28] = struct.pack("<I", rate)
    (tmp_path / "a.wav").write_bytes(data)
    assert message(tmp_path / "a.wav") == f"damaged header: a sample rate of {rate} Hz; valid are 1000 to 768000"


def test_more_bits_than_samples_have(tmp_path: Path) -> None:
    """12 bits in two bytes, and 24 in four: they stand at the upper end."""
    for bits, width, size in ((12, 2, 2), (20, 3, 3), (24, 4, 4)):
        data = wav(voice(), {2: "PCM_16", 3: "PCM_24", 4: "PCM_32"}[size])
        struct.pack_into("<H", data, 34, bits)
        assert struct.unpack_from("<H", data, 32)[0] == width
        (tmp_path / "a.wav").write_bytes(data)
        np.testing.assert_allclose(decode.load(tmp_path / "a.wav"), voice(), atol=1e-4)


# --- what is no sound ---


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 1\n",
            "is a git-lfs pointer: git lfs pull",
        ),
        (b"<!DOCTYPE html><html>404</html>" * 9, "is text"),
        (
            b"#EXTM3U\n#EXT-X-TARGETDURATION:9\nhttp://localhost/a.ts\n",
            "is a playlist; give the files that it names",
        ),
        (b"PK\x03\x04" + bytes(99), "is a ZIP archive; unpack it"),
        (bytes(5000), "of no known kind"),
    ],
)
@pytest.mark.parametrize("name", ["a.wav", "a.mp4", "a"])
def test_what_is_no_sound(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert message(tmp_path / name) == f"not a readable sound file: {reason}"


# --- channels and offsets ---


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.opus"])
def test_opposite_channels_are_not_silence(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    noise = np.random.default_rng(0).normal(0, 1e-4, (2 * RATE, 2)).astype(np.float32)
    both = np.stack([voice(), -0.9 * voice()], axis=1) + noise
    kind, subtype = ("OGG", "OPUS") if name.endswith("opus") else (None, None)
    soundfile.write(tmp_path / name, both, RATE, format=kind, subtype=subtype)
    with caplog.at_level(logging.WARNING, "fdan_edge"):
        heard = decode.load(tmp_path / name)
    assert alike(heard, voice(), 0.97)
    expected = f"{tmp_path / name}: its channels cancel each other; the louder one (left) is taken"
    assert [record.message for record in caplog.records] == [expected]


@pytest.mark.parametrize("offset", [0.02, 0.1, -0.3])
def test_a_constant_offset_leaves_no_trace(tmp_path: Path, offset: float) -> None:
    soundfile.write(tmp_path / "a.wav", voice(), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "b.wav", voice() + np.float32(offset), RATE, subtype="FLOAT")
    clean, shifted = (decode.load_speech(tmp_path / name, RATE, 30, high_pass=80) for name in ("a.wav", "b.wav"))
    np.testing.assert_allclose(shifted, clean, atol=1e-6)


def test_a_dead_microphone_is_silent(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(RATE, 0.1), RATE)
    with pytest.raises(AudioError, match="is silent"):
        decode.load_speech(tmp_path / "a.wav", RATE, 30, high_pass=80)


# --- what a person with odd recordings found ---


@pytest.mark.parametrize("subtype", ["G721_32", "NMS_ADPCM_32", "IMA_ADPCM", "MS_ADPCM", "GSM610"])
def test_codecs_of_telephones_in_wav(tmp_path: Path, subtype: str) -> None:
    soundfile.write(tmp_path / "a.wav", voice(rate=8000), 8000, subtype=subtype)
    assert alike(decode.load(tmp_path / "a.wav"), voice(), 0.9)


@pytest.mark.parametrize("kind", ["W64", "NIST"])
def test_what_follows_the_sound_is_not_heard(tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    soundfile.write(tmp_path / "a.w", voice(), RATE, format=kind, subtype="PCM_16")
    data = (tmp_path / "a.w").read_bytes()
    (tmp_path / "a.w").write_bytes(data + np.random.default_rng(0).bytes(20_000))
    with caplog.at_level(logging.WARNING, "fdan_edge"):
        assert len(decode.load(tmp_path / "a.w")) == 2 * RATE
    assert "its header promises 2.00 s of sound; 20000 bytes follow" in caplog.text


@pytest.mark.parametrize(("name", "codec", "rate"), [("a.ac3", "ac3", 48_000), ("a.wv", "wavpack", RATE)])
@pytest.mark.parametrize("after", [b"TAG" + bytes(125), b"APETAGEX" + bytes(60), bytes(3000)])
def test_tags_behind_frames_are_passed_over(
    tmp_path: Path, name: str, codec: str, rate: int, after: bytes
) -> None:
    path = encoded(tmp_path / name, voice(), codec, rate)
    path.write_bytes(path.read_bytes() + after)
    assert alike(decode.load(path), voice())


def test_channels_that_cancel_for_a_while(tmp_path: Path) -> None:
    both = np.concatenate([np.stack([voice(), -voice()], axis=1), np.stack([voice(), voice()], axis=1)])
    soundfile.write(tmp_path / "a.wav", both, RATE, subtype="FLOAT")
    heard = decode.load(tmp_path / "a.wav")
    np.testing.assert_allclose(heard[: 2 * RATE], voice(), atol=1e-6)
    np.testing.assert_allclose(heard[-RATE // 2 :], voice()[-RATE // 2 :], atol=1e-6)


def test_flac_that_counts_far_too_few_samples_is_read_whole(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", voice(), RATE)
    data = bytearray((tmp_path / "a.flac").read_bytes())
    data[21] &= 0xF0
    data[22:26] = struct.pack(">I", 254)
    (tmp_path / "a.flac").write_bytes(data)
    np.testing.assert_allclose(decode.load(tmp_path / "a.flac"), voice(), atol=1e-4)
