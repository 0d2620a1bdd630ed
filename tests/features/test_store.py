"""What was computed is read again; what is damaged, changed, half written or of others is not."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fdan_edge.data.corpora import Item
from fdan_edge.errors import DataError
from fdan_edge.features import store as cache
from fdan_edge.features.mmap_rows import ItemRows
from fdan_edge.features.store import Extractor, Features, Result, Store, collect
from fdan_edge.utils.file_hashes import FileHashes

COUNT = 12


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test alone, with shards of two items."""
    monkeypatch.setenv("FDAN_EDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "SHARD_BYTES", 2 * 3 * 8)
    return tmp_path / "cache"


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    for i in range(COUNT):
        (tmp_path / f"{i:02}").write_text(f"{100 + i}")
    return [Item("x", f"{i:02}", tmp_path / f"{i:02}", "sad") for i in range(COUNT)]


def make(item: Item) -> Features:
    """Three numbers from what is in the file."""
    text = item.path.read_text()
    if not text.isdigit():
        raise DataError(f"{item.path}: no number")
    return Features(np.arange(3)[None] + int(text), missed=int(text) % 5)


class Counting:
    """Extractors, and the items that they were called with."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def __call__(self) -> Extractor:
        def counted(item: Item) -> Features:
            self.ids.append(item.id)
            return make(item)

        return counted


def read(outcomes: list[Result]) -> list[Any]:
    return [
        str(o) if isinstance(o, DataError) else [o.block[o.first : o.first + o.count].tolist(), o.missed]
        for o in outcomes
    ]


def expected(items: list[Item]) -> list[Any]:
    return read(collect(items, lambda: make, None, "numbers"))


def store(**settings: Any) -> Store:
    return Store("numbers", {"version": 1, **settings})


def build(items: list[Item]) -> list[str]:
    """Collect, check, and give what was made."""
    counting = Counting()
    assert read(collect(items, counting, store(), "numbers")) == expected(items)
    return sorted(counting.ids)


def shards(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("numbers-*/*"))


def ids(items: list[Item]) -> list[str]:
    return [item.id for item in items]


def test_a_second_run_computes_nothing(items: list[Item], folder: Path) -> None:
    assert build(items) == ids(items)
    before = {path: path.stat().st_mtime_ns for path in shards(folder)}
    assert len(before) == COUNT // 2

    def never() -> Extractor:
        raise AssertionError

    outcomes = collect(items, never, store(), "numbers")
    assert read(outcomes) == expected(items)
    assert all(isinstance(o, ItemRows) and isinstance(o.block, np.memmap) for o in outcomes)
    assert {path: path.stat().st_mtime_ns for path in shards(folder)} == before


def test_without_a_store_nothing_is_written(items: list[Item], folder: Path) -> None:
    expected(items)
    assert not folder.exists()


def test_any_choice_in_any_order_is_served(items: list[Item]) -> None:
    build(items[:8])
    assert build(items[10:3:-1]) == ids(items[8:11])
    assert build(items) == ids(items[11:])


def test_other_settings_share_nothing(items: list[Item]) -> None:
    build(items)
    counting = Counting()
    collect(items, counting, store(size=3), "numbers")
    assert len(counting.ids) == COUNT


def test_changed_files_are_computed_anew(items: list[Item]) -> None:
    build(items)
    state = items[3].path.stat()
    time.sleep(0.01)
    items[3].path.write_text("999")  # as long as before
    os.utime(items[3].path, ns=(state.st_atime_ns, state.st_mtime_ns))
    items[5].path.write_text("12345")
    items[7].path.touch()
    assert build(items) == ["03", "05"]
    assert build(items) == []


def test_the_same_content_under_another_key_is_another_item(items: list[Item]) -> None:
    """A recording's random window depends on its key."""
    build(items)
    renamed = [Item("y", item.id, item.path, "sad") for item in items[:2]]
    assert build(renamed) == ["00", "01"]


def test_a_file_that_changes_while_it_is_read_is_not_kept(items: list[Item]) -> None:
    def prepare() -> Extractor:
        def made(item: Item) -> Features:
            item.path.write_text(f"{int(item.path.read_text()) + 1000}")
            return make(item)

        return made

    collect(items[:2], prepare, store(), "numbers")
    items[0].path.write_text("100")
    assert build(items[:2]) == ["00", "01"]


def test_broken_files_are_tried_again_and_named_every_time(items: list[Item]) -> None:
    items[4].path.write_text("nothing")
    items[6].path.unlink()

    def missing(item: Item) -> Features:
        if not item.path.exists():
            raise DataError(f"{item.path}: no such file")
        return make(item)

    for _ in range(2):
        outcomes = collect(items, lambda: missing, store(), "numbers")
        assert str(outcomes[4]) == f"{items[4].path}: no number"
        assert str(outcomes[6]) == f"{items[6].path}: no such file"
        assert sum(isinstance(o, ItemRows) for o in outcomes) == COUNT - 2
    items[4].path.write_text("104")
    items[6].path.write_text("106")
    assert build(items) == ["04", "06"]


def test_items_without_rows(items: list[Item]) -> None:
    counting: list[str] = []

    def prepare() -> Extractor:
        counting.append("made")
        return lambda item: Features(np.zeros((0, 3), np.uint8), missed=int(item.path.read_text()))

    for _ in range(2):
        outcomes = collect(items[:2], prepare, store(), "numbers")
        assert read(outcomes) == [[[], 100], [[], 101]]
    assert counting == ["made"]


def cut_rows(shard: Path) -> None:
    os.truncate(shard / "rows.npy", (shard / "rows.npy").stat().st_size - 1)


def spoil_header(shard: Path) -> None:
    data = bytearray((shard / "rows.npy").read_bytes())
    data[:40] = b"\xff" * 40
    (shard / "rows.npy").write_bytes(data)


def pickled(shard: Path) -> None:
    size = (shard / "rows.npy").stat().st_size
    np.save(shard / "rows.npy", np.array([print], dtype=object), allow_pickle=True)
    os.truncate(shard / "rows.npy", size)


def forget_rows(shard: Path) -> None:
    index = json.loads((shard / "index.json").read_text())
    (shard / "index.json").write_text(json.dumps({**index, "entries": index["entries"][:1]}))


@pytest.mark.parametrize(
    "damage",
    [
        cut_rows,
        spoil_header,
        pickled,
        forget_rows,
        lambda shard: (shard / "rows.npy").unlink(),
        lambda shard: (shard / "index.json").unlink(),
        lambda shard: (shard / "index.json").write_text('{"bytes": '),
        lambda shard: (shard / "index.json").write_text("[]"),
    ],
)
def test_a_damaged_shard_is_said_and_made_anew(
    items: list[Item], folder: Path, damage: Callable[[Path], None], capfd: pytest.CaptureFixture[str]
) -> None:
    build(items)
    capfd.readouterr()
    damage(shards(folder)[0])
    assert len(build(items)) == 2
    said = capfd.readouterr().err
    assert said.count("a damaged part of the cache") == 1
    assert "Traceback" not in said
    assert build(items) == []


def test_a_shard_that_cannot_be_read_just_now_stays(
    items: list[Item], folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    build(items)
    there = shards(folder)
    capfd.readouterr()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patched:
        patched.setattr(np, "load", refuse)
        assert store().load() == {}
    assert shards(folder) == there
    assert "damaged" not in capfd.readouterr().err
    assert build(items) == []


SLOW = """
import json, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.features import test_store as t
from fdan_edge.features import store
store.SHARD_BYTES = 2 * 3 * 8
items = [t.Item("x", p.name, p, "sad") for p in sorted(Path(sys.argv[2]).glob("[0-9]*"))]
def slow(item):
    time.sleep(float(sys.argv[3]))
    return t.make(item)
def half(index, file):  # a write that never ends: the rows are there, the index is not
    print("writing", flush=True)
    time.sleep(60)
if sys.argv[4] == "half":
    json.dump = half
store.collect(items, lambda: slow, t.store(), "numbers")
"""


def builder(tmp_path: Path, seconds: float, mode: str = "whole") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SLOW, str(Path(__file__).parents[2]), str(tmp_path), str(seconds), mode]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_killed_build_leaves_whole_shards_only(items: list[Item], folder: Path, tmp_path: Path) -> None:
    process = builder(tmp_path, 0.1)
    while len(list(folder.glob("numbers-*/*/index.json"))) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    left = build(items)
    assert 0 < len(left) <= COUNT - 2  # one of the two may not have had its name yet
    assert build(items) == []


@pytest.mark.slow
def test_a_shard_that_was_half_written_is_no_shard_and_is_removed(
    items: list[Item], folder: Path, tmp_path: Path
) -> None:
    process = builder(tmp_path, 0, "half")
    assert process.stdout
    assert process.stdout.readline() == "writing\n"
    assert build(items[:4]) == ids(items[:4])  # beside one that still writes
    half = [path for path in shards(folder) if path.name.startswith(".new-")]
    assert len(half) == 1
    process.kill()
    process.communicate()
    assert build(items) == ids(items[4:])
    assert not half[0].exists()


def test_two_builders_at_once(items: list[Item], folder: Path) -> None:
    meeting = threading.Barrier(2, timeout=20)
    results: list[list[Any]] = []

    def run() -> None:
        def made(item: Item) -> Features:
            if item is items[0]:
                meeting.wait()  # both have found nothing
            return make(item)

        results.append(read(collect(items, lambda: made, store(), "numbers")))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected(items)] * 2
    assert len(shards(folder)) == COUNT // 2  # equal shards are there once
    assert build(items) == []


def test_a_full_disk_costs_the_cache_only(
    items: list[Item], folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    fsync, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 3:  # in the second shard, of two files each
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert build(items) == ids(items)
    assert "features cannot be kept: No space left on device; going on without" in " ".join(
        capfd.readouterr().err.split()
    )
    assert len(shards(folder)) == 1  # and nothing half written
    assert build(items) == ids(items[2:])


def test_a_cache_that_cannot_be_written_is_still_read(
    items: list[Item], folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whoever runs the tests may be root, whom no mode of a folder stops."""
    build(items[:4])
    capfd.readouterr()

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    before = sorted(folder.rglob("*"))
    monkeypatch.setattr(tempfile, "mkdtemp", refused)
    assert build(items) == ids(items[4:])
    assert "Permission denied; going on without" in " ".join(capfd.readouterr().err.split())
    assert sorted(folder.rglob("*")) == before


def test_a_table_of_contents_that_cannot_be_written(items: list[Item], monkeypatch: pytest.MonkeyPatch) -> None:
    build(items[:4])

    def refused(_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(FileHashes, "save", refused)
    assert build(items) == ids(items[4:])


def test_clearing_leaves_what_is_not_the_caches(items: list[Item], folder: Path) -> None:
    build(items)
    (folder / "mine").mkdir()
    (folder / "mine" / "thesis.txt").write_text("text")
    assert cache.size() == sum(p.stat().st_size for p in folder.glob("numbers-*/*/*"))
    cache.clear()
    assert cache.size() == 0
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["thesis.txt"]
    assert build(items) == ids(items)
