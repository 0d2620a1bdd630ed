"""Distillation: the teacher hears what the student hears, knows nothing of its test, and is learnt from."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fdan_edge.audio import decode
from fdan_edge.config import Config
from fdan_edge.data.corpora import Item, Source
from fdan_edge.data.speech import read_labelled_speech
from fdan_edge.data.splits import Split, split
from fdan_edge.errors import CheckpointError, ConfigError, DataError, FdanEdgeError
from fdan_edge.features import extract
from fdan_edge.models.fdan import Output
from fdan_edge.runs import run_folder as checkpoint
from fdan_edge.runs.torch_runner import TorchRunner
from fdan_edge.training.distillation import Teacher, TeacherTargets, check_teacher, load_teacher, teacher_targets
from fdan_edge.training.loader import BatchLoader
from fdan_edge.training.losses import distillation
from fdan_edge.training.objective import Batch, loss_terms
from fdan_edge.training.run import train
from fdan_edge.training.trainer import Trainer
from tests.conftest import TINY
from tests.helpers.training_parts import CLASSES, config, voices
from tests.training.test_trainer import stop_after_an_epoch, stripped, without_time

STUDENT = (*TINY, "backbone=mobilenet_v2_tiny", "n_mels=40", "hop=256")


def logits(n: int, seed: int) -> Tensor:
    return 3 * torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))


# The loss


def test_the_divergence_is_hinton_s() -> None:
    own, wanted = logits(5, 0), logits(5, 1)
    p, q = (wanted / 4).softmax(1), (own / 4).softmax(1)
    expected = 16 * (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(distillation(own, wanted, 4.0), expected)
    torch.testing.assert_close(distillation(own, own + 3, 4.0), torch.zeros(()), atol=1e-5, rtol=0)


def test_its_gradient_is_of_one_size_at_any_temperature_and_goes_to_the_student_only() -> None:
    """At high temperatures it is that of (z - v) / C, the logits matched (Hinton et al., section 2.1)."""
    own, wanted = (logits(4, seed).double().requires_grad_() for seed in (0, 1))
    distillation(own, wanted, 1e4).backward()  # type: ignore[no-untyped-call]
    centred = [z - z.mean(1, keepdim=True) for z in (own.detach(), wanted.detach())]
    assert own.grad is not None
    torch.testing.assert_close(own.grad, (centred[0] - centred[1]) / 3 / 4, rtol=1e-2, atol=1e-4)
    assert wanted.grad is None


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_labels_and_teacher_share_the_loss(share: float) -> None:
    settings = config(distill_weight=share, distill_temperature=3)
    own, taught, labels = logits(6, 0), logits(6, 1), torch.tensor([0, 1, 2, 0])
    batch = Batch(torch.zeros(4, 1, 8, 8), labels, torch.zeros(2, 1, 8, 8), teacher=taught)
    result = loss_terms(Output(own, [own]), batch, settings, progress=0.5)
    hard = functional.cross_entropy(own[:4], labels, label_smoothing=0.1)
    torch.testing.assert_close(result.total, (1 - share) * hard + share * distillation(own, taught, 3.0))
    assert result.values()[5] == result.distilled
    without = loss_terms(Output(own, [own]), replace(batch, teacher=None), settings, progress=0.5)
    assert torch.equal(without.total, hard)
    assert not without.distilled


# The training


def student(folder: Path, teacher: TeacherTargets | None, **changes: object) -> Trainer:
    return Trainer(config(**changes), CLASSES, voices(12, 0), voices(6, 1), None, folder, teacher=teacher)


def test_a_student_learns_what_its_teacher_says_and_not_the_labels(tmp_path: Path) -> None:
    """The teacher takes every class for the next one."""
    wrong = 8 * functional.one_hot((voices(12, 0).labels + 1) % 3, 3).float()[None]
    training = student(tmp_path, TeacherTargets(wrong), epochs=4, distill_weight=1, backbone="resnet18", masks=0)
    training.run()
    assert training.history[-1].distilled < 0.8 * training.history[0].distilled
    assert training.history[-1].val_uar < 0.2
    predicted = training.logits(training.model, training.train_voices).argmax(1)
    assert float((predicted == wrong[0].argmax(1)).float().mean()) > 0.8


def test_each_crop_comes_with_the_teacher_s_logits_for_it() -> None:
    """Variant and recording of the log-mel and of the logits are the same ones, of the target too."""
    both, other = (torch.stack([v.decibel[0], v.decibel[0] - 1]) for v in (voices(12, 0), voices(9, 3)))
    train, target = replace(voices(12, 0), decibel=both), replace(voices(9, 3), decibel=other)
    marks = [torch.arange(2 * n * 3).view(2, n, 3).float() for n in (12, 9)]
    settings = config(masks=0, method="mmd")
    loader = BatchLoader(settings, train, None, target, TeacherTargets(*marks), 3, torch.device("cpu"))
    seen = set()
    for batch in loader.epoch(0):
        assert batch.teacher is not None
        assert batch.target is not None
        for rows, logits, decibel, mark in (
            (batch.decibel, batch.teacher[:3], both, marks[0]),
            (batch.target, batch.teacher[3:], other, marks[1]),
        ):
            for row, row_logits in zip(rows, logits, strict=True):
                ((variant, index),) = (mark == row_logits).all(2).nonzero().tolist()
                # Shifted in time: the same values in another order.
                torch.testing.assert_close(row.sum(), decibel[variant, index].float().sum())
                seen.add(variant)
    assert seen == {0, 1}


def test_resuming_a_distillation_continues_it_bit_for_bit(tmp_path: Path) -> None:
    taught = TeacherTargets(logits(12, 5)[None])
    whole = student(tmp_path / "whole", taught, epochs=3)
    whole.run()
    left = student(tmp_path / "left", taught, epochs=3)
    stop_after_an_epoch(left)
    torch.manual_seed(999)
    again = student(tmp_path / "left", taught, epochs=3)
    again.resume()
    again.run()
    assert without_time(again.history) == without_time(whole.history)
    assert all(torch.equal(stripped(whole)[name], tensor) for name, tensor in stripped(again).items())
    assert all(epoch.distilled > 0 for epoch in again.history)


# What the teacher hears


@pytest.fixture(scope="module")
def items(ravdess_tree: Path) -> list[Item]:
    return read_labelled_speech([Source("ravdess", ravdess_tree)], calm_as_neutral=True)


@pytest.fixture(scope="module")
def teacher(run_folder: Path) -> Teacher:
    return load_teacher(run_folder)


def test_the_teacher_hears_the_student_s_crops_through_its_own_front_end(
    run_folder: Path, teacher: Teacher, items: list[Item]
) -> None:
    settings = Config.load(None, [*STUDENT, "speed_perturbation=0.2", "seed=3"])
    computed = teacher.logits(items[:5], settings, "training")
    assert computed.shape == (3, 5, len(teacher.classes))
    with TorchRunner(run_folder) as runner:
        for i, item in enumerate(items[:5]):
            sound = (settings.sample_rate, settings.trim_db)
            waveform = decode.load_speech(item.path, *sound, high_pass=settings.high_pass)
            expected = runner.predict(extract.training_windows(waveform, item, settings))
            said = (computed[:, i] / runner.path.temperature).softmax(1).numpy()
            assert abs(said - expected).max() < 2e-3  # the cache keeps float16


def test_a_teacher_s_targets_are_of_as_many_recordings_as_the_student_has(
    teacher: Teacher, items: list[Item]
) -> None:
    settings = Config.load(None, list(STUDENT))
    targets = teacher_targets(teacher, settings, items[:4], items[4:6], (4, 2))
    assert targets.target is not None
    assert (targets.voices.shape[1], targets.target.shape[1]) == (4, 2)
    with pytest.raises(DataError, match="the teacher hears 4 recordings and the student 3"):
        teacher_targets(teacher, settings, items[:4], [], (3, 0))


# What may be learnt from it


def refusal(error: type[FdanEdgeError], call: Callable[[], object]) -> str:
    with pytest.raises(error) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"window_seconds": 1.5}, ConfigError, "window_seconds = 1.5, but teacher .* hears 1"),
        ({"trim_db": 0.0}, ConfigError, "trim_db = 0, but"),
        ({"test_speakers": ("01",)}, DataError, "8 of 8 recordings of the student's test are not of the test"),
        ({"protocol": "random"}, DataError, "recordings of the student's test are not of the test of teacher"),
    ],
    ids=str,
)
def test_a_teacher_that_hears_otherwise_or_knows_the_test_is_refused(
    teacher: Teacher, items: list[Item], changes: dict[str, Any], error: type[FdanEdgeError], words: str
) -> None:
    settings: Config = replace(Config.load(None, list(STUDENT)), **changes)
    with pytest.raises(error, match=words):
        check_teacher(teacher, settings, teacher.classes, split(items, settings), [])


def test_the_same_split_is_no_leak_and_what_differs_from_it_is(teacher: Teacher, items: list[Item]) -> None:
    settings = Config.load(None, list(STUDENT))
    parts = split(items, settings)
    check_teacher(teacher, settings, teacher.classes, parts, [])
    fewer = Split(parts.train[:3], parts.val[:2], parts.test[:2], "some", parts.promise)
    check_teacher(teacher, settings, teacher.classes, fewer, [])
    assert "the student's classes are happy, sad" in refusal(
        ConfigError, lambda: check_teacher(teacher, settings, ["happy", "sad"], parts, [])
    )
    swapped = replace(parts, train=parts.val, val=parts.train)
    assert "of the student's validation are in the training of teacher" in refusal(
        DataError, lambda: check_teacher(teacher, settings, teacher.classes, swapped, [])
    )
    other = replace(parts, promise="sentences")
    assert "holds out no sentences" in refusal(
        DataError, lambda: check_teacher(teacher, settings, teacher.classes, other, [])
    )


def test_a_teacher_that_heard_the_test_without_labels_needs_a_student_that_does(
    tmp_path: Path, run_folder: Path, items: list[Item]
) -> None:
    import json

    shutil.copytree(run_folder, tmp_path / "run")
    path = tmp_path / "run" / "split.json"
    keys = json.loads(path.read_text())
    path.write_text(json.dumps({**keys, "target": keys["test"]}))
    settings, teacher = Config.load(None, list(STUDENT)), load_teacher(tmp_path / "run")
    parts = split(items, settings)
    assert f"heard {len(parts.test)} recordings of the student's test" in refusal(
        DataError, lambda: check_teacher(teacher, settings, teacher.classes, parts, [])
    )
    check_teacher(teacher, settings, teacher.classes, parts, parts.test)


def test_runs_that_cannot_teach(tmp_path: Path, run_folder: Path) -> None:
    assert "no such run" in refusal(CheckpointError, lambda: load_teacher(tmp_path / "none"))
    shutil.copytree(run_folder, tmp_path / "run")
    (tmp_path / "run" / "metrics.json").unlink()
    assert "the teacher is not finished; `fdan-edge train --resume --out" in refusal(
        CheckpointError, lambda: load_teacher(tmp_path / "run")
    )
    assert "is not the one that this training began with" in refusal(
        CheckpointError, lambda: load_teacher(run_folder, "0" * 64)
    )
    assert "source_loss = cross_entropy, not regression" in refusal(
        ConfigError, lambda: Config.load(None, ["teacher=runs/a", "source_loss=regression"])
    )


# Whole


def test_a_distilled_run_names_its_teacher_and_goes_on_with_that_one_only(
    tmp_path: Path, run_folder: Path, ravdess_tree: Path
) -> None:
    shutil.copytree(run_folder, tmp_path / "teacher")
    source, settings = [Source("ravdess", ravdess_tree)], Config.load(None, [*STUDENT, "epochs=1"])
    settings = replace(settings, teacher=str(tmp_path / "teacher"))
    result = train(settings, source, tmp_path / "student")
    assert 0 <= result.metrics["test"]["uar"] <= 1
    begun, info = checkpoint.load_run(tmp_path / "student")
    assert info.teacher == load_teacher(tmp_path / "teacher").info()
    assert info.teacher["backbone"] == "vgg8"
    with TorchRunner(tmp_path / "student") as runner:
        assert runner.spec.info["teacher"] == {"backbone": "vgg8", "sha256": info.teacher["sha256"]}
    assert checkpoint.load_run(run_folder)[1].teacher == {}
    path = tmp_path / "teacher" / "checkpoint.safetensors"
    kept = path.read_bytes()
    tensors, state = checkpoint.load_tensors(path)
    checkpoint.save_tensors(path, {name: 2 * t for name, t in tensors.items()}, state)
    longer = replace(begun, epochs=2)
    checkpoint.save_run(tmp_path / "student", longer, info)
    assert "is not the one that this training began with" in refusal(
        CheckpointError, lambda: train(longer, source, tmp_path / "student", resume=True)
    )
    path.write_bytes(kept)
    train(longer, source, tmp_path / "student", resume=True)
    assert len((tmp_path / "student" / "epochs.jsonl").read_text().splitlines()) == 2
