"""What files are, by their first bytes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fdan_edge.audio.kinds import AAC, FLAC, HEAD, MP3, WAV, identify, identify_file, kind_of, tag_size

FLAC_HEAD = b"fLaC\0\0\0\x22" + bytes(34)
ADTS_FRAME = b"\xff\xf1\x60\x40\x04\x00\xfc" + bytes(25)
BEHIND_TAGS = [(FLAC_HEAD, FLAC), (4 * ADTS_FRAME, AAC), (b"?" * 99, MP3), (b"", MP3)]


def tag(size: int) -> bytes:
    """An ID3v2 tag with a picture of `size` bytes."""
    return b"ID3\4\0\0" + bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0)) + b"A" * size


@pytest.mark.parametrize("sizes", [(0,), (20,), (2 * HEAD,), (20, 3 * HEAD)])
@pytest.mark.parametrize(("content", "kind"), BEHIND_TAGS, ids=["FLAC", "AAC", "rubbish", "nothing"])
def test_tags_of_any_length_do_not_hide_what_follows(
    tmp_path: Path, sizes: tuple[int, ...], content: bytes, kind: object
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"".join(map(tag, sizes)) + content)
    with path.open("rb") as file:
        assert identify_file(file) == (kind, content)
    assert kind_of(path) == kind


def test_the_size_of_a_tag() -> None:
    assert tag_size(tag(300)) == 310
    assert tag_size(FLAC_HEAD) == tag_size(b"ID3\4") == 0


def test_what_has_no_tag_is_known_at_once() -> None:
    assert identify(b"RIFF\0\0\0\0WAVEfmt ") == WAV
    assert identify(b"\1\2\3") is None


def test_pipes_and_what_is_not_there_are_of_no_kind(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert kind_of(tmp_path / "pipe") is kind_of(tmp_path / "none") is None
