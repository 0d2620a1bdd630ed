"""Digests of corpora: the same files give the same, whatever else lies there; others are told."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib

from fdan_edge.errors import DataError

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import corpus_digests as digests  # noqa: E402


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of data with two folders of one corpus, of three files."""
    for name, content in (("one/b.wav", b"b"), ("one/Z/a.FLAC", b"a"), ("two/c.opus", b"c")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


def corpus(*folders: digests.Folder) -> digests.Corpus:
    return digests.Corpus("emodb", "German", "whoever", folders)


def known(data: Path, name: str) -> digests.Folder:
    here = digests.digest(data / name)
    return digests.Folder(name, name, here.files, here.sha256)


def test_it_is_what_a_shell_computes(data: Path) -> None:
    command = "find . -type f -printf '%P\\n' | LC_ALL=C sort | xargs sha256sum | sha256sum"
    done = subprocess.run(command, shell=True, cwd=data / "one", capture_output=True, text=True, check=True)
    assert digests.digest(data / "one") == digests.Digest(2, done.stdout.split()[0])


def test_what_is_no_sound_does_not_count(data: Path) -> None:
    before = digests.digest(data / "one")
    (data / "one" / "notes.txt").write_text("x")
    (data / "one" / "._b.wav").write_text("x")
    assert digests.digest(data / "one") == before


def test_every_change_is_another_digest(data: Path) -> None:
    seen = {digests.digest(data / "one").sha256}
    (data / "one" / "b.wav").write_bytes(b"B")
    seen.add(digests.digest(data / "one").sha256)
    (data / "one" / "b.wav").rename(data / "one" / "c.wav")
    seen.add(digests.digest(data / "one").sha256)
    (data / "one" / "d.wav").touch()
    seen.add(digests.digest(data / "one").sha256)
    assert len(seen) == 4


def test_other_files_are_refused_unless_asked_for(data: Path) -> None:
    places = digests.Places(data)
    both = [corpus(known(data, "one"), known(data, "two"))]
    assert digests.check(both, places, any_files=False)[1] == []
    (data / "two" / "c.opus").write_bytes(b"C")
    with pytest.raises(DataError, match=r"two: 1 files, sha256 .{12}; expected 1, sha256 .{12}; --any-files"):
        digests.check(both, places, any_files=False)
    found, others = digests.check(both, places, any_files=True)
    assert found["two"] == digests.digest(data / "two")
    assert len(others) == 1
    with pytest.raises(DataError, match="none: no such folder; say where emodb is: --folder two=PATH"):
        digests.check(both, digests.Places(data, {"two": data / "none"}), any_files=True)


def test_places(data: Path) -> None:
    both = corpus(known(data, "one"), known(data, "two"))
    places = digests.Places(data, digests.known_folders({"emodb": both}, ["two=/elsewhere"]))
    assert places.sources(both) == [f"emodb:{data}/one", "emodb:/elsewhere"]
    for word, named in (("tow=/x", "tow"), ("three", "three")):
        with pytest.raises(
            DataError, match=f"--folder unknown folder '{named}'.*; valid: one, two, as in one=/data"
        ):
            digests.known_folders({"emodb": both}, [word])
    with pytest.raises(DataError, match="--folder 'two' names no path, as in one=/data/one"):
        digests.known_folders({"emodb": both}, ["two"])


def test_one_digest_of_several_folders(data: Path) -> None:
    one, two = known(data, "one"), known(data, "two")
    found = {name: digests.digest(data / name) for name in ("one", "two")}
    assert digests.of_corpus(corpus(one), found) == one.sha256
    assert (
        digests.of_corpus(corpus(one, two), found)
        == hashlib.sha256((one.sha256 + two.sha256).encode()).hexdigest()
    )


@pytest.mark.corpora
def test_the_corpora_at_hand_are_those_of_the_models() -> None:
    """One of them, which takes half a second."""
    table = tomllib.loads((ROOT / "benchmarks" / "models" / "corpora.toml").read_text())
    emodb = digests.read_corpora(table)["emodb"]
    assert digests.check([emodb], digests.Places(ROOT.parent / "shared" / "data"), any_files=False)[1] == []
