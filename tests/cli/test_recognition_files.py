"""What infer writes for other programs: a table as csv, embeddings for numpy."""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

import fdan_edge
from fdan_edge.data.corpora.synthetic.voices import voice
from tests.helpers.stream_parts import RATE, babble

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def voices(tmp_path: Path, ravdess_tree: Path) -> Path:
    """A folder of two good recordings and an empty one."""
    folder = tmp_path / "voices"
    folder.mkdir()
    for name, source in zip(("a.wav", "ä, 中文.wav"), sorted(ravdess_tree.rglob("*.wav")), strict=False):
        shutil.copy(source, folder / name)
    (folder / "empty.wav").touch()
    return folder


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_a_row_for_each_file_and_its_error(run: Run, bundle_folder: Path, voices: Path, tmp_path: Path) -> None:
    code, out, err = run("infer", bundle_folder, voices, "--csv", tmp_path / "new" / "out.csv")
    assert code == 1
    assert out.startswith(f"in {voices}\nfile ")  # the table is printed as always
    assert err == f"error: {voices / 'empty.wav'}: is empty (0 bytes)\n"
    text = (tmp_path / "new" / "out.csv").read_text(encoding="utf-8")
    found = rows(text)
    with fdan_edge.load(bundle_folder) as recognizer:
        want = {name: recognizer.recognize_file(voices / name) for name in ("a.wav", "ä, 中文.wav")}
        labels = recognizer.labels
    assert list(found[0]) == ["path", "emotion", "confidence", *labels, "seconds", "error"]
    assert [row["path"] for row in found] == [str(voices / n) for n in ("a.wav", "empty.wav", "ä, 中文.wav")]
    for row, answer in ((found[0], want["a.wav"]), (found[2], want["ä, 中文.wav"])):
        assert (row["emotion"], row["error"]) == (answer.emotion, "")
        assert float(row["confidence"]) == pytest.approx(answer.confidence, abs=1e-6)
        assert [float(row[label]) for label in labels] == pytest.approx([*answer.probabilities.values()], abs=1e-6)
        assert float(row["seconds"]) == pytest.approx(answer.seconds, abs=1e-3)
    assert found[1].pop("error") == f"{voices / 'empty.wav'}: is empty (0 bytes)"
    assert set(found[1].values()) == {"", str(voices / "empty.wav")}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out.csv"]


def test_an_earlier_table_stays_until_the_new_one_is_complete(
    run: Run, bundle_folder: Path, voices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out.csv").write_text("of before")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fdan_edge.runtime.recognition.recognize_file", stop)
    assert run("infer", bundle_folder, voices, "--csv", tmp_path / "out.csv")[0] == 130
    assert (tmp_path / "out.csv").read_text() == "of before"
    monkeypatch.undo()
    run("infer", bundle_folder, voices, "--csv", tmp_path / "out.csv")
    assert len(rows((tmp_path / "out.csv").read_text())) == 3


def test_rows_on_standard_output(run: Run, bundle_folder: Path, voices: Path, tmp_path: Path) -> None:
    code, out, _ = run("infer", bundle_folder, voices, "--csv", "-")
    assert code == 1
    run("infer", bundle_folder, voices, "--csv", tmp_path / "out.csv", "--json")
    assert out == (tmp_path / "out.csv").read_text(encoding="utf-8")


def test_json_and_a_table_together(run: Run, bundle_folder: Path, voices: Path, tmp_path: Path) -> None:
    code, out, _ = run("infer", bundle_folder, voices, "--json", "--csv", tmp_path / "out.csv")
    assert (code, len(out.splitlines())) == (1, 3)
    assert out.startswith('{"path": ')


def test_names_that_are_not_utf_8(run: Run, bundle_folder: Path, voices: Path, tmp_path: Path) -> None:
    shutil.copy(voices / "a.wav", voices / os.fsdecode(b"\xff\n.wav"))
    run("infer", bundle_folder, voices, "--csv", tmp_path / "out.csv")
    text = (tmp_path / "out.csv").read_bytes().decode("utf-8")
    assert f"{voices}/\\udcff\n.wav" in {row["path"] for row in rows(text)}


def test_segments_of_each_file(run: Run, bundle_folder: Path, tmp_path: Path) -> None:
    pause = babble((1.0, 0.0))
    soundfile.write(tmp_path / "talk.wav", np.concatenate([pause, voice("angry", 1, 0), pause]), RATE)
    soundfile.write(tmp_path / "quiet.wav", np.concatenate([pause, pause]), RATE)
    names = (tmp_path / "talk.wav", tmp_path / "quiet.wav", tmp_path / "none.wav")
    code, out, _ = run("infer", bundle_folder, *names, "--windows", "--csv", tmp_path / "o.csv")
    assert code == 1
    found = rows((tmp_path / "o.csv").read_text())
    with fdan_edge.load(bundle_folder) as recognizer:
        columns = ["path", "start", "end", "label", "confidence", *recognizer.labels, "error"]
    assert list(found[0]) == columns
    *talk, quiet, none = found
    assert {row["path"] for row in talk} == {str(names[0])}
    assert 0.5 < float(talk[0]["start"]) < float(talk[-1]["end"]) < 4
    assert talk[0]["label"] in out
    assert {name: value for name, value in quiet.items() if value} == {"path": str(names[1])}
    assert (none["path"], none["error"]) == (str(names[2]), f"{names[2]}: no such file")


def test_embeddings(run: Run, bundle_folder: Path, voices: Path, tmp_path: Path) -> None:
    usual = run("infer", bundle_folder, voices)
    assert run("infer", bundle_folder, voices, "--embeddings", tmp_path / "new" / "e.npz") == usual
    with np.load(tmp_path / "new" / "e.npz", allow_pickle=False) as table:
        arrays = dict(table)
    assert arrays["paths"].tolist() == [str(voices / "a.wav"), str(voices / "ä, 中文.wav")]
    assert arrays["embeddings"].dtype == arrays["probabilities"].dtype == np.float32
    assert arrays["embeddings"].shape == (2, 16)
    with fdan_edge.load(bundle_folder) as recognizer:
        answers = [recognizer.recognize_file(path) for path in arrays["paths"]]
        for path, embedding in zip(arrays["paths"], arrays["embeddings"], strict=True):
            np.testing.assert_allclose(recognizer.embed_file(path), embedding, atol=1e-5)
    assert arrays["labels"].tolist() == list(answers[0].probabilities)
    assert arrays["emotions"].tolist() == [answer.emotion for answer in answers]
    expected = [[*answer.probabilities.values()] for answer in answers]
    np.testing.assert_allclose(arrays["probabilities"], expected, atol=1e-5)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["e.npz"]


def test_embeddings_of_a_run_folder(run: Run, run_folder: Path, bundle_folder: Path, voices: Path) -> None:
    found = []
    for model in (run_folder, bundle_folder):
        assert run("infer", model, voices / "a.wav", "--embeddings", voices / "e.npz")[0] == 0
        found.append(np.load(voices / "e.npz")["embeddings"])
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)


def test_no_usable_file_gives_no_embeddings(run: Run, bundle_folder: Path, voices: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, _, err = run(
        "infer", bundle_folder, voices / "empty.wav", "--embeddings", out / "e.npz", "--csv", out / "t.csv"
    )
    assert (code, err.count("\n")) == (2, 1)
    assert [path.name for path in out.iterdir()] == ["t.csv"]


def test_where_onnx_is_not_installed(
    fails: Callable[..., str], bundle_folder: Path, voices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    message = fails("infer", bundle_folder, voices, "--embeddings", voices / "e.npz")
    assert message == "reading embeddings from an ONNX file needs onnx, which is not installed: pip install onnx"
    assert not (voices / "e.npz").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--csv", "-", "--json"], "--json and --csv - both print the results; choose one"),
        (["--csv", "voices/a.wav"], "--csv voices/a.wav: is a recording too; name another file"),
        (["--csv", "x.npz", "--embeddings", "x.npz"], "--embeddings x.npz: is --csv too; name another file"),
        (["--csv", "voices"], "voices: is a folder; name a file"),
        (
            ["--embeddings", "voices/a.wav"],
            "--embeddings voices/a.wav: is written for numpy; valid: a name with .npz",
        ),
        (["--embeddings", "e.npz", "--windows"], "leave out --windows and --rebuild"),
        (
            ["--embeddings", "e.npz", "--runtime", "tensorrt"],
            "tensorrt gives no embeddings, an engine has no such",
        ),
    ],
)
def test_mistakes(
    fails: Callable[..., str],
    bundle_folder: Path,
    voices: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(voices.parent)
    before = sorted(voices.parent.rglob("*"))
    assert message in fails("infer", bundle_folder, "voices", *options)
    assert sorted(voices.parent.rglob("*")) == before


def test_a_reader_of_rows_that_leaves_is_no_error(bundle_folder: Path, ravdess_tree: Path) -> None:
    command = f"'{sys.executable}' -m fdan_edge infer '{bundle_folder}' '{ravdess_tree}' --csv - | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("path,emotion,confidence,")
    assert done.stderr == ""
