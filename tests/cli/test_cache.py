"""What `fdan-edge data cache` prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with one shard of 2 MB, and a file of the user's beside it."""
    monkeypatch.setenv("FDAN_EDGE_CACHE", str(tmp_path))
    folder = tmp_path / f"faces-{16 * '0'}" / f"{16 * '1'}"
    folder.mkdir(parents=True)
    (folder / "rows.npy").write_bytes(bytes(2_000_000))
    (tmp_path / "mine.txt").touch()
    return folder


@pytest.mark.usefixtures("shard")
def test_size_and_place(run: Run, tmp_path: Path) -> None:
    assert run("data", "cache") == (0, f"{tmp_path}: 2.0 MB\n", "")
    code, out, _ = run("data", "cache", "--json")
    assert (code, json.loads(out)) == (0, {"folder": str(tmp_path), "bytes": 2_000_000, "cleared": False})


def test_clear(run: Run, shard: Path, tmp_path: Path) -> None:
    assert run("data", "cache", "--clear") == (0, f"{tmp_path}: removed 2.0 MB\n", "")
    assert not shard.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    assert run("data", "cache") == (0, f"{tmp_path}: 0.0 MB\n", "")


def test_no_cache_yet(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FDAN_EDGE_CACHE", str(tmp_path / "none"))
    assert run("data", "cache", "--clear") == (0, f"{tmp_path / 'none'}: removed 0.0 MB\n", "")
