"""Headers of which every field is free: a file is read as what its header says, or refused in one line."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fdan_edge.audio.decode import file_blocks
from fdan_edge.audio.pcm import Frames
from fdan_edge.errors import AudioError
from fdan_edge.utils.messages import warn_once

quick = settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

rates = st.sampled_from((0, 1, 999, 1000, 8000, 44100, 768_000, 768_001, 2**31, 2**32 - 1)) | st.integers(
    0, 2**32 - 1
)
usual_rates = st.sampled_from((1000, 8000, 16000, 44100, 48000, 768_000))
channel_counts = st.sampled_from((0, 1, 1, 1, 2, 2, 6, 64, 65)) | st.integers(0, 2**16 - 1)
sounds = st.binary(max_size=600)
trailers = st.sampled_from((b"", b"\0" * 9, b"LIST\4\0\0\0abcd", b"TAGabc", b"\x93\x07" * 400))


@dataclass(frozen=True)
class Built:
    """A file, and what its header says.

    `size` are the bytes of sound that it promises; None: all until the end. `there` are those that follow it.
    """

    data: bytes
    rate: float
    channels: int
    width: int
    size: int | None
    there: int
    counted: int = 0  # samples of each channel, where the header counts them too

    @property
    def usual(self) -> bool:
        """Whether there is no reason to refuse it."""
        frame = self.channels * self.width
        right = self.size in (None, self.there) and self.counted * frame in (0, self.there)
        return right and self.rate in (1000, 8000, 16000, 44100, 48000, 768_000) and 0 < frame <= self.there

    @property
    def frames(self) -> int:
        """How many are read of it."""
        return (self.there if self.size is None else self.size) // (self.channels * self.width)


@st.composite
def sizes(draw: st.DrawFn, there: int, streamed: tuple[int, ...], bits: int = 32) -> int:
    """What a header says of the bytes of its sound: the truth, that it does not know, or anything."""
    truth = st.just(there)
    near = st.integers(max(0, there - 40), there + 40)
    return draw(truth | truth | st.sampled_from(streamed) | near | st.integers(0, 2**bits - 1))


def stands_for_all(size: int) -> bool:
    return 0x7FFFF000 <= size <= 0x80000000 or 0xFFFFF000 <= size <= 0xFFFFFFFF or size >= 1 << 62


@st.composite
def wavs(draw: st.DrawFn) -> Built:
    name = draw(st.sampled_from((b"RIFF", b"RIFX", b"RF64", b"BW64")))
    order = ">" if name == b"RIFX" else "<"
    tag, bits = draw(st.sampled_from(((1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64), (6, 8), (7, 8))))
    channels, rate = draw(channel_counts), draw(usual_rates | rates)
    sound, trailer = draw(sounds), draw(trailers)
    there = len(sound) + len(trailer)
    size = draw(sizes(len(sound), (0xFFFFFFFF, 0x7FFFFFFF, 0x80000000)))
    block = channels * bits // 8
    fmt = struct.pack(f"{order}HHIIHH", tag, channels, rate, rate * block % 2**32, block % 2**16, bits)
    body = b"WAVE"
    long_size = size
    if name in (b"RF64", b"BW64"):
        long_size = draw(sizes(len(sound), (2**64 - 1,), 64))
        body += b"ds64" + struct.pack("<IQQQI", 28, there + 100, long_size, 0, 0)
        long_size = long_size if size == 0xFFFFFFFF or long_size else size
    before = draw(st.sampled_from((b"", b"junk" + struct.pack(f"{order}I", 3) + b"abc\0")))
    body += before + b"fmt " + struct.pack(f"{order}I", len(fmt)) + fmt + b"data" + struct.pack(f"{order}I", size)
    riff = struct.pack(f"{order}I", min(len(body) + there, 2**32 - 1))
    promised = None if stands_for_all(long_size) else long_size
    return Built(name + riff + body + sound + trailer, rate, channels, bits // 8, promised, there)


@st.composite
def aus(draw: st.DrawFn) -> Built:
    encoding, width = draw(st.sampled_from(((1, 1), (2, 1), (3, 2), (4, 3), (5, 4), (6, 4), (7, 8), (27, 1))))
    channels, rate = draw(channel_counts), draw(usual_rates | rates)
    sound, note = draw(sounds), draw(st.binary(max_size=20))
    size = draw(sizes(len(sound), (0xFFFFFFFF,)))
    head = b".snd" + struct.pack(">IIIII", 24 + len(note), size, encoding, rate, channels) + note
    return Built(head + sound, rate, channels, width, None if stands_for_all(size) else size, len(sound))


def extended(rate: int) -> bytes:
    """A positive whole number as AIFF has it: 80 bits, a sign and exponent before the mantissa."""
    if not rate:
        return bytes(10)
    exponent = rate.bit_length() - 1
    return struct.pack(">HQ", 16383 + exponent, rate << 63 - exponent)


@st.composite
def aiffs(draw: st.DrawFn) -> Built:
    bits, channels = draw(st.sampled_from((8, 16, 24, 32))), draw(channel_counts)
    rate, sound = draw(usual_rates | rates), draw(sounds)
    frame = max(1, channels * bits // 8)
    frames = draw(sizes(len(sound) // frame, (0xFFFFFFFF,)))
    size = draw(sizes(len(sound), (0xFFFFFFF0,)))
    common = struct.pack(">HIH", channels, frames, bits) + extended(rate)
    sound_head = struct.pack(">III", min(size + 8, 2**32 - 1), 0, 0)
    body = b"AIFFCOMM" + struct.pack(">I", 18) + common + b"SSND" + sound_head + sound
    data = b"FORM" + struct.pack(">I", len(body)) + body
    promised, counted = None if stands_for_all(size) else size, 0 if stands_for_all(frames) else frames
    return Built(data, rate, channels, bits // 8, promised, len(sound), counted)


@st.composite
def cafs(draw: st.DrawFn) -> Built:
    bits, channels = draw(st.sampled_from((8, 16, 24, 32))), draw(channel_counts)
    rate, sound = draw(usual_rates | rates), draw(sounds)
    size = draw(sizes(len(sound), (0,), 60))
    unknown = draw(st.booleans())
    block = channels * bits // 8
    description = struct.pack(">d4sIIIII", float(rate), b"lpcm", 0, block, 1, channels, bits)
    head = b"caff\0\1\0\0" + b"desc" + struct.pack(">q", 32) + description
    head += b"data" + struct.pack(">qI", -1 if unknown else size + 4, 0)
    promised = None if unknown or stands_for_all(size) else size
    return Built(head + sound, rate, channels, bits // 8, promised, len(sound))


def read(path: Path) -> tuple[list[tuple[int, Frames]], str]:
    """Read a file, or return why it is refused."""
    try:
        return list(file_blocks(path)), ""
    except AudioError as error:
        return [], str(error)


def check(path: Path, built: Built, caplog: pytest.LogCaptureFixture) -> None:
    """Read a file that was built, and compare with what its header says."""
    warn_once.cache_clear()
    caplog.clear()
    path.write_bytes(built.data)
    blocks, refused = read(path)
    assert len(refused.splitlines()) <= 1
    if refused:
        assert not built.usual, f"refused: {refused}"
        return
    frames = sum(len(block) for _, block in blocks)
    if not frames:  # "holds no samples", says who asked for them
        assert built.channels == 0 or built.frames == 0 or built.size == 0
        return
    assert {rate for rate, _ in blocks} == {built.rate}
    assert {block.shape[1] for _, block in blocks} == {built.channels}
    assert built.size is None or built.size <= built.there
    assert frames == built.frames
    assert frames >= built.counted
    left = built.there - frames * built.channels * built.width
    if (
        left > built.there // 2
        and left > 0.02 * built.rate * built.channels * built.width
        and built.data[-1:] == b"\7"
    ):
        assert caplog.messages


@quick
@given(built=wavs())
def test_wav(tmp_path: Path, caplog: pytest.LogCaptureFixture, built: Built) -> None:
    check(tmp_path / "a", built, caplog)


@quick
@given(built=aus())
def test_au(tmp_path: Path, caplog: pytest.LogCaptureFixture, built: Built) -> None:
    check(tmp_path / "a", built, caplog)


@quick
@given(built=aiffs())
def test_aiff(tmp_path: Path, caplog: pytest.LogCaptureFixture, built: Built) -> None:
    check(tmp_path / "a", built, caplog)


@quick
@given(built=cafs())
def test_caf(tmp_path: Path, caplog: pytest.LogCaptureFixture, built: Built) -> None:
    check(tmp_path / "a", built, caplog)
