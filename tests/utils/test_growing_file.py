"""Text files that grow under another name; that annotations are written so is in test_annotations.py."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fdan_edge.errors import ConfigError
from fdan_edge.utils.growing_file import GrowingFile, check_written, csv_path, csv_row


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


def test_a_full_disk_names_the_file() -> None:
    with (
        pytest.raises(OSError, match="No space left on device: '/dev/full'") as told,
        GrowingFile(Path("/dev/full")) as file,
    ):
        file.write("a line")
    assert told.value.filename == "/dev/full"


def test_a_limit_names_the_file_and_not_its_part(tmp_path: Path) -> None:
    """As with a full disk, and what did not fit is tried again when the file is closed."""
    code = f"""
import resource, signal
from pathlib import Path
from fdan_edge.utils.growing_file import GrowingFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4, 4))
try:
    with GrowingFile(Path({str(tmp_path / "x.rttm")!r}), "1234") as file:
        file.write("5")
except OSError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"[Errno 27] File too large: '{tmp_path / 'x.rttm'}'\n", "")
    assert [one.name for one in tmp_path.iterdir()] == ["x.rttm.part"]


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


@pytest.mark.parametrize(
    "value", ["=1+1", "+cmd|' /C calc'!A0", "-a", "@SUM(A1)", "\tx", '=HYPERLINK("http://a")']
)
def test_no_cell_is_a_formula(value: str) -> None:
    (row,) = csv.reader([csv_row(["a", value])])
    assert row == ["a", f"'{value}"]


def test_a_carriage_return_ends_no_row() -> None:
    assert csv_row(["a\rb"]) == "a\\rb\n"


def test_numbers_and_paths_stay_what_they_are() -> None:
    assert csv_row(["-0.5", "+1e-3", "3"]) == "-0.5,+1e-3,3\n"
    assert csv_row([csv_path(Path("=a.wav")), csv_path(Path("/x/=a.wav")), csv_path(Path("a.wav"))]) == (
        "./=a.wav,/x/=a.wav,a.wav\n"
    )
