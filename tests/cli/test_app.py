"""The command line as a person or a script meets it: output, exit codes, one line for every mistake."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fdan_edge.data.labels import EMOTIONS

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


def shell(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    command = [sys.executable, "-m", "fdan_edge", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


# --- help and imports ---


def test_the_command_line_imports_nothing_heavy() -> None:
    heavy = {"torch", "librosa", "numpy", "onnxruntime", "matplotlib", "sklearn", "soundfile", "onnx", "scipy"}
    code = f"import sys, fdan_edge.cli.app; print({heavy!r} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_help_names_every_verb(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    verbs = (
        "train",
        "crossval",
        "tune",
        "evaluate",
        "export",
        "infer",
        "bench",
        "reproduce",
        "demo",
        "doctor",
        "data",
    )
    for verb in verbs:
        assert f" {verb} " in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    "verb",
    [
        ["train"],
        ["crossval"],
        ["tune"],
        ["evaluate"],
        ["export"],
        ["infer"],
        ["bench"],
        ["demo"],
        ["doctor"],
        ["reproduce"],
        ["data", "scan"],
    ],
)
def test_every_verb_has_help(run: Run, verb: list[str]) -> None:
    code, out, err = run(*verb, "-h")
    assert (code, err) == (0, "")
    assert f"Usage: fdan-edge {' '.join(verb)}" in " ".join(out.split())


def test_version(run: Run) -> None:
    from fdan_edge._version import __version__

    assert run("--version") == (0, f"fdan-edge {__version__}\n", "")


def test_python_m() -> None:
    done = shell("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("fdan-edge ")


# --- infer ---


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
    (voices / "b.mp4").write_bytes(b"a film")
    code, out, err = run("infer", bundle_folder, voices / "b.mp4", voices / "a.wav")
    assert code == 1
    assert "a.wav" in out
    assert err.startswith(
        f"error: {voices / 'b.mp4'}: reading videos needs av, which is not installed: pip install"
    )
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
    assert fails("infer", bundle_folder, tmp_path).startswith(f"{tmp_path}: no sound file in this folder (.wav,")


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_folder_without_sound_among_good_files(
    run: Run, bundle_folder: Path, voices: Path, tmp_path: Path, as_json: list[str]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    code, out, err = run("infer", bundle_folder, voices / "a.wav", empty, voices / "deep er", *as_json)
    assert code == 1
    assert err.startswith(f"error: {empty}: no sound file in this folder (.wav,")
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


def test_interrupt_before_the_verb_runs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import fdan_edge.cli.app

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fdan_edge.cli.app, "app", interrupted)
    assert run("doctor") == (130, "", "interrupted\n")


# --- the other verbs ---


def test_evaluate(run: Run, run_folder: Path, bundle_folder: Path, ravdess_tree: Path, tmp_path: Path) -> None:
    speech = ("--speech", f"ravdess:{ravdess_tree}")
    code, out, err = run("evaluate", run_folder, *speech)
    assert (code, err) == (0, "")
    assert out.startswith("the run's test part\nUAR ")
    lines = [line.rstrip() for line in out.splitlines()]
    assert re.fullmatch(r"95 % intervals: UAR [\d.]+ to [\d.]+, WAR [\d.]+ to .*, w-F1 .* %", lines[2])
    assert lines[3] == "(2000 resamples of 8 recordings; of one speaker only; few: likely too narrow)"
    assert lines[4].split() == ["class", "recall", "95", "%", "interval"]
    assert [line.split()[0] for line in lines[5:12]] == sorted(set(EMOTIONS) - {"boredom", "calm", "contempt"})
    assert re.fullmatch(r"probabilities: ECE [\d.]+ %   NLL [\d.]+", lines[12])
    assert "rows: true emotion, columns: recognised as" in out
    assert lines[-1].startswith("audit: clean for speakers; ")
    assert max(map(len, lines)) <= 80
    code, out, err = run("evaluate", bundle_folder, *speech, "--json", "--pictures", tmp_path / "p")
    assert (code, err) == (0, "")
    values = json.loads(out)
    assert values["n"] == sum(map(sum, values["confusion"]))
    assert values["audit"].startswith("clean for speakers; ")
    assert values["intervals"]["units"] == 8
    assert sum(b["n"] for b in values["calibration"]["bins"]) == 8
    assert (tmp_path / "p" / "confusion.svg").stat().st_size > 1000
    assert (tmp_path / "p" / "reliability.png").stat().st_size > 1000


def test_evaluate_names_broken_recordings_and_goes_on(
    run: Run, run_folder: Path, ravdess_tree: Path, tmp_path: Path
) -> None:
    shutil.copytree(ravdess_tree, tmp_path / "v")
    broken = sorted((tmp_path / "v" / "Actor_04").iterdir())[0]
    broken.write_bytes(b"")
    code, out, err = run("evaluate", run_folder, "--speech", f"ravdess:{tmp_path / 'v'}", "--part", "all")
    assert code == 1
    assert "(n = 31)" in out
    assert err == f"left out: {broken}: is empty (0 bytes)\n"


def test_bench_tables_fit_80_columns(run: Run, bundle_folder: Path) -> None:
    model = bundle_folder / "model.onnx"
    words = ["--runs", "5", "--threads", "1", "--starts", "1", "--batches", "1,2", "--estimate", "rtx4060"]
    code, out, _ = run("bench", bundle_folder, model, *words, "--runtime", "onnxruntime-cpu")
    assert code == 0
    lines = out.splitlines()
    assert lines[1:3] == [f"A  {bundle_folder}", f"B  {model}"]
    assert max(map(len, lines[3:])) <= 80
    assert lines[4].split() == ["ms", "p50", "p95", "p99", "max", "RTF", "ratio"]
    assert lines[5].startswith("A fp32 onnxruntime-cpu ")
    assert lines[5].endswith(" 1")
    assert re.fullmatch(r"B \S* ?onnxruntime-cpu .* \d+\.\d\d \(\d+\.\d\d-\d+\.\d\d\)", lines[6])
    assert lines[7] == "1 s of audio per call, batch 1, 5 calls of each in turn"
    for title in ("ms by part", "cold start, ms and peak memory", "windows per second, by batch"):
        assert title in lines
    assert "estimate, not measured: rooflines" in lines
    assert any(re.match(r"  A fp32 onnxruntime-cpu: .* ms, fastest call .* of it", line) for line in lines)


def test_bench_json(run: Run, bundle_folder: Path) -> None:
    words = ["--runtime", "onnxruntime-cpu", "--runs", "6", "--batch", "3", "--json"]
    code, out, _ = run("bench", bundle_folder, *words)
    assert code == 0
    values = json.loads(out)
    assert values["machine"]["cores"] >= 1
    (row,) = values["latency"]
    assert (row["target"], row["runs"], row["batch"], row["seconds_of_audio"]) == (str(bundle_folder), 6, 3, 3.0)
    assert row["real_time_factor"] == pytest.approx(row["p50"] / 3000, abs=2e-5)
    assert row["start"]["total"] > row["start"]["load"] > 0


def test_bench_against_another_bundle(run: Run, bundle_folder: Path, tmp_path: Path) -> None:
    other, table = tmp_path / "other", tmp_path / "bench.md"
    shutil.copytree(bundle_folder, other)
    words = ["--runs", "10", "--starts", "0", "--markdown", table]
    code, out, _ = run("bench", bundle_folder, "--vs", other, "--runtime", "onnxruntime-cpu", *words)
    assert code == 0
    first = next(line for line in out.splitlines() if " against " in line)
    assert first.startswith("A fp32 onnxruntime-cpu against B fp32 onnxruntime-cpu: ")
    assert "  of the other's: file 1.00" in out
    text = table.read_text()
    assert "| A fp32 onnxruntime-cpu |" in text
    assert first in text
    assert "cold start" not in text  # it was not asked for


def test_doctor(run: Run) -> None:
    code, out, err = run("doctor")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    lines = [line for line in out.splitlines() if not line.startswith("     ")]
    assert {line.split()[0] for line in lines} <= {"yes", "no"}
    remedies = len(out.splitlines()) - len(lines)
    assert remedies == sum(line.startswith("no") for line in lines)
    code, out, _ = run("doctor", "--json")
    assert code == 0
    for finding in json.loads(out):
        assert set(finding) == {"ability", "works", "detail", "remedy"}


def test_what_export_and_train_print(capsys: pytest.CaptureFixture[str], run_folder: Path, tmp_path: Path) -> None:
    from fdan_edge.cli.render import export, training

    target = tmp_path / "[b]"  # square brackets are rich's markup
    made: Any = SimpleNamespace(
        folder=target,
        files={"README.md": 2_000, "model.onnx": 9_500_000, "m.stream.onnx": 9_000_000, "m.engine": 10**7},
    )
    artifact = {"file": "model.onnx", "precision": "fp16", "targets": ["rtx"], "gate": {"line": "ok"}}
    made.artifacts = [{**artifact, "stream": "m.stream.onnx"}]
    made.engines = [{"file": "m.engine", "artifact": "model.onnx", "target": "rtx"}]
    export.exported(made, [tmp_path / "triton"])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        f"bundle {target}",
        "file              MB  for",
        "README.md       0.00",
        "model.onnx      9.50  fp16: rtx",
        "m.stream.onnx   9.00  live streams, from model.onnx",
        "m.engine       10.00  engine of model.onnx: rtx",
        "model.onnx checked: ok",
        f"for Triton: {tmp_path / 'triton'}",
        f"next: fdan-edge infer {target} FILE.wav",
    ]
    training.trained(target, json.loads((run_folder / "metrics.json").read_text()))
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line.rstrip()) for line in lines[:-2]) <= 80
    assert any(line.startswith("95 % intervals: UAR ") for line in lines)
    assert any(re.match(r"temperature [\d.]+, fitted on 8 validation recordings;", line) for line in lines)
    assert lines[0].startswith("FDAN, ")
    assert lines[1].startswith("audit: clean for speakers; ")
    assert lines[-2].startswith(f"run folder {target}: ")
    assert lines[-1] == f"next: fdan-edge export {target} --onnx --out bundles/[b]"
    values = json.loads((run_folder / "metrics.json").read_text())
    training.trained(target, {**values, "target": {"n": 12, "information": 0.5}})
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith(f"last epoch, {values['best_epoch']}: validation UAR ")
    assert lines[3] == "target: 12 recordings, labels not used; information 0.50 of at most 1.95 nats"


@pytest.mark.corpora
def test_real_speech_end_to_end(run: Run, bundle_folder: Path, pytestconfig: pytest.Config) -> None:
    root = pytestconfig.rootpath.parent / "shared" / "data" / "emodb"
    paths = sorted(path for path in root.rglob("*") if path.suffix in (".wav", ".flac"))[:5]
    code, out, err = run("infer", bundle_folder, *paths, "--json")
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 5
