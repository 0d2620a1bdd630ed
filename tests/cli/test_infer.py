"""The verb infer: its table and its JSON, and files that cannot be used among good ones."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.shell import shell

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def voices(tmp_path: Path, ravdess_tree: Path) -> Path:
    """A folder of three good recordings."""
    folder = tmp_path / "voices"
    (folder / "deep er").mkdir(parents=True)
    sources = sorted(ravdess_tree.rglob("*.wav"))
    for name, source in zip(("a.wav", "ä 中文.wav", "deep er/[b].wav"), sources, strict=False):
        shutil.copy(source, folder / name)
    return folder


def test_infer_prints_an_aligned_table(run: Run, bundle_folder: Path, voices: Path) -> None:
    from rich.cells import cell_len

    code, out, err = run("infer", bundle_folder, voices)
    assert (code, err) == (0, "")
    folder, head, *rows = out.splitlines()
    assert folder == f"in {voices}"
    assert head.split() == ["file", "emotion", "confidence", "seconds"]
    names = ["a.wav", "deep er/[b].wav", "ä 中文.wav"]
    assert [row[: len(name)] for row, name in zip(rows, names, strict=True)] == names
    assert {cell_len(line) for line in (head, *rows)} == {cell_len(head)}


def test_infer_json_is_a_line_for_each_file(run: Run, bundle_folder: Path, voices: Path) -> None:
    code, out, err = run("infer", bundle_folder, voices, "--json")
    values = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert [value["path"] for value in values] == [
        str(voices / name) for name in ("a.wav", "deep er/[b].wav", "ä 中文.wav")
    ]
    for value in values:
        assert sum(value["probabilities"].values()) == pytest.approx(1, abs=1e-4)
        assert value["confidence"] == max(value["probabilities"].values())
        assert value["probabilities"][value["emotion"]] == value["confidence"]


def test_a_broken_file_among_good_ones(run: Run, bundle_folder: Path, voices: Path) -> None:
    (voices / "b.wav").write_bytes((voices / "a.wav").read_bytes()[:3000])
    code, out, err = run("infer", bundle_folder, voices)
    assert code == 1
    assert len(out.splitlines()) == 2 + 3
    assert err.startswith(f"error: {voices / 'b.wav'}: is cut short: ")
    assert err.count("\n") == 1


def test_a_video_that_nothing_here_can_read_among_sound_files(
    run: Run, bundle_folder: Path, voices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    (voices / "b.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(200))
    code, out, err = run("infer", bundle_folder, voices / "b.mp4", voices / "a.wav")
    assert code == 1
    assert "a.wav" in out
    assert err.startswith(f"error: {voices / 'b.mp4'}: reading MP4 needs av, which is not installed: pip install")
    assert err.count("\n") == 1


def test_a_broken_file_in_json_is_on_both_streams(run: Run, bundle_folder: Path, voices: Path) -> None:
    (voices / "b.wav").write_bytes(b"")
    code, out, err = run("infer", bundle_folder, voices, "--json")
    values = {Path(value["path"]).name: value for value in map(json.loads, out.splitlines())}
    assert code == 1
    assert len(values) == 4
    assert values["b.wav"] == {"path": str(voices / "b.wav"), "error": f"{voices / 'b.wav'}: is empty (0 bytes)"}
    assert err == f"error: {voices / 'b.wav'}: is empty (0 bytes)\n"


def test_exit_code_2_when_no_file_could_be_used(fails: Callable[..., str], bundle_folder: Path) -> None:
    assert fails("infer", bundle_folder, "none.wav") == "none.wav: no such file"


def test_missing_file_among_good_ones(run: Run, bundle_folder: Path, voices: Path) -> None:
    code, out, err = run("infer", bundle_folder, voices / "none.wav", voices / "a.wav")
    assert (code, err) == (1, f"error: {voices / 'none.wav'}: no such file\n")
    assert "\na.wav " in out


def test_one_file_is_named_as_given(run: Run, bundle_folder: Path, voices: Path) -> None:
    _, out, _ = run("infer", bundle_folder, voices / "a.wav")
    head, row = out.splitlines()
    assert head.startswith("file ")
    assert row.startswith(f"{voices / 'a.wav'}  ")


def test_relative_and_absolute_paths_mix(
    run: Run, bundle_folder: Path, voices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(voices)
    code, out, _ = run("infer", bundle_folder, "a.wav", voices / "a.wav", "deep er")
    assert code == 0
    names = ("a.wav  ", f"{voices / 'a.wav'}  ", "deep er/[b].wav  ")
    assert [line.startswith(name) for line, name in zip(out.splitlines()[1:], names, strict=True)] == [True] * 3


def test_paths_in_different_folders_stand_below_what_they_share(
    run: Run, bundle_folder: Path, voices: Path
) -> None:
    _, out, _ = run("infer", bundle_folder, voices / "deep er", voices / "a.wav", voices / "a.wav")
    lines = out.splitlines()
    assert lines[0] == f"in {voices}"
    assert [line.split("  ")[0] for line in lines[2:]] == ["deep er/[b].wav", "a.wav", "a.wav"]


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_names_that_no_terminal_shows(run: Run, bundle_folder: Path, voices: Path, as_json: list[str]) -> None:
    for name in (b"\xff.wav", b"new\nline.wav", b"\x1b[31m.wav"):
        shutil.copy(voices / "a.wav", voices / os.fsdecode(name))
    (voices / os.fsdecode(b"\xfe.wav")).touch()
    code, out, err = run("infer", bundle_folder, voices, *as_json)
    assert code == 1
    assert err == f"error: {voices}/\\udcfe.wav: is empty (0 bytes)\n"
    lines = out.splitlines()
    if as_json:
        paths = {os.fsencode(json.loads(line)["path"]) for line in lines}
        assert bytes(voices) + b"/\xff.wav" in paths
        assert bytes(voices) + b"/new\nline.wav" in paths
    else:
        names = {line.split("  ")[0] for line in lines[2:]}
        assert {"\\udcff.wav", "new\\nline.wav", "\\x1b[31m.wav"} <= names


def test_output_in_an_encoding_without_the_letters(bundle_folder: Path, voices: Path) -> None:
    for as_json in ([], ["--json"]):
        done = shell("infer", bundle_folder, voices, *as_json, env={**os.environ, "PYTHONIOENCODING": "ascii"})
        assert (done.returncode, done.stderr) == (0, "")
        assert len(done.stdout.splitlines()) == 3 if as_json else 5
    assert json.loads(done.stdout.splitlines()[-1])["path"] == str(voices / "ä 中文.wav")


def test_folder_without_sound(fails: Callable[..., str], bundle_folder: Path, tmp_path: Path) -> None:
    assert fails("infer", bundle_folder, tmp_path) == f"{tmp_path}: no recording in this folder"


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_folder_without_sound_among_good_files(
    run: Run, bundle_folder: Path, voices: Path, tmp_path: Path, as_json: list[str]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    code, out, err = run("infer", bundle_folder, voices / "a.wav", empty, voices / "deep er", *as_json)
    assert code == 1
    assert err.startswith(f"error: {empty}: no recording in this folder")
    assert err.count("\n") == 1
    assert len(out.splitlines()) == (3 if as_json else 2 + 2)
    if as_json:
        assert json.loads(out.splitlines()[1])["path"] == str(empty)


def test_infer_writes_nothing_beside_what_it_reads(run: Run, bundle_folder: Path, voices: Path) -> None:
    """Bundle and recordings may lie on a read-only disk."""
    before = [sorted(folder.rglob("*")) for folder in (voices, bundle_folder)]
    for folder in (voices, bundle_folder):
        folder.chmod(0o555)
    try:
        assert run("infer", bundle_folder, voices)[0] == 0
    finally:
        for folder in (voices, bundle_folder):
            folder.chmod(0o755)
    assert [sorted(folder.rglob("*")) for folder in (voices, bundle_folder)] == before


def test_a_reader_that_leaves_is_no_error(bundle_folder: Path, ravdess_tree: Path) -> None:
    command = f"'{sys.executable}' -m fdan_edge infer '{bundle_folder}' '{ravdess_tree}' | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stdout == f"in {ravdess_tree}\n"
    assert done.stderr == ""


def test_interrupt(bundle_folder: Path, ravdess_tree: Path) -> None:
    # A shell that runs the tests in the background has them ignore the interrupt, which children inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    command = [sys.executable, "-u", "-m", "fdan_edge", "infer", str(bundle_folder), *[str(ravdess_tree)] * 200]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it is at work now
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "interrupted\n")
    assert all(len(line.split()) >= 4 for line in out.splitlines()[1:])  # whole lines only


@pytest.mark.corpora
def test_real_speech_end_to_end(run: Run, bundle_folder: Path, pytestconfig: pytest.Config) -> None:
    root = pytestconfig.rootpath.parent / "shared" / "data" / "emodb"
    paths = sorted(path for path in root.rglob("*") if path.suffix in (".wav", ".flac"))[:5]
    code, out, err = run("infer", bundle_folder, *paths, "--json")
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 5
