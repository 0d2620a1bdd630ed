"""Mistakes at the command line: one line that names the wrong value, exit code 2, no traceback."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fdan_edge.errors import INSTALL_TRAINING

Run = Callable[..., tuple[int, str, str]]


# --- mistakes with models ---


@pytest.mark.parametrize("verb", ["infer", "bench", "evaluate"])
def test_bundle_that_is_none(fails: Callable[..., str], tmp_path: Path, ravdess_tree: Path, verb: str) -> None:
    speech = ["--speech", f"ravdess:{ravdess_tree}"]
    rest: list[str] = {"infer": [str(ravdess_tree)], "bench": [], "evaluate": speech}[verb]
    assert "no such bundle or file; `fdan-edge export" in fails(verb, tmp_path / "none", *rest)
    assert "not a bundle (no bundle.json)" in fails(verb, tmp_path, *rest)
    (tmp_path / "m.onnx").write_text("hello")
    assert "m.onnx: cut short or not an ONNX model" in fails(verb, tmp_path / "m.onnx", *rest)
    (tmp_path / "bundle.json").write_text("{")
    assert "bundle.json: damaged: " in fails(verb, tmp_path, *rest)


def test_bundle_whose_name_holds_two_blanks_and_a_line_break(fails: Callable[..., str], tmp_path: Path) -> None:
    assert fails("bench", tmp_path / "a  b").startswith(f"{tmp_path}/a  b: no such")
    assert fails("bench", tmp_path / "a\nb").startswith(f"{tmp_path}/a b: no such")


def test_checkpoint_cut_short(fails: Callable[..., str], tmp_path: Path, run_folder: Path) -> None:
    folder = tmp_path / "r"
    shutil.copytree(run_folder, folder)
    path = folder / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    assert "checkpoint.safetensors: cut short or not a checkpoint" in fails("bench", folder)
    assert "checkpoint.safetensors: cut short or not a checkpoint" in fails(
        "export", folder, "--out", tmp_path / "o"
    )
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("name", ["none", "."])
def test_run_that_is_none(fails: Callable[..., str], tmp_path: Path, name: str) -> None:
    expected = "no such run; `fdan-edge train --out" if name == "none" else "not a run folder (no run.toml"
    assert expected in fails("export", tmp_path / name, "--out", tmp_path / "o")
    assert expected in fails("train", "--resume", "--out", tmp_path / name)


def test_picture_mistakes(
    fails: Callable[..., str], run_folder: Path, bundle_folder: Path, ravdess_tree: Path, tmp_path: Path
) -> None:
    speech = ("--speech", f"ravdess:{ravdess_tree}")
    assert "--tsne with --pictures DIR" in fails("evaluate", bundle_folder, *speech, "--tsne")
    assert "--faces goes with --tsne" in fails("evaluate", bundle_folder, *speech, "--faces", "fer2013:x")
    both = ("--robustness", "--pictures", tmp_path / "p")
    assert "--robustness draws a picture of its own" in fails("evaluate", run_folder, *speech, *both)
    for option in (("--noise", "x"), ("--limit", "3"), ("--out", tmp_path / "o")):
        assert "go with --robustness" in fails("evaluate", run_folder, *speech, *option)
    wanted = ("--pictures", tmp_path / "p", "--tsne")
    assert fails("evaluate", bundle_folder, *speech, *wanted) == (
        f"{bundle_folder}: not a run folder; only one holds the features that --tsne draws"
    )
    assert not (tmp_path / "p").exists()
    elsewhere = fails("evaluate", run_folder, *speech, *wanted, "--faces", f"fer2013:{tmp_path}/none")
    assert elsewhere.endswith("none: no such folder or table (.csv, .tsv); say with --faces where the faces are")
    assert not (tmp_path / "p").exists()
    (tmp_path / "p").touch()
    assert f"{tmp_path}/p" in fails("evaluate", run_folder, *speech, *wanted)


# --- mistakes with settings and corpora ---


def test_train_mistakes(fails: Callable[..., str], tmp_path: Path, ravdess_tree: Path, run_folder: Path) -> None:
    out = tmp_path / "r"

    def train(*words: str | Path) -> str:
        speech = ["--speech", f"ravdess:{ravdess_tree}", "--set", "weights=none"]
        return fails("train", "--out", out, *speech, *words)

    assert fails("train", "--out", out) == (
        "no speech given; write --speech corpus:path, e.g. --speech synthetic:"
    )
    assert train("--set", "epohcs=2").startswith("unknown setting 'epohcs' (did you mean epochs?); valid: ")
    assert train("--set", "epochs=two") == "epochs = 'two' is not a whole number"
    assert train("--set", "epochs=2.5") == "epochs = 2.5 is not a whole number"
    assert train("--set", "epochs=0").startswith("epochs = 0 is out of range; valid: 1 to ")
    assert train("--set", "backbone=resnet-34").startswith("unknown backbone 'resnet-34' (did you mean resnet34?)")
    assert train("--set", "epochs") == "--set 'epochs' is not of the form key=value"
    assert train(tmp_path / "none.toml").endswith("none.toml: cannot be read: No such file or directory")
    assert train("--speech", "ravdes:x").startswith("unknown corpus 'ravdes' (did you mean ravdess?); valid: ")
    assert train("--speech", "/data/ravdess").startswith("'/data/ravdess' is not of the form corpus:path")
    assert train("--speech", "emodb:").startswith("'emodb:' names no folder")
    assert train("--speech", f"emodb:{tmp_path}/none").endswith("none: no such folder")
    assert train("--speech", f"emodb:{tmp_path}").startswith(f"emodb:{tmp_path}: no speech found; expected ")
    assert train("--faces", f"ravdess:{ravdess_tree}").startswith(f"ravdess:{ravdess_tree}: no videos found; ")
    assert train("--faces", "emodb:x").startswith("corpus emodb has no faces; corpora that have: ")
    assert "--resume takes settings and corpora from the run folder" in train("--resume")
    assert not out.exists()
    out = run_folder
    assert "holds a run already; --resume continues it, --out NAME starts another" in train()


def test_out_that_cannot_be_written(fails: Callable[..., str], tmp_path: Path, run_folder: Path) -> None:
    (tmp_path / "file").touch()
    assert "file: exists and is not a bundle; name another --out" in fails(
        "export", run_folder, "--out", tmp_path / "file"
    )
    assert "/file is not a folder" in fails("export", run_folder, "--out", tmp_path / "file" / "b")
    assert "/proc/none" in fails("export", run_folder, "--out", "/proc/none/b")  # not even root may write here


@pytest.mark.parametrize(
    ("verb", "words", "line"),
    [
        ("train", "", "missing option '--out'"),
        ("infer", "", "missing argument 'FILE'"),
        ("bench", "b --runs two", "--runs 'two' should be a valid integer"),
        ("bench", "b --runs 1", "--runs '1' should be greater than or equal to 5"),
        ("evaluate", "b --part tset", "--part 'tset' is not one of 'test', 'val', 'train', 'all'"),
        ("infer", "b --jsn", "no such option: --jsn (Possible options: --csv, --json)"),
        ("doctor", "b", "got unexpected extra argument(s) (b)"),
        ("data", "scann", "no such command 'scann' (did you mean 'scan'?)"),
    ],
)
def test_a_command_line_that_typer_refuses(fails: Callable[..., str], verb: str, words: str, line: str) -> None:
    assert fails(verb, *words.split()) == f"{line}; `fdan-edge {verb} -h` lists what is valid"


def test_a_verb_that_there_is_not(fails: Callable[..., str]) -> None:
    line = "no such command 'trian' (did you mean 'train'?); `fdan-edge -h` lists what is valid"
    assert fails("trian") == line


@pytest.mark.parametrize("words", [[], ["data"]])
def test_without_a_verb_the_help_is_printed(run: Run, words: list[str]) -> None:
    code, out, err = run(*words)
    assert (code, err) == (2, "")
    assert "Commands" in out


def test_values_that_a_verb_refuses(fails: Callable[..., str], bundle_folder: Path) -> None:
    for words, line in (
        (("--batches", "1,x"), "--batches 'x' is not a batch size; valid: 1 to 1024"),
        (("--runtime", "onnx"), "unknown runtime 'onnx'"),
        (("--precision", "fp8"), "unknown precision 'fp8'"),
        (("--estimate", "gtx"), "unknown card to estimate for 'gtx'"),
        (("--vs", str(bundle_folder)), "compares with one other target"),
    ):
        assert line in fails("bench", bundle_folder, *words)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(28, "No space left on device", "/x/y"), "/x/y: No space left on device"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (PermissionError(13, "Permission denied", "/x"), "/x: Permission denied"),
        (OSError("odd"), "OSError: odd"),
        (MemoryError("Unable to allocate 9 GiB"), "MemoryError: Unable to allocate 9 GiB"),
        (MemoryError(), "MemoryError: MemoryError"),
        (
            RuntimeError("CUDA out of memory. Tried to allocate 2 GiB.\nSee the documentation"),
            "CUDA out of memory. Tried to allocate 2 GiB.; "
            "smaller batches need less: --set batch_size=... when training",
        ),
        (
            RuntimeError("[alloc_cpu.cpp:9] DefaultCPUAllocator: can't allocate memory"),
            "[alloc_cpu.cpp:9] DefaultCPUAllocator: can't allocate memory; "
            "smaller batches need less: --set batch_size=... when training",
        ),
    ],
)
def test_the_systems_own_errors(
    fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    def broken() -> None:
        raise error

    monkeypatch.setattr("fdan_edge.profiling.doctor.examine", broken)
    assert fails("doctor") == line


def test_an_error_of_our_own_making_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    from fdan_edge.cli import main

    def broken() -> None:
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr("fdan_edge.profiling.doctor.examine", broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        main(["doctor"])


@pytest.mark.parametrize("package", ["onnxruntime", "onnxscript", "PIL"])
def test_training_verbs_check_every_package(
    fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str
) -> None:
    import importlib.util

    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find_spec(name))
    line = fails("export", tmp_path, "--out", tmp_path / "o")
    assert line == f"this command needs {package}, which is not installed: {INSTALL_TRAINING}"


@pytest.mark.parametrize("verb", ["crossval", "reproduce", "demo"])
def test_torchrun_shares_one_training_and_not_many(
    fails: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    words = ["table4"] if verb == "reproduce" else ["--out", str(tmp_path)]
    assert fails(verb, *words) == f"{verb} does not share its trainings between torchrun's processes; valid: train"
