"""A step never waits for the device, and one that is not finite changes nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import fdan_edge.training.step
from fdan_edge.errors import TrainingError
from fdan_edge.models.ops import reference
from fdan_edge.training.objective import Batch, loss_terms
from fdan_edge.training.trainer import Trainer
from tests.helpers.training_parts import trainer

EVERYTHING: dict[str, Any] = {
    "attention_layers": 2,
    "alpha": 0.5,
    "alpha_ramp": 0,
    "visual_dropout": 0.5,
    "balanced": "true",
}


def state(training: Trainer) -> list[Tensor]:
    """Weights, running statistics, averages and moments."""
    assert training.averaged is not None
    moments = [t for values in training.optimizer.state.values() for t in values.values() if isinstance(t, Tensor)]
    kept = [*training.model.state_dict().items(), *training.averaged.module.state_dict().items()]
    return [t.clone() for name, t in kept if not name.endswith("num_batches_tracked")] + [
        t.clone() for t in moments
    ]


def first_batch(training: Trainer) -> Batch:
    training.model.train()
    return next(iter(training.loader.epoch(0)))


def poisoned(batch: Batch, what: float) -> Batch:
    decibel = batch.decibel.clone()
    decibel[1, 0, 3, 4] = what
    return Batch(**{**vars(batch), "decibel": decibel})


@pytest.mark.parametrize("what", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("changes", [{}, {"optimizer": "sgd"}, {"clip_norm": 0}], ids=str)
def test_a_step_that_is_not_finite_changes_nothing(tmp_path: Path, changes: dict[str, Any], what: float) -> None:
    training = trainer(tmp_path, epochs=2, **changes)
    batch = first_batch(training)
    for _ in range(3):  # until the averages are others than the weights
        training.train_step(batch)
    before = state(training)
    training.train_step(poisoned(batch, what))
    assert all(torch.equal(one, other) for one, other in zip(before, state(training), strict=True))
    assert training.running.latest().skipped == training.running.latest().skipped_in_a_row == 1
    training.train_step(batch)
    assert training.running.latest().skipped_in_a_row == 0
    assert training.running.exact().steps == 4
    assert all(map(math.isfinite, training.running.exact().means.values()))
    assert not all(torch.equal(one, other) for one, other in zip(before, state(training), strict=True))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_very_first_step_may_be_skipped(tmp_path: Path, optimizer: str) -> None:
    """PyTorch's fused SGD makes its moments of memory as it is, and fills them in its first step."""
    training, same = (trainer(tmp_path, epochs=2, optimizer=optimizer, ema_decay=0) for _ in range(2))
    batch = first_batch(training)
    spare = [torch.full((10_000,), math.nan) for _ in range(50)]  # memory as it may be
    del spare
    training.train_step(poisoned(batch, math.nan))
    training.done = 0
    for trained in (training, same):
        trained.model.train()
        trained.train_step(batch)
    weights = zip(training.model.parameters(), same.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in weights)


def test_a_loss_that_is_not_finite_is_skipped_though_its_gradient_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = trainer(tmp_path, epochs=2)
    batch = first_batch(training)
    training.train_step(batch)
    before, real = state(training), loss_terms

    def infinite(*words: Any, **named: Any) -> Any:
        loss = real(*words, **named)
        return replace(loss, total=loss.total + math.inf)

    monkeypatch.setattr(fdan_edge.training.step, "loss_terms", infinite)
    training.train_step(batch)
    assert training.running.latest().skipped == 1
    assert all(torch.equal(one, other) for one, other in zip(before, state(training), strict=True))


def test_a_gradient_that_is_not_finite_is_skipped_too(tmp_path: Path) -> None:
    training = trainer(tmp_path, epochs=2)
    batch = first_batch(training)
    training.train_step(batch)
    before = state(training)
    handle = training.model.classifier.weight.register_hook(  # type: ignore[no-untyped-call]
        lambda gradient: gradient * math.inf
    )
    training.train_step(batch)
    handle.remove()
    assert all(torch.equal(one, other) for one, other in zip(before, state(training), strict=True))


def test_training_ends_after_so_many_bad_steps_in_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer(tmp_path, epochs=1).run()
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    training = trainer(tmp_path, epochs=50, bad_steps=5)
    training.resume()
    take_step, taken = training.train_step, []

    def spoilt(batch: Batch) -> None:
        taken.append(training.epoch)
        take_step(poisoned(batch, math.nan) if len(taken) >= 4 else batch)

    monkeypatch.setattr(training, "train_step", spoilt)
    monkeypatch.setattr(training, "steps", 1000)
    monkeypatch.setattr(training.loader, "epoch", lambda *_: iter([first_batch(trainer(tmp_path))] * 1000))
    with pytest.raises(TrainingError, match="epoch 2, step 8: no loss or gradient of the last 5 steps was finite"):
        training.run()
    assert len(taken) == 8
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == kept


def test_skipped_steps_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training = trainer(tmp_path, epochs=1)
    real, count = training.step, iter(range(100))

    def step(batch: Batch, progress: float) -> Tensor:
        return real(poisoned(batch, math.nan) if next(count) == 1 else batch, progress)

    training.step = step  # type: ignore[assignment]
    training.step.scaler = real.scaler
    record = training.run()
    assert record.skipped == 1
    assert math.isfinite(record.loss)
    assert "1 step skipped" in capsys.readouterr().err


def test_half_precision_trains(tmp_path: Path) -> None:
    losses = {}
    for precision in ("fp32", "bf16", "fp16"):
        training = trainer(tmp_path / precision, epochs=2, precision=precision, backbone="vgg8")
        losses[precision] = training.run().loss
        assert training.step.format == {"bf16": torch.bfloat16, "fp16": torch.float16}.get(
            precision, torch.float32
        )
        assert all(p.dtype == torch.float32 for p in training.model.parameters())
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.05)
    assert losses["fp16"] == pytest.approx(losses["fp32"], rel=0.05)
    assert len(set(losses.values())) == 3


def test_the_scale_of_float16_is_found_and_taken_up_again(tmp_path: Path) -> None:
    training = trainer(tmp_path, epochs=2, precision="fp16", backbone="vgg8")
    batch = first_batch(training)
    training.train_step(batch)
    training.step.scaler.update(2.0**40)
    for _ in range(3):
        training.train_step(batch)
    assert training.running.latest().skipped_in_a_row == 3
    training.save_last()
    again = trainer(tmp_path, epochs=2, precision="fp16", backbone="vgg8")
    again.resume()
    assert again.step.scaler.get_scale() == training.step.scaler.get_scale() == 2.0**37


class Syncs(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what makes the host wait for a device: values that are read, and shapes that depend on them."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "bincount", "equal", "is_nonzero")

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        masks = name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1])
        if name in self.WAITING or masks:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "changes",
    [
        EVERYTHING,
        {"optimizer": "sgd", "precision": "fp16", "balanced": "true"},
        *({"method": method, "with_target": True} for method in ("didan", "mmd", "lmmd", "coral", "dann")),
    ],
    ids=lambda changes: str(changes.get("method", changes.get("precision", "faces"))),
)
def test_nothing_in_the_loop_waits_for_the_device(
    tmp_path: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "check_range", lambda *_: None)  # on the CPU only
    training = trainer(tmp_path, epochs=2, **changes)
    batch = first_batch(training)
    training.train_step(batch)  # the first one builds what is kept
    with Syncs() as syncs:
        training.train_step(batch)
        training.running.latest()
    assert not syncs.found
    with Syncs() as syncs:  # the counter counts
        batch.decibel.sum().item()
        batch.decibel[batch.decibel > 0]
    assert syncs.found == ["_local_scalar_dense", "index"]


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_no_step_waits_for_a_gpu(tmp_path: Path, precision: str) -> None:
    """As CUDA itself sees it."""
    training = trainer(tmp_path, epochs=2, precision=precision, **EVERYTHING)
    training.model.train()
    batches = training.loader.epoch(0)
    training.train_step(next(batches))  # the first one builds what is kept
    torch.cuda.set_sync_debug_mode("error")
    try:
        training.train_step(next(batches))
        training.running.latest()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert training.running.exact().steps + training.running.exact().skipped == 2


@pytest.mark.gpu
def test_the_same_training_on_a_gpu_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    both = [trainer(tmp_path / name, epochs=2) for name in ("one", "other")]
    for training in both:
        training.run()
    states = [training.model.state_dict() for training in both]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
