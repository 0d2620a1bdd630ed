"""What `fdan-edge data scan` prints."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

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
