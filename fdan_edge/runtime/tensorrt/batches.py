"""How many windows an engine takes at once, and through which optimization profile. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Profile(NamedTuple):
    """Batches that a part of an engine takes."""

    smallest: int
    best: int  # what its kernels were chosen for
    largest: int


#: Of every engine. One window of a live stream; the windows of a recording (`recognition.BATCH`); many at once
#: (`offline.recording_events`, Triton).
PROFILES = (Profile(1, 1, 1), Profile(2, 4, 4), Profile(5, 16, 16))


class Part(NamedTuple):
    """Windows that are run at once."""

    start: int
    stop: int
    size: int  # of the batch, at least `stop - start`; what is in its other rows does not matter
    profile: int  # that takes it


def split(count: int, profiles: Sequence[Profile]) -> Iterator[Part]:
    """Cut windows into batches, so that nearly all have the largest size of a profile.

    A profile that runs one size alone keeps its kernels and its CUDA graph: each other size changes the execution
    context, which makes a graph void. So a batch of three quarters is filled up, and smaller rests are run by
    smaller profiles. Where none fits, as in an engine with one profile, the rest is run in its own size.

    Args:
        count: of the windows.
        profiles: of the engine.
    """
    start = 0
    while start < count:
        rest = count - start
        full = [i for i, profile in enumerate(profiles) if 4 * rest >= 3 * profile.largest]
        if full:
            profile = max(full, key=lambda i: profiles[i].largest)
            size = profiles[profile].largest
        else:
            profile = min(range(len(profiles)), key=lambda i: (profiles[i].largest < rest, profiles[i].largest))
            size = max(rest, profiles[profile].smallest)
        stop = min(count, start + size)
        yield Part(start, stop, size, profile)
        start = stop
