"""Memory that is free goes back to the system."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import pytest

from fdan_edge.utils import memory


def resident() -> int:
    """Bytes of memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.skipif(sys.platform != "linux" or not memory.trimmer(), reason="no glibc")
def test_what_is_free_goes_back() -> None:
    library = ctypes.CDLL(None)
    library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    blocks = [library.malloc(64_000) for _ in range(1000)]
    last = library.malloc(64_000)  # keeps the top of the heap, so that free alone gives nothing back
    for block in blocks:
        ctypes.memset(block, 1, 64_000)
    for block in blocks:
        library.free(block)
    before = resident()
    memory.give_back()
    assert before - resident() > 40e6
    library.free(last)


def test_another_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    memory.trimmer.cache_clear()
    memory.give_back()
    memory.trimmer.cache_clear()
