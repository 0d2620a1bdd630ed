"""Sound files of every kind, damaged, as files and on standard input."""

from __future__ import annotations

import functools
import io
import os
import random
import re
from collections.abc import Sequence
from pathlib import Path

from fdan_edge.audio import decode
from fdan_edge.audio.kinds import HEAD, identify
from fdan_edge.audio.pcm import Frames
from fdan_edge.audio.wav import read_header
from fdan_edge.errors import AudioError
from fdan_edge.streaming.backlog import Backlog
from fdan_edge.streaming.standard_input import PipeSource
from tests.fuzz import half_read
from tests.fuzz.checks import Finding
from tests.fuzz.mutate import mutate
from tests.fuzz.places import new_folder
from tests.fuzz.seeds import Seed, encoded_sounds, pcm_sounds, sounds

_RATE = 16000
_PIPE = 60_000  # bytes that a pipe takes without a reader
#: How files are refused of which a part is missing; what is damaged otherwise, decoders may judge differently.
_MISSING = re.compile(r"is cut short: |\d s could be decoded")
_NEARLY = 0.3  # s by which a file and a pipe may differ


def make_sound(rng: random.Random) -> bytes:
    """Return a damaged sound file of any kind."""
    return _damaged(rng, sounds())


def make_pcm(rng: random.Random) -> bytes:
    """Return a damaged file of plain samples."""
    return _damaged(rng, pcm_sounds())


def make_encoded(rng: random.Random) -> bytes:
    """Return a damaged file of encoded sound."""
    return _damaged(rng, encoded_sounds())


def _damaged(rng: random.Random, seeds: Sequence[Seed]) -> bytes:
    """Cut, join or damage a file: some ways are those of which `half_read` knows what must come of them."""
    seed, how = rng.choice(seeds), rng.random()
    if how < 0.1:
        return seed.data[: rng.randrange(len(seed.data))]
    if how < 0.15:
        return seed.data + rng.choice([seed, *(other for other in seeds if other.data[:4] == seed.data[:4])]).data
    if how < 0.25:  # damage to the sound alone
        head = rng.randrange(len(seed.data))
        body = mutate(rng, seed.data[head:])
        return seed.data[:head] + body[: len(seed.data) - head]
    return mutate(rng, seed.data, [other.data for other in seeds])


@functools.cache
def _path() -> Path:
    """Return where inputs are written."""
    return new_folder("sound") / "input"


def read_kind(data: bytes, lines: list[str]) -> None:  # noqa: ARG001
    """Tell what a file is by its first bytes."""
    identify(data[:HEAD])


def read_wav_header(data: bytes, lines: list[str]) -> None:  # noqa: ARG001
    """Read the header of a WAV file, of whatever the data are."""
    if len(data) < 12:
        data = data.ljust(12, b"\0")
    header = read_header(io.BytesIO(b"RIFF" + data[4:8] + b"WAVE" + data[12:]).read)
    if header.size is not None and header.size < 0:
        raise Finding("a negative size")


def read_file(data: bytes, lines: list[str]) -> None:
    """Decode a file."""
    path = _path()
    path.write_bytes(data)
    half_read.check(data, len(decode.load(path, _RATE)) / _RATE, lines)


class _Sink(Backlog):
    """Counts samples, and keeps none."""

    def __init__(self, rate: int) -> None:
        super().__init__(rate)
        self.count = 0

    def put(self, samples: Frames, *, wait: bool = False) -> bool:  # noqa: ARG002
        """Count samples."""
        self.count += len(samples)
        return True


def read_pipe(data: bytes, lines: list[str]) -> None:
    """Decode standard input, and compare with what the same is as a file."""
    path = _path()
    path.write_bytes(data)
    count, rate = _samples_of_pipe(path, data)
    if identify(data[:HEAD]) is None:
        return
    seconds = count / rate
    half_read.check(data, seconds, lines)
    try:
        blocks = [(rate, len(block)) for rate, block in decode.file_blocks(path)]
    except AudioError as error:
        if _MISSING.search(str(error)):
            raise Finding(f"a pipe gives {seconds:.2f} s of what is refused as a file: {error}") from None
        return
    of_file = sum(length / rate for rate, length in blocks)
    # A FLAC's header and its frames may say different rates: then as many samples are as long as they like.
    if abs(seconds - of_file) > _NEARLY and count != sum(length for _, length in blocks) and not lines:
        raise Finding(f"a pipe gives {seconds:.2f} s of what has {of_file:.2f} s as a file")


def _samples_of_pipe(path: Path, data: bytes) -> tuple[int, int]:
    """Decode a pipe to its number of samples and their rate."""
    descriptor = _piped(data) if len(data) <= _PIPE else os.open(path, os.O_RDONLY)
    try:
        source = PipeSource(descriptor=descriptor)
        sink = _Sink(source.rate)
        source.feed(sink)
        return sink.count, source.rate
    finally:
        os.close(descriptor)


def _piped(data: bytes) -> int:
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    return reading
