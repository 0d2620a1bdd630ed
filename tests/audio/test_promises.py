"""What headers of AIFF, AU, CAF, W64, VOC and SPHERE promise, and what follows the sound."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from fdan_edge.audio import decode
from fdan_edge.errors import AudioError
from fdan_edge.streaming.backlog import Backlog
from fdan_edge.streaming.standard_input import PipeSource
from fdan_edge.utils.messages import warn_once

RATE = 8000
NOISE = (0.1 * np.random.default_rng(0).standard_normal(2 * RATE)).astype(np.float32)
KINDS = ("aiff", "au", "caf", "w64", "voc", "nist")
Decoded = Callable[[Path, bytes], int]
JUNK = b"\x93\x07" * 400


@pytest.fixture(autouse=True)
def fresh_warnings() -> None:
    warn_once.cache_clear()


def written(kind: str, subtype: str = "PCM_16", sound: NDArray[np.float32] = NOISE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound, RATE, format=kind, subtype=subtype)
    return file.getvalue()


def encoded(path: Path, codec: str, rate: int = RATE) -> bytes:
    """The sound as FFmpeg encodes it, in the container of the file's name."""
    av = pytest.importorskip("av")
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(NOISE[None], "flt", "mono")
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


def of_file(path: Path, data: bytes) -> int:
    """Decode a file to its number of samples."""
    path.write_bytes(data)
    return sum(len(block) for _, block in decode.file_blocks(path))


class Sink(Backlog):
    """Counts samples."""

    count = 0

    def put(self, samples: NDArray[np.float32], *, wait: bool = False) -> bool:  # noqa: ARG002
        self.count += len(samples)
        return True


def of_pipe(path: Path, data: bytes) -> int:
    """Decode standard input to its number of samples."""
    path.write_bytes(data)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        source = PipeSource(descriptor=descriptor)
        sink = Sink(source.rate)
        source.feed(sink)
    finally:
        os.close(descriptor)
    return sink.count


both = pytest.mark.parametrize("decoded", [of_file, of_pipe])


@both
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.5, 0.97])
def test_less_than_promised_is_cut_short(tmp_path: Path, kind: str, share: float, decoded: Decoded) -> None:
    whole = written(kind)
    assert decoded(tmp_path / "a", whole) == len(NOISE)
    with pytest.raises(AudioError, match="is cut short"):
        decoded(tmp_path / "a", whole[: int(share * len(whole))])


@both
@pytest.mark.parametrize("kind", ["aiff", "au", "caf", "w64", "nist"])
def test_more_than_promised_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, decoded: Decoded
) -> None:
    data = written(kind) + JUNK
    if decoded is of_pipe:
        assert refusal(decoded, tmp_path / "a", data)
        return
    decoded(tmp_path / "a", data)
    assert any("are not used" in line for line in caplog.messages)


@both
@pytest.mark.parametrize("after", [b"\0" * 50, b"TAG" + b"x" * 125])
@pytest.mark.parametrize("kind", ["aiff", "au", "caf", "w64"])
def test_padding_and_tags_are_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, after: bytes, decoded: Decoded
) -> None:
    assert decoded(tmp_path / "a", written(kind) + after) >= len(NOISE)
    assert not caplog.messages


@both
@pytest.mark.parametrize("name", ["a.m4a", "a.mka", "a.tta", "a.flv", "a.avi"])
def test_another_recording_behind_the_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, decoded: Decoded
) -> None:
    codecs = {".tta": "tta", ".flv": "adpcm_swf", ".avi": "libmp3lame"}
    one = encoded(tmp_path / name, codecs.get(Path(name).suffix, "aac"), 22050 if name == "a.flv" else 16000)
    decoded(tmp_path / "a", one)
    assert not caplog.messages
    if decoded is of_pipe:
        with pytest.raises(AudioError, match="another recording"):
            decoded(tmp_path / "a", one + one)
        return
    decoded(tmp_path / "a", one + one)
    assert any("another recording" in line for line in caplog.messages)


@both
@pytest.mark.parametrize("kind", ["wav", "flac", "rf64", "aiff", "au", "w64", "caf"])
def test_another_recording_behind_samples(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, decoded: Decoded
) -> None:
    one = written(kind)
    said = refusal(decoded, tmp_path / "a", one + one)
    assert said or caplog.messages


@both
@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_a_damaged_page_of_ogg_is_told(tmp_path: Path, subtype: str, decoded: Decoded) -> None:
    data = bytearray(written("ogg", subtype))
    pages = [at for at in range(len(data)) if data[at : at + 5] == b"OggS\0"]
    data[pages[2] + 300] ^= 1  # the first with sound: its checksum is wrong, and decoders pass over it
    assert "damaged" in refusal(decoded, tmp_path / "a", bytes(data))


@both
@pytest.mark.parametrize("byte", [6, 60])
def test_a_damaged_last_page_of_ogg_is_told(tmp_path: Path, byte: int, decoded: Decoded) -> None:
    data = bytearray(written("ogg", "VORBIS"))
    data[data.rindex(b"OggS") + byte] ^= 0x40  # its position, or its sound
    assert "is damaged" in refusal(decoded, tmp_path / "a", bytes(data))


@both
@pytest.mark.parametrize("channels", [2, 7, 8, 9, 32])
def test_many_channels(tmp_path: Path, channels: int, decoded: Decoded) -> None:
    """PyAV ends the process where 8 or more have memory of their own."""
    sound = np.stack([NOISE] * channels, axis=1)
    assert decoded(tmp_path / "a", written("au", sound=sound)) == len(NOISE)


def test_caf_that_was_not_finished(tmp_path: Path) -> None:
    data = written("caf")
    size = data.index(b"data") + 4
    assert of_file(tmp_path / "a", data[:size] + b"\xff" * 8 + data[size + 8 :]) == len(NOISE)


def refusal(decoded: Decoded, path: Path, data: bytes) -> str:
    try:
        decoded(path, data)
    except AudioError as error:
        return str(error)
    return ""
