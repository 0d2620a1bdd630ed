"""The streams that follow each other in an Ogg pipe."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from fdan_edge.audio.ogg import PAGE, Link


def ogg(subtype: str = "VORBIS", seconds: float = 1.0) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(0).normal(0, 0.1, round(24_000 * seconds))
    soundfile.write(file, noise, 24_000, format="OGG", subtype=subtype)
    return file.getvalue()


def read(data: bytes, at_once: int, begin: bytes = b"") -> Link:
    """Read the first stream of what comes in pieces."""
    pipe = io.BytesIO(data)
    link = Link(lambda most: pipe.read(min(most, at_once)), begin)
    link.drain()
    link.rest += pipe.read()
    return link


@pytest.mark.parametrize("at_once", [1, 5, 27, 4096, 1 << 20])
@pytest.mark.parametrize("share", [1.0, 0.7])
def test_a_stream_ends_where_the_next_begins(at_once: int, share: float) -> None:
    first = ogg()
    first, second = first[: int(share * len(first))], ogg("OPUS", 0.3)
    link = read(first + second, at_once)
    assert link.head == first[: 2 * PAGE]
    assert link.tail == first[-2 * PAGE :]
    assert link.rest == second
    last = read(b"", at_once, link.rest)
    assert (last.head, last.rest) == (second, b"")


def test_a_long_stream_keeps_its_ends_only() -> None:
    data = ogg(seconds=60)
    link = read(data, 1 << 16)
    assert len(data) > 3 * PAGE
    assert (link.head, link.tail, link.rest) == (data[: 2 * PAGE], data[-2 * PAGE :], b"")


def test_what_is_no_ogg_is_given_out_as_it_is() -> None:
    assert read(b"OggS", 1).head == b"OggS"
    assert read(b"", 1).head == b""
