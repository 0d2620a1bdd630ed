"""`export --student`: the student has its teacher's speech and split, and is trained once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fdan_edge.config import Config
from fdan_edge.errors import CheckpointError, ConfigError
from fdan_edge.export.distil import distil, student_config
from fdan_edge.runs.run_folder import RunInfo, load_run, load_split
from fdan_edge.runs.torch_runner import TorchRunner
from fdan_edge.training.distillation import load_teacher

SETTINGS = ("weights=none", "epochs=1", "batch_size=8", "n_mels=32", "hop=512", "feature_size=16")


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory, run_folder: Path) -> Path:
    """Of `run_folder`. Read only."""
    return distil(run_folder, "mobilenet_v2_tiny", tmp_path_factory.mktemp("students") / "tiny-student", SETTINGS)


def test_a_student_is_a_run_of_its_teacher_s_speech_and_split(student: Path, run_folder: Path) -> None:
    config, info = load_run(student)
    teacher, taught = load_run(run_folder)
    assert (config.backbone, config.window_seconds) == ("mobilenet_v2_tiny", teacher.window_seconds)
    assert (info.speech, info.classes, info.faces) == (taught.speech, taught.classes, [])
    assert info.teacher == load_teacher(run_folder).info()
    assert load_split(student) == load_split(run_folder)
    with TorchRunner(student) as runner:
        assert runner.spec.labels == tuple(taught.classes)
    weights = [
        sum(p.numel() for p in load_teacher(run).model.acoustic.parameters()) for run in (student, run_folder)
    ]
    assert weights[0] < 0.25 * weights[1]


def test_the_same_call_goes_on_and_trains_nothing_twice(
    student: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (student / "checkpoint.safetensors").stat().st_mtime_ns
    assert distil(run_folder, "mobilenet_v2_tiny", student, SETTINGS) == student
    assert (student / "checkpoint.safetensors").stat().st_mtime_ns == before
    asked = []
    monkeypatch.setattr("fdan_edge.export.distil.train", lambda *_, **options: asked.append(options["resume"]))
    scores = (student / "metrics.json").read_text()
    (student / "metrics.json").unlink()
    assert distil(run_folder, "mobilenet_v2_tiny", student, SETTINGS) == student
    (student / "metrics.json").write_text(scores)
    assert asked == [True]


def test_another_student_is_not_taken_for_this_one(student: Path, run_folder: Path) -> None:
    for backbone, settings, words in (
        ("mobilenet_v2_small", SETTINGS, "backbone = mobilenet_v2_tiny, not mobilenet_v2_small"),
        ("mobilenet_v2_tiny", (*SETTINGS, "distill_weight=0.5"), "distill_weight = 0.7, not 0.5"),
    ):
        with pytest.raises(CheckpointError, match=f"holds a student with {words}; name another --out"):
            distil(run_folder, backbone, student, settings)
    info = student / "run.toml"
    kept = info.read_text()
    info.write_text(kept.replace(load_teacher(run_folder).digest, "0" * 64))
    with pytest.raises(CheckpointError, match="the teacher is not the one that this training began with"):
        distil(run_folder, "mobilenet_v2_tiny", student, SETTINGS)
    info.write_text(kept)


def test_mistakes_are_found_before_any_training(tmp_path: Path, run_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown backbone 'mobilenet'.*valid: .*mobilenet_v2_small"):
        distil(run_folder, "mobilenet", tmp_path / "b")
    with pytest.raises(CheckpointError, match="no such run"):
        distil(tmp_path / "none", "mobilenet_v2", tmp_path / "b")
    assert not list(tmp_path.iterdir())


def test_how_a_student_is_trained_is_its_own() -> None:
    teacher = Config.load(None, ["backbone=whisper_tiny", "epochs=5", "window_seconds=2", "test_speakers=a,b"])
    info = RunInfo(["a", "b"], [], [], "speakers", {})
    made = student_config(teacher, info, Path("runs/a"), "mobilenet_v2_small", ["n_mels=64"])
    assert (made.lr, made.epochs, made.hop, made.face_backbone) == (Config.lr, Config.epochs, Config.hop, "")
    assert (made.window_seconds, made.test_speakers, made.n_mels) == (2.0, ("a", "b"), 64)
    assert made.teacher == str(Path("runs/a").resolve())


def test_a_student_towards_a_target_without_faces_has_the_teacher_s_words_for_it() -> None:
    info = RunInfo(["a", "b"], [], ["fer2013:/f"], "cross-corpus", {}, target=["emodb:/e"])
    made = student_config(Config(), info, Path("runs/a"), "mobilenet_v2")
    assert (made.method, made.transfer_weight) == ("mmd", 0.0)
    aligned = student_config(Config.load(None, ["method=coral"]), info, Path("runs/a"), "mobilenet_v2")
    assert (aligned.method, aligned.transfer_weight) == ("coral", 1.0)


def test_metrics_are_of_the_test_part(student: Path, run_folder: Path) -> None:
    values = json.loads((student / "metrics.json").read_text())
    assert values["test"]["n"] == len(load_split(run_folder)["test"])
