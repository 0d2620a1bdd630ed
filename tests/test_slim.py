"""What leaves for a device runs on the packages of `fdan-edge[cpu]` alone: no torch, no librosa."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import fdan_edge
from fdan_edge.cli import main
from fdan_edge.errors import INSTALL_TRAINING

ABSENT = (
    "torch",
    "torchvision",
    "librosa",
    "onnx",
    "onnxscript",
    "sklearn",
    "scipy",
    "matplotlib",
    "PIL",
    "av",
    "cv2",
)


def closure(name: str, extras: frozenset[str], seen: dict[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """The distributions that `name[extras]` needs, itself included, by what they declare."""
    key = name.lower().replace("_", "-")
    if extras <= seen.get(key, frozenset()) and key in seen:
        return seen
    seen[key] = seen.get(key, frozenset()) | extras
    for text in importlib.metadata.requires(name) or []:
        requirement = Requirement(text)
        contexts = [{"extra": extra} for extra in extras | {""}]
        if requirement.marker is None or any(requirement.marker.evaluate(context) for context in contexts):
            closure(requirement.name, frozenset(requirement.extras), seen)
    return seen


@pytest.fixture(scope="module")
def slim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of links to the packages of `fdan-edge[cpu]` and to nothing else."""
    folder = tmp_path_factory.mktemp("slim")
    (folder / "fdan_edge").symlink_to(Path(fdan_edge.__file__).parent)
    for name in closure("fdan-edge", frozenset({"cpu"}), {}):
        distribution = importlib.metadata.distribution(name)
        if name == "fdan-edge":  # installed as editable, so its files are not its package
            continue
        for top in {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(Path(str(distribution.locate_file(top))))
    return folder


def python(slim: Path, *arguments: str) -> str:
    """Standard output of Python with the slim folder in place of site-packages."""
    environment = {**os.environ, "PYTHONPATH": str(slim), "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, "-S", "-P", *arguments], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


_FOUND = "import importlib.util as u, json, sys; print(json.dumps([n for n in sys.argv[1:] if u.find_spec(n)]))"


def test_the_environment_is_slim(slim: Path) -> None:
    assert json.loads(python(slim, "-c", _FOUND, *ABSENT)) == []
    assert json.loads(python(slim, "-c", _FOUND, "numpy", "onnxruntime")) == ["numpy", "onnxruntime"]


def test_infer_gives_the_same_probabilities(
    slim: Path, bundle_folder: Path, ravdess_tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["infer", str(bundle_folder), str(ravdess_tree / "Actor_01"), "--json"]
    out = python(slim, "-m", "fdan_edge", *arguments)
    with pytest.raises(SystemExit, match="0"):
        main(arguments)
    ours = [json.loads(line) for line in out.splitlines()]
    full = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(ours) == len(full) == 8
    for one, other in zip(ours, full, strict=True):
        assert one["path"] == other["path"]
        assert one["emotion"] == other["emotion"]
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-6)


def test_infer_needs_no_bundle(slim: Path, ravdess_tree: Path) -> None:
    """A device has the models of the package."""
    path = min(ravdess_tree.rglob("*.wav"))
    answer = json.loads(python(slim, "-m", "fdan_edge", "infer", str(path), "--json"))
    assert answer["path"] == str(path)
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-4)


def test_stream_tells_what_infer_finds(slim: Path, bundle_folder: Path, ravdess_tree: Path) -> None:
    path = str(min(ravdess_tree.rglob("*.wav")))
    live = python(slim, "-m", "fdan_edge", "stream", str(bundle_folder), path, "--vad", "energy", "--json")
    found = python(slim, "-m", "fdan_edge", "infer", str(bundle_folder), path, "--windows", "--json")
    events = [json.loads(line) for line in live.splitlines()]
    assert [event["type"] for event in events][-1] == "ended"
    # Silero's package is no part of [cpu], so both hear by level alone.
    assert [event["type"] for event in json.loads(found)["events"]] == [event["type"] for event in events]


def test_bench(slim: Path, bundle_folder: Path) -> None:
    out = python(slim, "-m", "fdan_edge", "bench", str(bundle_folder), "--runs", "5", "--json")
    (row,) = json.loads(out)["latency"]
    assert 0 < row["p50"] <= row["p95"] <= row["p99"] <= row["max"]
    assert row["start"]["total"] > 0
    assert 20 < row["start"]["peak_mib"] < 400


_CHILD = """
import json, sys
*_, sys.path[:] = json.loads(sys.argv[1])
import importlib.util
found = importlib.util.find_spec("torch") is not None
times = dict.fromkeys(("begun", "imported", "loaded", "answered"), 0)
print(json.dumps({**times, "peak": found * 2**20, "bare": 0, "device": None}))
"""
_PARENT = """
import sys, fdan_edge.profiling.cold_start as c
c._PROBE = sys.argv[1]
print(c.cold_start("x", "", "torch").peak_mib == 1)
"""


def test_the_cold_start_of_bench_stays_slim(slim: Path) -> None:
    assert python(slim, "-c", _PARENT, _CHILD).strip() == "False"
    pytest.importorskip("torch")
    full = subprocess.run([sys.executable, "-c", _PARENT, _CHILD], capture_output=True, text=True, check=True)
    assert full.stdout.strip() == "True"  # the probe itself works


def test_serve_names_the_pip_command(slim: Path, bundle_folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-m", "fdan_edge", "serve", str(bundle_folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(slim)},
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: serve needs starlette, which is not installed: pip install")


@pytest.mark.parametrize("verb", ["--help", "doctor"])
def test_help_and_doctor_work(slim: Path, verb: str) -> None:
    assert "train" in python(slim, "-m", "fdan_edge", verb)


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "--out", "x"),
        ("evaluate", "x"),
        ("export", "x", "--out", "y"),
        ("demo",),
    ],
)
def test_training_verbs_name_the_pip_command(slim: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    environment = {**os.environ, "PYTHONPATH": str(slim)}
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-m", "fdan_edge", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == (f"error: this command needs torch, which is not installed: {INSTALL_TRAINING}\n")
    assert list(tmp_path.iterdir()) == []


def test_the_synthetic_corpus_names_the_pip_command(slim: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-m", "fdan_edge", "data", "scan", f"synthetic:{tmp_path / 's'}"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(slim)},
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == (
        f"error: making the synthetic corpus needs scipy, which is not installed: {INSTALL_TRAINING}\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_corpora_are_scanned(slim: Path, ravdess_tree: Path) -> None:
    (found,) = json.loads(python(slim, "-m", "fdan_edge", "data", "scan", f"ravdess:{ravdess_tree}", "--json"))
    assert found["items"] == 32


def test_a_run_folder_names_the_pip_command(slim: Path, run_folder: Path, ravdess_tree: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(slim)}
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-m", "fdan_edge", "infer", str(run_folder), str(ravdess_tree)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: the run {run_folder} needs torch, which is not installed: pip install")
