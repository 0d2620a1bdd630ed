"""A header of 1 kB that makes FFmpeg fill gigabytes is refused before; whole files are not."""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from fdan_edge.audio import decode, mp4
from fdan_edge.data import face_crops
from fdan_edge.errors import AudioError, DataError

_MANY = 200_000


def sound(codec: str = "aac", *, fragments: bool = False) -> bytearray:
    """A second of silence."""
    file = io.BytesIO()
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"} if fragments else {}
    with av.open(file, "w", format="mov", options=options) as container:
        stream: Any = container.add_stream(codec, rate=16000)
        kind, dtype = ("fltp", np.float32) if codec == "aac" else ("s16", np.int16)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), dtype), format=kind, layout="mono")
        frame.sample_rate = 16000
        container.mux([*stream.encode(frame), *stream.encode()])
    return bytearray(file.getvalue())


def patched(data: bytearray, name: bytes, offset: int, *numbers: int) -> bytearray:
    """Write numbers of 32 bits behind the name of a box."""
    at = data.index(name) + 4 + offset
    data[at : at + 4 * len(numbers)] = struct.pack(f">{len(numbers)}I", *numbers)
    return data


def of_one_size(data: bytearray) -> bytearray:
    """Many samples of a byte, in one chunk."""
    return patched(patched(patched(data, b"stsz", 4, 1, _MANY), b"stsc", 12, _MANY), b"stts", 8, _MANY)


def edited(data: bytearray) -> bytearray:
    """As many edits, each of which shows all samples: FFmpeg lists them for each."""
    return patched(data, b"elst", 4, _MANY)


def twice(data: bytearray) -> bytearray:
    """Two tables of sizes, of which a reader may take either."""
    at = data.index(b"stsz") - 4
    size = int.from_bytes(data[at : at + 4], "big")
    table = patched(data[at : at + size], b"stsz", 4, 1, _MANY)
    data[at:at] = table
    for name in (b"stbl", b"minf", b"mdia", b"trak", b"moov"):
        place = data.index(name) - 4
        data[place : place + 4] = (int.from_bytes(data[place : place + 4], "big") + size).to_bytes(4, "big")
    return data


def of_fragments(data: bytearray) -> bytearray:
    """A fragment whose samples have no sizes of their own."""
    return patched(data, b"trun", 0, 1, _MANY)


def renamed(old: bytes, new: bytes, data: bytearray) -> bytearray:
    """The same in another kind of box, in which FFmpeg finds it too."""
    return of_one_size(data).replace(old, new, 1)


def of_pictures(data: bytearray) -> bytearray:
    """Samples that are all alike, but pictures: FFmpeg lists each of them."""
    many = patched(patched(data, b"stsz", 4, 1, _MANY), b"stsc", 12, _MANY)
    return patched(many, b"stts", 8, _MANY, 1).replace(b"soun", b"vide", 1)


def of_pcm(data: bytearray) -> bytearray:
    """Chunks of more samples than there are bytes."""
    return patched(data, b"stsc", 12, 0xFFFFFFFF)


@pytest.mark.parametrize(
    ("change", "codec", "fragments"),
    [
        (of_one_size, "aac", False),
        (edited, "aac", False),
        (twice, "aac", False),
        (of_fragments, "aac", True),
        (of_pcm, "pcm_s16le", False),
        (functools.partial(renamed, b"minf", b"udta"), "aac", False),
        (functools.partial(renamed, b"minf", b"dinf"), "aac", False),
        (of_pictures, "pcm_s16le", False),
    ],
)
def test_tables_that_count_too_much(
    tmp_path: Path, change: Callable[[bytearray], bytearray], codec: str, fragments: bool
) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(sound(codec, fragments=fragments))
    assert len(decode.load(path)) > 15000  # as it was
    path.write_bytes(change(sound(codec, fragments=fragments)))
    with pytest.raises(
        AudioError, match=r"a\.mp4: is damaged MP4: its tables count \d+ samples; it can hold 100000"
    ):
        decode.load(path)
    with pytest.raises(DataError, match="is damaged MP4: its tables count"):
        face_crops.sample_frames(path, 1)


def box(name: bytes, *content: bytes) -> bytes:
    inside = b"".join(content)
    return struct.pack(">I4s", 8 + len(inside), name) + inside


TRACK = box(b"trak", box(b"stsz", struct.pack(">III", 0, 1, 60_000)))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (box(b"moov", TRACK, TRACK), "count 120000 samples"),
        (box(b"moov", box(b"trak", TRACK, TRACK)), "count 120000 samples"),
        (box(b"trak", box(b"meta", bytes(4), box(b"hdlr", bytes(24)), TRACK, TRACK)), "count 120000 samples"),
        (box(b"free", box(b"mvhd", bytes(100)), TRACK, TRACK), "count 120000 samples"),
        (TRACK + box(b"udta", TRACK), "count 120000 samples"),
        (box(b"moov", TRACK[8:]), "a table stsz is in no track"),
        (box(b"moov", box(b"trak", box(b"stsd", bytes(40), TRACK))), "in a description of sound"),
        (box(b"moov", box(b"cmov", bytes(20))), "its header is compressed"),
    ],
)
def test_tables_where_nobody_puts_them(data: bytes, reason: str) -> None:
    with pytest.raises(AudioError, match=reason):
        mp4.check_tables(io.BytesIO(data), "a")


def test_boxes_without_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """They end the walk, but not as if the rest were not there."""
    monkeypatch.setattr(mp4, "_MOST_BOXES", 1000)
    with pytest.raises(AudioError, match="more than 1000 boxes"):
        mp4.check_tables(io.BytesIO(box(b"free") * 1001 + TRACK), "a")


@pytest.mark.parametrize("name", [b"free", b"hoov", b"trak", b"udta"])
def test_pipes_are_looked_at_whatever_the_header_is_called(name: bytes) -> None:
    pipe = mp4.CheckedPipe(piped(box(name, box(b"mvhd", bytes(100)), TRACK, TRACK), 7), "a")
    with pytest.raises(AudioError, match="count 120000 samples"):
        pipe.read(100)


def test_boxes_of_any_shape_are_walked_to_an_end() -> None:
    """Sizes of nothing, of less than a head, beyond the end, of 64 bits, and boxes within boxes without an end."""
    size = struct.Struct(">I4s")
    traks, moovs = (b"".join(size.pack(0, name) for _ in range(3000)) for name in (b"trak", b"moov"))
    wide = size.pack(1, b"moov") + struct.pack(">Q", 1 << 62)
    for data in (
        b"",
        b"\0\0\0",
        size.pack(0, b"moov"),
        size.pack(3, b"moov"),
        size.pack(1 << 31, b"trak"),
        wide,
        traks,
        moovs,
    ):
        mp4.check_tables(io.BytesIO(data + bytes(8)), "a")


def piped(data: bytes, at_once: int) -> Callable[[int], bytes]:
    file = io.BytesIO(data)
    return lambda most: file.read(min(most, at_once))


@pytest.mark.parametrize("at_once", [1, 7, 1 << 16])
@pytest.mark.parametrize("fragments", [False, True])
def test_a_pipe_gives_every_byte(at_once: int, fragments: bool) -> None:
    data = bytes(sound(fragments=fragments)) + struct.pack(">I4s", 0, b"mdat") + b"to the end"
    for cut in (len(data), len(data) - 3, 20, 5, 0):
        pipe = mp4.CheckedPipe(piped(data[:cut], at_once), "a")
        parts = [*iter(functools.partial(pipe.read, 1000), b"")]
        assert b"".join(parts) == data[:cut]
        assert max(map(len, parts), default=0) <= 1000


@pytest.mark.parametrize(("change", "fragments"), [(of_one_size, False), (of_fragments, True)])
def test_tables_in_a_pipe(change: Callable[[bytearray], bytearray], fragments: bool) -> None:
    pipe = mp4.CheckedPipe(piped(bytes(change(sound(fragments=fragments))), 1000), "standard input")
    with pytest.raises(AudioError, match="standard input: is damaged MP4: its tables count 200000 samples"):
        [*iter(lambda: pipe.read(1000), b"")]
    endless = struct.pack(">I4sQ", 1, b"moov", 1 << 40)
    with pytest.raises(AudioError, match="is damaged MP4: tables of 1099511627760 bytes"):
        mp4.CheckedPipe(piped(endless, 1000), "standard input").read(1000)
