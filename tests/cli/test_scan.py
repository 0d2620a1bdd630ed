"""What `fdan-edge data scan` prints."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]


def test_scan(run: Run, ravdess_tree: Path, fer_tree: Path) -> None:
    code, out, err = run("data", "scan", f"ravdess:{ravdess_tree}", f"fer2013:{fer_tree}")
    assert (code, err) == (0, "")
    assert f"ravdess:{ravdess_tree}: 32 recordings, " in out
    assert "4 speakers" in out
    assert "\n8 recordings of each speaker\n" in out
    assert f"fer2013:{fer_tree}: 35 faces\n" in out
    code, out, _ = run("data", "scan", f"ravdess:{ravdess_tree}", "--json")
    assert code == 0
    assert json.loads(out)[0]["classes"]["happy"] == 4


def test_scan_of_recordings_without_labels(run: Run, ravdess_tree: Path) -> None:
    code, out, err = run("data", "scan", f"unlabelled:{ravdess_tree}")
    assert (code, err) == (0, "")
    assert " ".join(out.split()).endswith(" h class recordings no label 32")
    assert json.loads(run("data", "scan", f"unlabelled:{ravdess_tree}", "--json")[1])[0]["classes"] == {}


def test_scan_of_broken_files(run: Run, fails: Callable[..., str], ravdess_tree: Path, tmp_path: Path) -> None:
    shutil.copytree(ravdess_tree / "Actor_01", tmp_path / "Actor_01")
    broken = sorted((tmp_path / "Actor_01").iterdir())[0]
    broken.write_bytes(b"")
    code, out, err = run("data", "scan", f"ravdess:{tmp_path}")
    assert code == 1
    assert "8 recordings, " in out
    assert "1 of them broken" in out
    assert "recordings per speaker: 01:\N{NO-BREAK SPACE}8\n" in out
    assert err == f"broken: {broken}: is empty (0 bytes)\n"
    assert fails("data", "scan", "ravdes:x").startswith("unknown corpus 'ravdes'")


def test_scan_names_duplicates_and_files_without_a_label(run: Run, ravdess_tree: Path, tmp_path: Path) -> None:
    root = tmp_path / "[r]"  # square brackets are rich's markup
    shutil.copytree(ravdess_tree / "Actor_01", root / "Actor_01")
    first = sorted((root / "Actor_01").iterdir())[0]
    for name in ("Actor_01/03-01-01-01-02-01-01.wav", f"copy/{first.name}", *(f"take{n}.wav" for n in range(25))):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(first, root / name)
    (root / "01-01-03-01-01-01-01.mp4").write_bytes(b"video")
    code, out, err = run("data", "scan", f"ravdess:{root}")
    assert code == 1  # the video is none
    assert "1 files are there more than once" in err
    lines = [line.rstrip() for line in out.splitlines()]
    assert lines[0].endswith("/[r]: 9 recordings, 0.01 h, 1 speaker, 1 duplicate")
    at = lines.index("same content under different names:")
    assert lines[at + 1 : at + 3] == [f"  Actor_01/{first.name}", "    = Actor_01/03-01-01-01-02-01-01.wav"]
    at = lines.index("there more than once; the first is used:")
    assert lines[at + 1 : at + 3] == [f"  Actor_01/{first.name}", f"    = copy/{first.name}"]
    at = lines.index("  take0.wav")
    assert " ".join(lines[at - 2 : at]).startswith("no label for 25 files: its name is not of the form")
    assert lines[at + 20] == "  and 5 more; --json names all"
    assert lines[at + 21].endswith("/[r]: 1 video, 1 speaker, 1 of them broken")
    speech, videos = json.loads(run("data", "scan", f"ravdess:{root}", "--json")[1])
    assert (videos["modality"], videos["items"]) == ("videos", 1)
    assert [len(files) for files in speech["unlabelled"].values()] == [25]
    assert len(speech["duplicates"]) == len(speech["copies"]) == 1


def test_videos_are_summed_up_once(run: Run, tmp_path: Path) -> None:
    for emotion in ("sad", "happy"):
        (tmp_path / emotion).mkdir()
        (tmp_path / emotion / "1.mp4").write_bytes(b"")
    code, out, err = run("data", "scan", f"folder:{tmp_path}")
    assert code == 1
    lines = [line.strip() for line in out.splitlines()]
    assert [line.split()[0] for line in lines[1:4]] == ["class", "happy", "sad"]
    assert lines[5] == f"folder:{tmp_path}: 2 videos, 2 of them broken, with the same classes and speakers"
    assert len(lines) == 6
    assert sorted(err.splitlines()) == [
        f"broken: {tmp_path}/{name}/1.mp4: is empty (0 bytes)" for name in ("happy", "sad")
    ]
    assert len(json.loads(run("data", "scan", f"folder:{tmp_path}", "--json")[1])) == 2


def test_mistakes_of_a_table_are_listed(run: Run, fails: Callable[..., str], tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("path,emotion\na.doc,sad\nb.wav,\nc.wav\n,\nd.doc,sad\n")
    (tmp_path / "b.wav").touch()
    code, out, err = run("data", "scan", f"folder:{table}")
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        f"error: {table}: 4 mistakes",
        "  line 2: 'a.doc' is not named as a sound, image or video file",
        "  line 3: no emotion",
        "  line 4: 1 value for 2 columns; a comma separates them, as in line 1",
        "  line 6: 'd.doc' is not named as a sound, image or video file",
    ]
    table.write_text("path,emotion\nb.wav,sad\n,sad\n")
    assert fails("data", "scan", f"folder:{table}") == f"{table}, line 3: no path"


def test_what_unknown_speakers_mean(run: Run, ravdess_tree: Path, tmp_path: Path) -> None:
    paths = sorted((ravdess_tree / "Actor_01").iterdir())[:2]
    for path, emotion in zip(paths, ("sad", "happy"), strict=True):
        (tmp_path / emotion).mkdir()
        shutil.copy(path, tmp_path / emotion)
    words = "speakers not known: scores are of voices that were trained on"
    out = run("data", "scan", f"folder:{tmp_path}")[1]
    command = f"fdan-edge data scan folder:{tmp_path} --table labels.csv"
    assert f"\n{words}; to name them, `{command}` writes a table with a column speaker\n" in out
    table = tmp_path / "labels.csv"
    code, out, err = run("data", "scan", f"folder:{tmp_path}", "--table", table)
    assert code == 0
    assert f"\n{words}\n" in out
    assert err == f"{table}: written, 2 rows; complete it, then: fdan-edge data scan folder:{table}\n"
    table.write_text(table.read_text().replace(",speaker", ",").replace(",\n", "\n"))
    assert f"\n{words}; a column speaker in labels.csv names them\n" in run("data", "scan", f"folder:{table}")[1]
    assert words not in run("data", "scan", f"unlabelled:{tmp_path}")[1]


def test_a_table_is_of_one_corpus(fails: Callable[..., str], tmp_path: Path) -> None:
    message = fails("data", "scan", "synthetic:", "synthetic:", "--table", tmp_path / "t.csv")
    assert message == "--table writes a table of one corpus; 2 are given"


def test_a_folder_that_is_not_there(
    fails: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    assert fails("data", "scan", "folder:mime") == (
        f"folder:mime: no such folder or table (.csv, .tsv); looked for as {tmp_path}/mime; did you mean mine?"
    )
    assert fails("data", "scan", "mine").startswith(
        "'mine' is not of the form corpus:path; your own are folder:mine; corpora: savee, "
    )
    assert fails("data", "scan", r"folder:C:\me\mine").endswith("(.csv, .tsv); it is a path of a Windows machine")
    assert fails("data", "scan", "folder:~nobody-99/x") == (
        "'folder:~nobody-99/x': no user of that name has a home folder here"
    )


def test_what_is_left_out_is_listed_and_fails(run: Run, ravdess_tree: Path, tmp_path: Path) -> None:
    shutil.copytree(ravdess_tree / "Actor_01", tmp_path / "Actor_01")
    shutil.copy(sorted((tmp_path / "Actor_01").iterdir())[0], tmp_path / "REC001")
    code, out, err = run("data", "scan", f"ravdess:{tmp_path}")
    assert (code, err) == (1, "")
    assert "\nleft out: WAV by its content, but not named as sound or video: rename it (1)\n  REC001\n" in out
    (speech,) = json.loads(run("data", "scan", f"ravdess:{tmp_path}", "--json")[1])
    assert list(speech["left_out"].values()) == [[str(tmp_path / "REC001")]]
