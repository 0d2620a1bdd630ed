"""Text files that grow under another name; that annotations are written so is in test_annotations.py."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from fdan_edge.errors import ConfigError
from fdan_edge.utils.growing_file import GrowingFile, check_written, csv_row


def test_a_file_has_its_name_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.csv"
    with GrowingFile(path, "head\n") as file:
        file.write("ä\n")
        assert [one.name for one in path.parent.iterdir()] == ["x.csv.part"]
        assert path.with_name("x.csv.part").read_text(encoding="utf-8") == "head\nä\n"
    assert [one.name for one in path.parent.iterdir()] == ["x.csv"]


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    with GrowingFile(tmp_path / "x", os.fsdecode(b"\xff.wav")):
        pass
    assert (tmp_path / "x").read_text(encoding="utf-8") == "\\udcff.wav"


def test_a_pipe_stays_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with GrowingFile(pipe, "told\n"):
        pass
    assert os.read(reader, 99) == b"told\n"
    assert pipe.is_fifo()
    os.close(reader)


def test_a_row_is_read_as_it_was_written(tmp_path: Path) -> None:
    values = ["a,b", 'c"d', "e\nf", ""]
    (tmp_path / "x.csv").write_text(csv_row(values), newline="")
    with (tmp_path / "x.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [values]


def test_what_would_be_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_written({"--one": Path("x"), "--other": None}, [Path("y")], "the source")
    with pytest.raises(ConfigError, match=r"--one x: is the source too; name another file"):
        check_written({"--one": Path("x")}, [tmp_path / "x"], "the source")
    with pytest.raises(ConfigError, match=r"--other x\.part: is --one too; name another file"):
        check_written({"--one": Path("x"), "--other": Path("x.part")}, [], "the source")
