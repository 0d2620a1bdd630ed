"""The training loop, on tensors made here: repeatable, resumable, choosing on validation."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from fdan_edge.config import Config
from fdan_edge.errors import CheckpointError, DataError, TrainingError
from fdan_edge.features.extract import Faces, Voices
from fdan_edge.features.mmap_rows import MappedRows
from fdan_edge.models.backbones.build import build_voice_backbone, scaled
from fdan_edge.models.backbones.staged import StagedImageNetwork
from fdan_edge.models.backbones.whisper import WIDTH, WhisperEncoder
from fdan_edge.runs import run_folder
from fdan_edge.training.class_balance import even_sample
from fdan_edge.training.history import EpochMetrics
from fdan_edge.training.objective import ramp
from fdan_edge.training.optimizer import learning_rate
from fdan_edge.training.trainer import Trainer
from tests.helpers.training_parts import CLASSES, config, faces, trainer, voices


def without_time(history: list[EpochMetrics]) -> list[EpochMetrics]:
    return [replace(epoch, seconds=0, rate=0) for epoch in history]


def stop_after_an_epoch(training: Trainer) -> None:
    """Train until the first epoch is on disk, as if interrupted then."""

    def interrupt(_: EpochMetrics) -> None:
        raise KeyboardInterrupt

    training.on_epoch = interrupt
    with pytest.raises(KeyboardInterrupt):
        training.run()


def stripped(trainer: Trainer) -> dict[str, Tensor]:
    return dict(trainer.model.state_dict())


def test_every_parameter_is_in_the_optimiser_and_moves(tmp_path: Path) -> None:
    """The authors' published code gives its cross-attention to no optimiser."""
    training = trainer(tmp_path, epochs=1, attention_layers=2, alpha=0.1, alpha_ramp=0, weight_decay=0)
    given = {id(p) for group in training.optimizer.param_groups for p in group["params"]}
    assert given == {id(p) for p in training.model.parameters()}
    before = {name: p.detach().clone() for name, p in training.model.named_parameters()}
    training.run()
    still = [name for name, p in training.model.named_parameters() if torch.equal(p.detach(), before[name])]
    assert not still


@pytest.mark.parametrize(
    "changes", [{}, {"optimizer": "sgd", "acoustic_path": "bank", "visual_dropout": 0.5}], ids=str
)
def test_the_same_seed_is_the_same_run_and_resuming_continues_it(tmp_path: Path, changes: dict[str, Any]) -> None:
    whole = trainer(tmp_path / "whole", epochs=3, **changes)
    whole.run()
    left = trainer(tmp_path / "left", epochs=3, **changes)
    stop_after_an_epoch(left)
    torch.manual_seed(999)  # whatever else has happened in between
    again = trainer(tmp_path / "left", epochs=3, **changes)
    again.resume()
    assert again.epoch == 1
    again.run()
    assert without_time(again.history) == without_time(whole.history)
    state, other = stripped(whole), stripped(again)
    assert all(torch.equal(state[name], other[name]) for name in state)
    kept, expected = (
        run_folder.load_tensors(tmp_path / name / "checkpoint.safetensors") for name in ("left", "whole")
    )
    assert kept[1] == expected[1]
    assert all(torch.equal(kept[0][name], expected[0][name]) for name in expected[0])


def test_rows_on_disk_train_as_tensors_do(tmp_path: Path) -> None:
    """Memory-mapped features, in several blocks, give the same run bit for bit."""
    settings, train, val, seen = (
        config(epochs=1, acoustic_path="bank"),
        voices(12, 0),
        voices(6, 1, windows=2),
        faces(),
    )

    def mapped(tensor: Tensor | MappedRows) -> MappedRows:
        blocks = [part.numpy() for part in torch.split(tensor[...], 5)]
        return MappedRows(blocks, torch.arange(len(tensor)))

    first, second = (replace(v, decibel=mapped(v.decibel[0]).grouped(1)) for v in (train, val))
    both = [
        Trainer(settings, CLASSES, train, val, seen, tmp_path / "tensors"),
        Trainer(settings, CLASSES, first, second, Faces(mapped(seen.pixels), seen.labels), tmp_path / "rows"),
    ]
    for training in both:
        training.run()
    assert without_time(both[0].history) == without_time(both[1].history)
    state, other = map(stripped, both)
    assert all(torch.equal(state[name], other[name]) for name in state)


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    first, second = (trainer(tmp_path / str(seed), with_faces=False, epochs=1, seed=seed) for seed in (0, 1))
    assert first.run().loss != second.run().loss


def test_the_losses_go_down(tmp_path: Path) -> None:
    training = trainer(tmp_path, epochs=3, label_smoothing=0, masks=0)
    training.run()
    first, last = training.history[0], training.history[-1]
    assert last.acoustic < 0.6 * first.acoustic
    assert last.visual < 0.8 * first.visual
    assert last.loss < 0.8 * first.loss


def test_the_best_epoch_is_the_one_of_the_lowest_validation_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = trainer(tmp_path, with_faces=False, epochs=3, ema_decay=0)
    validate, losses = training.validate, iter([3.0, 1.0, 2.0])
    kept: list[dict[str, Tensor]] = []

    def dictated() -> object:
        kept.append({name: t.clone() for name, t in training.model.state_dict().items()})
        return next(losses), validate()[1]

    monkeypatch.setattr(training, "validate", dictated)
    assert training.run().epoch == 2
    saved, state = run_folder.load_tensors(tmp_path / "checkpoint.safetensors")
    assert state["epoch"] == 2
    assert all(torch.equal(saved[name], kept[1][name]) for name in saved)


def test_validation_is_of_whole_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Probabilities of a recording's windows are averaged, as inference does."""
    training = trainer(tmp_path, with_faces=False)
    logits = torch.zeros(12, 3)
    logits[0, 0] = 8.0  # recording 0, true class 0: one window sure and right, one undecided
    logits[2], logits[3] = torch.tensor([0.0, 2, 0]), torch.tensor([9.0, 0, 0])  # recording 1: rather wrong
    monkeypatch.setattr(training.final_model, "acoustic_logits", lambda decibel: logits[: len(decibel)])
    loss, scores = training.validate()
    mean = logits.softmax(1).view(6, 2, 3).mean(1)
    expected = -torch.stack([mean[i, i % 3].log() for i in range(6)]).mean()
    assert loss == pytest.approx(float(expected))
    assert scores.n == 6
    assert scores.confusion[1][0] >= 1


def test_what_a_run_leaves(tmp_path: Path) -> None:
    training = trainer(tmp_path, epochs=2)
    training.run()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "checkpoint.safetensors",
        "epochs.jsonl",
        "last.safetensors",
        "tensorboard",
    ]
    lines = [json.loads(line) for line in (tmp_path / "epochs.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert all(math.isfinite(value) for line in lines for value in line.values())
    assert 0 <= lines[0]["train_war"] <= 1
    total = lines[1]["acoustic"] + lines[1]["visual"]
    assert lines[1]["loss"] == pytest.approx(total, rel=1e-2)  # alpha is 1e-3


def test_averaged_weights_are_what_is_kept(tmp_path: Path) -> None:
    training = trainer(tmp_path, with_faces=False, epochs=20, ema_decay=0.9)
    training.run()
    saved, _ = run_folder.load_tensors(tmp_path / "checkpoint.safetensors")
    weight = "classifier.weight"
    assert torch.equal(saved[weight], training.final_model.state_dict()[weight])
    assert not torch.equal(saved[weight], training.model.state_dict()[weight])
    assert trainer(tmp_path, ema_decay=0).final_model.training


def test_the_bank_is_of_training_faces(tmp_path: Path) -> None:
    training = trainer(tmp_path, epochs=1, acoustic_path="bank", bank_per_class=2)
    assert not training.final_model.bank_keys.any()
    training.run()
    saved, _ = run_folder.load_tensors(tmp_path / "checkpoint.safetensors")
    assert saved["bank_keys"].shape == (1, 6, 8)
    assert bool(saved["bank_keys"].any())


def test_alpha_grows_over_its_ramp() -> None:
    assert [ramp(config(alpha_ramp=0.5), progress) for progress in (0, 0.1, 0.4, 0.5, 0.9)] == [0, 0.2, 0.8, 1, 1]
    assert ramp(config(alpha_ramp=0), 0.0) == 1


def test_the_learning_rate_warms_up_and_falls() -> None:
    settings = config(epochs=10, warmup_epochs=2, lr=0.1)
    rates = [learning_rate(settings, t / 10) for t in range(101)]
    assert 0 < rates[0] < 0.01
    assert max(rates) == pytest.approx(rates[20]) == pytest.approx(0.1)
    assert rates[-1] == pytest.approx(0.001)
    assert rates[:21] == sorted(rates[:21])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert learning_rate(config(epochs=1, warmup_epochs=5), 0.9) > 0


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_clipping_bounds_the_gradient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    norms = []
    clip = nn.utils.clip_grads_with_norm_

    def watched(parameters: list[nn.Parameter], most: float, total: Tensor) -> None:
        clip(parameters, most, total)
        norms.append(float(torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm()))

    monkeypatch.setattr(nn.utils, "clip_grads_with_norm_", watched)
    trainer(tmp_path, with_faces=False, epochs=1, clip_norm=0.01, precision=precision).run()
    assert norms == pytest.approx([0.01] * len(norms), rel=0.01), "bound, and clipped no more than that"
    assert len(norms) == 2


def test_too_few_recordings(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 recording to train on; at least 2"):
        Trainer(config(), CLASSES, voices(1, 0), voices(3, 1), None, tmp_path)


def test_fewer_recordings_than_a_batch(tmp_path: Path) -> None:
    training = Trainer(config(epochs=1, batch_size=64), CLASSES, voices(5, 0), voices(3, 1), faces(2), tmp_path)
    assert (training.batch_size, training.steps) == (5, 1)
    assert math.isfinite(training.run().loss)


def test_resuming_from_a_damaged_state(tmp_path: Path) -> None:
    training = trainer(tmp_path, with_faces=False, epochs=1)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        training.resume()
    training.run()
    path = tmp_path / "last.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cut short"):
        training.resume()


def test_resuming_with_other_settings(tmp_path: Path) -> None:
    trainer(tmp_path, with_faces=False, epochs=1).run()
    with pytest.raises(CheckpointError, match=r"last\.safetensors: does not fit the run's config\.toml"):
        trainer(tmp_path, with_faces=False, epochs=2, feature_size=16).resume()


def test_resuming_what_another_optimiser_left(tmp_path: Path) -> None:
    """The fused ones do not look at what they are given: they write past its end."""
    training = trainer(tmp_path, with_faces=False, epochs=1)
    training.run()
    tensors, _ = run_folder.load_tensors(tmp_path / "last.safetensors")
    fewer = {name: t for name, t in tensors.items() if not name.startswith("optimizer.0.")}
    with pytest.raises(ValueError, match=r"was saved with \d+"):
        run_folder.restore_optimizer(training.optimizer, fewer)
    tensors["optimizer.0.exp_avg"] = torch.zeros(2)
    with pytest.raises(ValueError, match=r"exp_avg of shape \[2\] for a parameter of"):
        run_folder.restore_optimizer(training.optimizer, tensors)


def undisturbed_and_resumed(build: Callable[..., Trainer]) -> tuple[Trainer, Trainer]:
    """Two trainings of two epochs, one resumed after the first without pretrained weights: they end the same."""
    whole, left = build("whole"), build("left")
    whole.run()
    stop_after_an_epoch(left)
    again = build("left", pretrained=False)
    again.resume()
    again.run()
    assert all(torch.equal(stripped(whole)[name], value) for name, value in stripped(again).items())
    return whole, again


def test_frozen_stages_are_frozen_when_resumed_too(tmp_path: Path) -> None:
    """Trained on from its weights, two of three stages frozen: the rest's moments must meet the rest."""
    words = ["backbone=whisper_tiny", "window_seconds=0.5", "window_hop_seconds=0.5", "epochs=2", "batch_size=6"]
    torch.manual_seed(0)
    table = {"embed_positions.weight": torch.zeros(400, WIDTH)}
    state = table | {
        k: v for k, v in WhisperEncoder(2, 51).state_dict().items() if k.startswith(("conv", "layers"))
    }
    save_file(state, tmp_path / "w.safetensors")
    settings = Config.load(None, [*words, "feature_size=8", f"weights={tmp_path / 'w.safetensors'}"])
    chance = torch.Generator().manual_seed(0)
    decibel = (-80 * torch.rand(1, 6, 1, 80, 51, generator=chance)).half()
    spoken = Voices(decibel, torch.arange(6) % 3, torch.arange(6))

    def build(name: str, *, pretrained: bool = True) -> Trainer:
        return Trainer(settings, CLASSES, spoken, spoken, None, tmp_path / name, pretrained=pretrained)

    _, again = undisturbed_and_resumed(build)
    assert torch.equal(stripped(again)["acoustic.backbone.conv1.weight"], state["conv1.weight"])


def test_a_training_on_maps_of_frozen_stages(tmp_path: Path) -> None:
    """They are what the network would make of the voices; the stages before stay, and resuming changes nothing."""
    torch.manual_seed(0)
    state = torchvision.models.mobilenet_v2().state_dict()
    torch.save(state, tmp_path / "w.pth")
    words = ["backbone=mobilenet_v2_tiny", f"weights={tmp_path / 'w.pth'}", "frozen_stages=9", "batch_size=6"]
    settings = Config.load(
        None, [*words, "epochs=2", "feature_size=8", "frozen_face_stages=3", "face_batch_size=6"]
    )
    decibel = -80 * torch.rand(6, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        encoder = build_voice_backbone(settings, state)[0].eval()
        assert isinstance(encoder, StagedImageNetwork)
        maps = encoder.encode(scaled(decibel)).half()
    labels = torch.arange(6) % 3
    encoded, owner = Voices(maps[None], labels, torch.arange(6)), torch.arange(6)
    seen = Faces((255 * torch.rand(6, 3, 32, 32)).byte(), labels)

    def build(name: str, *, pretrained: bool = True) -> Trainer:
        return Trainer(settings, CLASSES, encoded, encoded, seen, tmp_path / name, pretrained=pretrained)

    whole, again = undisturbed_and_resumed(build)
    ended = stripped(again)
    assert torch.equal(ended["visual.backbone.features.2.conv.0.0.weight"], state["features.2.conv.0.0.weight"])
    assert not torch.equal(
        ended["visual.backbone.features.3.conv.0.0.weight"], state["features.3.conv.0.0.weight"]
    )
    assert torch.equal(ended["acoustic.backbone.features.8.conv.0.1.running_var"], torch.ones(384))
    plain = Voices(decibel[None], labels, owner)
    torch.testing.assert_close(
        whole.logits(whole.model, encoded), whole.logits(whole.model, plain), rtol=0.01, atol=0.01
    )


def test_a_training_that_diverges_stops_and_keeps_what_it_has(tmp_path: Path) -> None:
    trainer(tmp_path, with_faces=False, epochs=1).run()
    kept = (tmp_path / "checkpoint.safetensors").read_bytes()
    training = trainer(tmp_path, with_faces=False, epochs=2)
    training.resume()
    next(training.model.parameters()).data.fill_(math.nan)
    with pytest.raises(
        TrainingError, match=r"epoch 2: no loss or gradient of its 2 steps was.*diverged; lower lr = 0\.001"
    ):
        training.run()
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == kept


def test_an_even_sample_of_the_classes() -> None:
    labels = torch.tensor([0, 0, 0, 0, 2, 2, 0])
    # Class 1 has none: others fill its place.
    assert even_sample(labels, 3, 3).tolist() == [
        0,
        2,
        6,
        4,
        4,
        5,
        0,
        2,
        6,
    ]
    assert even_sample(torch.tensor([1, 0]), 2, 2).tolist() == [1, 1, 0, 0]
