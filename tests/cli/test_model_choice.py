"""Which words are the model, and which are recordings: with infer, stream, serve, bench, and in Python."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import fdan_edge

Run = Callable[..., tuple[int, str, str]]
Fails = Callable[..., str]

OPEN = "model open (German, Javanese): any use, with credit; `fdan-edge models` lists what there is\n"
RESEARCH = "model research (English): research use only, because of RAVDESS\n"


pytestmark = pytest.mark.usefixtures("package_models")


@pytest.fixture(autouse=True)
def here(ravdess_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with voice.wav, and recordings/a.wav."""
    first, second = sorted(ravdess_tree.rglob("*.wav"))[:2]
    shutil.copy(first, tmp_path / "voice.wav")
    (tmp_path / "recordings").mkdir()
    shutil.copy(second, tmp_path / "recordings" / "a.wav")
    (tmp_path / "recordings" / "notes.txt").write_text("no sound")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def paths(out: str) -> list[str]:
    return [json.loads(line)["path"] for line in out.splitlines()]


def test_without_a_model(run: Run) -> None:
    code, out, err = run("infer", "voice.wav", "--json")
    assert (code, paths(out), err) == (0, ["voice.wav"], OPEN)
    code, out, err = run("infer", "recordings/", "voice.wav", "--json")
    assert (code, paths(out)) == (0, ["recordings/a.wav", "voice.wav"])
    assert err.startswith("passed over, because they are no sound: notes.txt") or OPEN in err


@pytest.mark.parametrize("words", [("research",), ("--model", "research")])
def test_a_model_by_name(run: Run, words: tuple[str, ...]) -> None:
    code, out, err = run("infer", *words, "voice.wav", "--json")
    assert (code, paths(out), err) == (0, ["voice.wav"], RESEARCH)


def test_a_bundle_of_ones_own_as_ever(run: Run, bundle_folder: Path) -> None:
    for words in ((bundle_folder, "voice.wav"), ("--model", bundle_folder, "voice.wav")):
        code, out, err = run("infer", *words, "--json")
        assert (code, paths(out), err) == (0, ["voice.wav"], "")
    model = bundle_folder / "model.onnx"
    assert run("infer", model, "voice.wav", "--json")[0] == 0


def test_answers_are_those_of_the_bundle(run: Run, bundle_folder: Path) -> None:
    assert run("infer", "voice.wav", "--json")[1] == run("infer", bundle_folder, "voice.wav", "--json")[1]


def test_a_name_that_is_a_path_too(run: Run, fails: Fails, bundle_folder: Path) -> None:
    shutil.copytree("recordings", "research")
    line = "research is a model here and a path: write ./research, or --model research"
    assert fails("infer", "research", "voice.wav") == line
    assert fails("stream", "research", "voice.wav") == line
    assert fails("serve", "research") == line
    assert paths(run("infer", "./research", "voice.wav", "--json")[1]) == ["research/a.wav", "voice.wav"]
    code, out, err = run("infer", "--model", "research", "research", "--json")
    assert (code, paths(out)) == (0, ["research/a.wav"])
    assert RESEARCH in err
    shutil.copytree(bundle_folder, "open")
    assert run("infer", "./open", "voice.wav")[::2] == (0, "")


def test_what_is_neither_is_no_recording_for_the_default_model(fails: Fails, here: Path) -> None:
    """A name with a mistake in it must not be answered by another model."""
    no_bundle = "no such bundle or file; `fdan-edge export RUN --out bundles/mien` makes one"
    assert fails("infer", "bundles/mien", "voice.wav").startswith(f"bundles/mien: {no_bundle}")
    assert fails("infer", "reserch", "voice.wav").startswith("reserch: no such bundle or file; ")
    assert fails("infer", "--model", "reserch", "voice.wav").startswith("reserch: no such bundle or file; ")
    (here / "half").mkdir()
    (here / "half" / "README.md").write_text("# a bundle that was not copied whole")
    assert fails("infer", "half", "voice.wav").startswith(
        "half: not a bundle (no bundle.json), and no recording in"
    )
    shutil.copy("voice.wav", "half")
    (here / "half" / "model.onnx").write_bytes(b"")
    assert fails("infer", "half", "voice.wav").startswith("half: not a bundle (no bundle.json); ")
    (here / "model.bin").write_bytes(bytes(100))
    assert "model.bin" in fails("infer", "model.bin", "voice.wav")


def test_no_recording(run: Run, fails: Fails, bundle_folder: Path) -> None:
    needs = "is a model, and no recording is given: fdan-edge infer [BUNDLE] FILE..."
    assert fails("infer", bundle_folder) == f"{bundle_folder} {needs}"
    assert fails("infer", "research") == f"research {needs}"
    assert fails("infer", "none") == (
        "none: no such recording, folder or bundle; `fdan-edge models` lists models by name"
    )
    assert run("infer", "none.wav") == (2, "", f"{OPEN}error: none.wav: no such file\n")


def test_streams(run: Run, fails: Fails, bundle_folder: Path) -> None:
    sure = ("--json", "--vad", "none", "--unknown", "0")
    code, out, err = run("stream", bundle_folder, "voice.wav", *sure)
    assert (code, err) == (0, "")
    for words, said in (((), OPEN), (("research",), RESEARCH), (("--model", "research"), RESEARCH)):
        code, own, err = run("stream", *words, "voice.wav", *sure)
        assert (code, err) == (0, said)
        assert [json.loads(line)["type"] for line in own.splitlines()] == [
            json.loads(line)["type"] for line in out.splitlines()
        ]
    assert fails("stream", "voice.wav", "recordings/a.wav").startswith("voice.wav is sound and no model; ")
    assert fails("stream", "--model", "open", "research", "voice.wav").startswith("research: --model open names")
    assert fails("stream", "none").startswith("none: no such recording, folder or bundle")
    assert fails("stream", "voice.wav", "--mic").startswith("a source and the microphone are too much")
    assert fails("stream", "research").startswith("nothing to hear; name ")


def test_the_microphone_needs_no_bundle(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from fdan_edge.streaming import microphone
    from fdan_edge.streaming.sources import FileSource

    monkeypatch.setattr(microphone, "Microphone", lambda _: FileSource(Path("voice.wav")))
    assert run("stream", "--mic", "--json")[::2] == (0, OPEN)
    assert run("stream", "research", "--device", "1", "--json")[::2] == (0, RESEARCH)


def test_serve_takes_one_model(fails: Fails) -> None:
    assert fails("serve", "open", "--model", "research").startswith(
        "open: --model research names the model already"
    )
    assert fails("serve", "--model", "none").startswith("none: no such bundle or file")


def test_bench_knows_names(run: Run, package_models: Path) -> None:
    out = json.loads(run("bench", "research", "--runs", "5", "--starts", "0", "--json")[1])
    assert {row["target"] for row in out["latency"]} == {str(package_models / "research")}


def test_in_python(bundle_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with fdan_edge.load() as recognizer, fdan_edge.load(bundle_folder) as other:
        assert capsys.readouterr().err == OPEN
        assert recognizer.recognize_file("voice.wav") == other.recognize_file("voice.wav")
    with fdan_edge.load("research") as recognizer:
        assert recognizer.labels == other.labels
    assert capsys.readouterr().err == RESEARCH
    with pytest.raises(fdan_edge.BundleError, match="no such bundle or file"):
        fdan_edge.load(Path("research"))
