"""A user's own table: what it names, and its mistakes, all at once."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fdan_edge.data.corpora import Item, Source, parse_source, read, tables
from fdan_edge.data.corpora.own_table import is_table, read_table, write_table
from fdan_edge.errors import DataError, LabelError
from tests.data.corpora.test_registry import touch

SPEAKERS = "path,emotion,speaker\n"


def speech(table: Path) -> list[Item]:
    return read(Source("folder", table), "speech")


def write(path: Path, text: str, *files: str) -> Path:
    """Write a table, and beside it the files that it names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    touch(*(path.parent / name for name in files))
    return path


def mistakes(table: Path) -> tuple[str, ...]:
    with pytest.raises(LabelError) as caught:
        speech(table)
    assert caught.value.where == str(table)
    assert "\n" not in str(caught.value)
    return caught.value.mistakes


def test_a_table(tmp_path: Path) -> None:
    text = 'path,emotion,speaker,split,text\n"sub/a, b.wav",Anger,anna,train,Hello\n./c.wav,own,ben,valid,\n'
    path = write(tmp_path / "data" / "labels.csv", text, "sub/a, b.wav", "c.wav")
    first, second = sorted(speech(path), key=lambda i: i.emotion)
    assert first == Item(
        "folder", "data/sub/a, b.wav", path.parent / "sub/a, b.wav", "angry", "anna", "Hello", "train"
    )
    assert (second.id, second.emotion, second.split, second.text) == ("data/c.wav", "own", "val", None)
    assert parse_source(f"folder:{path}").path == path


@pytest.mark.parametrize(
    ("name", "text", "encoding"),
    [
        ("t.tsv", "Path\tEmotion\nä.wav\tsad\n", "utf-8"),
        ("t.csv", "path;emotion\r\nä.wav;sad\r\n", "cp1252"),
        ("t.csv", "path,emotion\r\nä.wav,sad\r\n", "utf-8-sig"),
        ("t.tsv", "path\temotion\r\nä.wav\tsad\r\n", "utf-16"),
        ("T.CSV", "emotion, path ,\nsad, ä.wav ,\n\n,,\n", "utf-8"),
        ("t.csv", "path,emotion\nä.wav, SAD ,,\n", "utf-8"),
    ],
)
def test_tables_as_programs_write_them(tmp_path: Path, name: str, text: str, encoding: str) -> None:
    (tmp_path / name).write_bytes(text.encode(encoding))
    touch(tmp_path / "ä.wav")
    (item,) = speech(tmp_path / name)
    assert (item.path, item.emotion, item.speaker) == (tmp_path / "ä.wav", "sad", None)


def test_a_table_of_sounds_faces_and_videos(tmp_path: Path) -> None:
    text = f"path,emotion\na.wav,sad\nb.png,sad\nc.mp4,sad\n{tmp_path}/x/d.wav,sad\n"
    path = write(tmp_path / "t.csv", text, "a.wav", "b.png", "c.mp4", "x/d.wav")
    assert [i.path.name for i in speech(path)] == ["a.wav", "c.mp4", "d.wav"]
    assert [i.path.name for i in read(Source("folder", path), "faces")] == ["b.png"]
    assert [i.path.name for i in read(Source("folder", path), "videos")] == ["c.mp4"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'path'; its columns: none; line 1 must name path, emotion"),
        (
            "file,emotion\na.wav,sad\n",
            "no column 'path'; its columns: file, emotion; line 1 must name path, emotion",
        ),
        (
            "path,label\na.wav,sad\n",
            "no column 'emotion'; its columns: path, label; line 1 must name path, emotion",
        ),
        (
            "path|emotion\na.wav|sad\n",
            "no column 'path'; its columns: path|emotion; line 1 must name path, emotion, "
            "with a comma, tab or semicolon between them",
        ),
        (
            "pa\u2028th,emotion\n",
            "no column 'path'; its columns: pa\\u2028th, emotion; line 1 must name path, emotion",
        ),
        ("path,emotion,emotion\n", "column 'emotion' is there 2 times"),
        ("path,emotion,Speakers\na.wav,sad,p\n", "unknown column 'speakers': did you mean speaker?"),
        ("path,emotion,speaker\na.wav,sad,\n", "column 'speaker' is empty; fill it in, or delete the column"),
        ("path,emotion\na.wav, \n", "column 'emotion' is empty; fill it in"),
    ],
)
def test_mistakes_in_the_columns(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path / "t.csv", text, "a.wav")
    with pytest.raises(DataError) as caught:
        speech(path)
    assert str(caught.value) == f"{path}, line 1: {message}"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("\n,sad\n", "line 4: no path"),
        ("b.wav,\n", "line 3: no emotion"),
        ("b.wav\n", "line 3: 1 value for 2 columns; a comma separates them, as in line 1"),
        ("b.wav\nc.wav\n\nd.wav\n", "lines 3, 4, 6: 1 value for 2 columns; a comma separates them, as in line 1"),
        ("b, 1.wav,sad\n", "line 3: 3 values for 2 columns; put a value with a comma in it into quotation marks"),
        ('b.wav,"sad\n\nc.wav', "line 5: emotion 'sad\\n\\nc.wav' is no name; is a quotation mark not closed?"),
        (
            '"b.wav,sad\nc.wav,sad',
            "line 3: 1 value for 2 columns; the row has 2 lines: is a quotation mark not closed?",
        ),
        ("./a.wav,happy\n", "line 3: ./a.wav is on line 2 already"),
        ("a.doc,sad\n", "line 3: 'a.doc' is not named as a sound, image or video file"),
    ],
)
def test_mistakes_in_a_row(tmp_path: Path, rows: str, message: str) -> None:
    path = write(tmp_path / "t.csv", f"path,emotion\na.wav,sad\n{rows}", "a.wav", "b.wav")
    assert mistakes(path) == (message,)
    with pytest.raises(LabelError) as caught:
        speech(path)
    assert str(caught.value) == f"{path}, {message}"


def test_parts_that_are_none(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "path,emotion,split\na.wav,sad,all\n", "a.wav")
    assert mistakes(path) == ("line 2: split 'all' is none of train, val, test",)


def test_a_table_without_rows(tmp_path: Path) -> None:
    assert mistakes(write(tmp_path / "t.csv", "path,emotion\n,\n")) == ("no rows below line 1",)


@pytest.mark.parametrize("content", ["path,emotion\n".encode("utf-16-le"), b"PK\x03\x04\x14\0\x06\0, \0"])
def test_files_that_are_no_text(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"t.csv: is not a table of text; save it as CSV in UTF-8"):
        speech(tmp_path / "t.csv")


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    rows = [*(f"{n}.wav,angry,P01" for n in range(8)), "8.wav,angrry,p 1", "9.wav,,P01", "gone.wav,sad,P02"]
    path = write(tmp_path / "t.csv", SPEAKERS + "\n".join(rows), *(f"{n}.wav" for n in range(10)))
    assert mistakes(path) == (
        "class 'angrry' (1 file, line 10): did you mean angry? If it is a class of its own, write angrry!",
        "speakers 'P01' (9 files, lines 2 to 9, 11) and 'p 1' (1 file, line 10) differ only in case, blanks, "
        "punctuation or zeros before a number: one person under two names would be in training and test alike; "
        "write one name, or names that differ more",
        "line 11: no emotion",
        "line 12: gone.wav: no such file",
    )
    with pytest.raises(LabelError) as caught:
        speech(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: 4 mistakes: class 'angrry' (1 file, line 10): did you mean angry? ")
    assert message.endswith(
        f"; line 11: no emotion; and 1 more: `fdan-edge data scan folder:{path}` lists them all"
    )
    assert str(pickle.loads(pickle.dumps(caught.value))) == message  # as a worker process sends it


def test_a_few_files_that_are_missing_do_not_stop_the_others(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "path,emotion\na.wav,sad\nb.wav,sad\n", "a.wav")
    assert len(speech(path)) == 2


@pytest.mark.parametrize(
    ("written", "where", "remedy"),
    [
        (r"C:\me\sub\a.wav", ", a path of a Windows machine", r"without 'C:\me\' in front it is there: "),
        ("D:/x/b.wav", ", a path of a Windows machine", "write paths relative to the table's folder, {folder}"),
        ("data/sub/a.wav", ", looked for at {folder}/data/sub/a.wav", "without 'data/' in front it is there: "),
        ("here.wav", ", looked for at {folder}/here.wav", "it is there relative to the current folder, but "),
        (
            "~nobody-99/b.wav",
            ", looked for at {folder}/~nobody-99/b.wav",
            "write paths relative to the table's folder",
        ),
    ],
)
def test_most_files_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, where: str, remedy: str
) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path / "here.wav")
    path = write(tmp_path / "data" / "t.csv", f"path,emotion\n{written},sad\nc.wav,sad\nd.wav,sad\n", "sub/a.wav")
    (text,) = mistakes(path)
    expected = f"3 of its 3 files are not there, the first on line 2: '{written}'{where}; {remedy}"
    assert text.startswith(expected.format(folder=path.parent))


def test_backslashes_are_slashes(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "path,emotion\nsub\\a.wav,sad\n", "sub/a.wav")
    (item,) = speech(path)
    assert item.path == tmp_path / "sub" / "a.wav"


def test_which_files_are_tables(tmp_path: Path) -> None:
    assert is_table(write(tmp_path / "t.tsv", "Emotion\tPath\n"))
    assert not is_table(write(tmp_path / "t.csv", "date,who\n"))
    assert not is_table(write(tmp_path / "t.txt", "path,emotion\n"))
    assert not is_table(tmp_path / "none.csv")


# --- tables that are written ---


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_a_written_table_is_read_again(tmp_path: Path, name: str) -> None:
    touch(
        *(tmp_path / folder / "a, b.wav" for folder in ("train/sad", "test/ärger", "train/angrry!", "train/angry"))
    )
    items = read(Source("folder", tmp_path), "speech")
    write_table(tmp_path / name, items)
    lines = (tmp_path / name).read_text(encoding="utf-8-sig").splitlines()
    assert lines[0].split("," if name == "t.csv" else "\t") == ["path", "emotion", "speaker", "split"]
    (tmp_path / name).write_text((tmp_path / name).read_text(encoding="utf-8-sig").replace("speaker", "note"))
    assert speech(tmp_path / name) == items


def test_a_written_table_asks_for_speakers(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "sad" / "1.wav", tmp_path / "a" / "happy" / "2.wav")
    write_table(tmp_path / "b" / "t.csv", read(Source("folder", tmp_path / "a"), "speech"))
    assert (tmp_path / "b" / "t.csv").read_text() == f"{SPEAKERS}../a/happy/2.wav,happy,\n../a/sad/1.wav,sad,\n"
    assert mistakes(tmp_path / "b" / "t.csv") == (
        "line 1: column 'speaker' is empty; fill it in, or delete the column",
    )


@pytest.mark.parametrize("name", [b"\xff.wav", b" .wav", b"a\nb.wav", b"a\\b.wav"])
def test_names_that_no_table_can_hold(tmp_path: Path, name: bytes) -> None:
    table, path = tmp_path / "t.csv", tmp_path / os.fsdecode(name)
    with pytest.raises(DataError, match="a table cannot hold this name; rename the file"):
        write_table(table, [Item("folder", "x", path, "sad")])
    assert not table.exists()


def test_no_file_is_overwritten(tmp_path: Path, fails: Callable[..., str]) -> None:
    touch(tmp_path / "sad" / "a.wav", tmp_path / "t.csv")
    (tmp_path / "link.csv").symlink_to(tmp_path / "none")
    for name in ("t.csv", "link.csv"):
        message = fails("data", "scan", f"folder:{tmp_path}", "--table", tmp_path / name)
        assert message == f"{tmp_path}/{name}: is there already, and is not overwritten; give another name"
    assert (tmp_path / "t.csv").read_bytes() == b"x"
    with pytest.raises(DataError, match=r"t.xlsx: not named as a table \(.csv, .tsv\)"):
        write_table(tmp_path / "t.xlsx", [])


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_a_table_of_too_many_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    table = tmp_path / "labels.csv"
    table.write_bytes(f"path,emotion{end}{f'a.wav,sad{end}' * 4}".encode())
    monkeypatch.setattr(tables, "MOST_LINES", 4)
    with pytest.raises(DataError, match=r"labels\.csv: 5 lines; a table has 4 at most: divide it"):
        read_table(table, "a")


def test_many_rows_of_files_that_are_not_there(tmp_path: Path) -> None:
    """A million of them took minutes."""
    table = tmp_path / "labels.csv"
    rows = (f"d/{number}.wav,{('angry', 'sad')[number % 2]},s{number % 99}\n" for number in range(20_000))
    table.write_text("path,emotion,speaker\n" + "".join(rows))
    begun = time.process_time()
    with pytest.raises(LabelError, match="20000 of its 20000 files are not there"):
        read_table(table, "a")
    assert time.process_time() - begun < 2.0  # 0.2 usually
