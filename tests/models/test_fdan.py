"""FDAN as a whole: which samples hear which, and what inference computes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fdan_edge.config import Config
from fdan_edge.models.attention import CrossAttention
from fdan_edge.models.fdan import AcousticPath, Fdan, build_frontend
from fdan_edge.training.objective import Batch, forward, loss_terms
from tests.conftest import TINY

CLASSES = 4


def config(**changes: object) -> Config:
    words = [f"{name}={value}" for name, value in changes.items()]
    # Not the fixtures' MobileNetV2: in evaluation mode a random one gives the same features for every image.
    return Config.load(None, [*TINY, "backbone=resnet18", "bank_per_class=3", *words])


def fdan(*, faces: bool = True, **changes: object) -> Fdan:
    torch.manual_seed(0)
    return Fdan(config(**changes), CLASSES, faces=faces).eval()


def voices(n: int, seed: int = 1) -> Tensor:
    return -80 * torch.rand(n, 1, 32, 32, generator=torch.Generator().manual_seed(seed))


def faces(n: int, seed: int = 2) -> Tensor:
    return torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def layers_of(model: Fdan) -> list[CrossAttention]:
    return [layer for layer in model.layers if isinstance(layer, CrossAttention)]


@pytest.mark.parametrize("layers", [0, 1, 3])
@pytest.mark.parametrize(("n_v", "n_a"), [(4, 4), (2, 6), (7, 2)])
def test_shapes_with_unequal_batches(layers: int, n_v: int, n_a: int) -> None:
    output = fdan(attention_layers=layers)(voices(n_a), faces(n_v))
    assert output.logits_visual.shape == (n_v, CLASSES)
    assert output.logits_acoustic.shape == (n_a, CLASSES)
    assert len(output.aligned) == max(layers, 1)  # without attention the backbones' features are aligned
    assert all(z_v.shape == (n_v, 16) and z_a.shape == (n_a, 16) for z_v, z_a in output.aligned)


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_layers_follow_each_other(layers: int) -> None:
    model = fdan(attention_layers=layers)
    assert model.visual is not None
    output = model(voices(5), faces(3))
    z_v, z_a = model.visual(faces(3)), model.acoustic(voices(5))
    for layer, aligned in zip(model.layers, output.aligned, strict=False):
        z_v, z_a = layer(z_v, z_a)
        torch.testing.assert_close(aligned, (z_v, z_a))
    torch.testing.assert_close(output.logits_visual, model.classifier(z_v))
    torch.testing.assert_close(output.logits_acoustic, model.classifier(z_a))


def test_faces_pass_their_network_before_the_voices() -> None:
    """Both may hold dropout: in another order the same seed would be another training."""
    model, order = fdan(), list[str]()
    assert model.visual is not None
    for name, branch in (("voices", model.acoustic), ("faces", model.visual)):
        branch.backbone.register_forward_pre_hook(lambda *_, name=name: order.append(name))
    model(voices(2), faces(2))
    assert order == ["faces", "voices"]


def test_every_sample_hears_the_other_batch() -> None:
    model = fdan()
    base, moved = model(voices(4), faces(3)), model(voices(4), faces(3, seed=9))
    assert bool(((base.logits_acoustic - moved.logits_acoustic).abs().amax(1) > 1e-3).all())
    moved = model(voices(4, seed=9), faces(3))
    assert bool(((base.logits_visual - moved.logits_visual).abs().amax(1) > 1e-3).all())


def test_without_attention_the_batches_are_independent() -> None:
    model = fdan(attention_layers=0)
    base, moved = model(voices(4), faces(3)), model(voices(4), faces(3, seed=9))
    assert torch.equal(base.logits_acoustic, moved.logits_acoustic)


@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_every_parameter_gets_a_gradient(alpha: float) -> None:
    """The authors' published code never trains its attention."""
    model = fdan(attention_layers=2).train()
    batch = Batch(voices(6), torch.arange(6) % CLASSES, None, faces(5), torch.arange(5) % CLASSES)
    settings = replace(config(), alpha=alpha, alpha_ramp=0.0)
    loss_terms(forward(model, batch), batch, settings, progress=1.0).total.backward()  # type: ignore[no-untyped-call]
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without


def test_prediction_without_faces_is_the_update_alone() -> None:
    model = fdan(attention_layers=3)
    z = model.acoustic(voices(4))
    for layer in layers_of(model):
        z = layer.acoustic.update(z, None)
    torch.testing.assert_close(model.acoustic_logits(voices(4)), model.classifier(z))


def test_voices_that_keep_no_faces_train_exactly_what_prediction_computes() -> None:
    model = fdan(attention_layers=2)
    decibel, expected = voices(4), fdan(attention_layers=2).acoustic_logits(voices(4))
    model.training = True  # of Fdan only: the backbones' batch norm stays as in prediction
    torch.testing.assert_close(model(decibel, faces(3), torch.zeros(4, 1)).logits_acoustic, expected)
    assert not torch.allclose(model(decibel, faces(3)).logits_acoustic, expected)


def test_acoustic_logits_do_not_depend_on_the_visual_branch() -> None:
    model = fdan(attention_layers=2)
    before = model.acoustic_logits(voices(3))
    assert model.visual is not None
    with torch.no_grad():
        for p in [*model.visual.parameters(), *(q for la in layers_of(model) for q in la.visual.parameters())]:
            p.add_(1)
    assert torch.equal(model.acoustic_logits(voices(3)), before)


@pytest.mark.parametrize("layers", [1, 2])
def test_the_bank_is_attended_to_as_a_batch_of_its_faces(layers: int) -> None:
    """With the voices that the bank was filled beside, prediction repeats the training's attention."""
    model = fdan(attention_layers=layers, acoustic_path="bank")
    bank = faces(3 * CLASSES)
    model.fill_bank(voices(6), bank)
    torch.testing.assert_close(model.acoustic_logits(voices(6)), model(voices(6), bank).logits_acoustic)
    before = model.acoustic_logits(voices(3, seed=7))
    model.fill_bank(voices(6), faces(3 * CLASSES, seed=8))
    assert not torch.allclose(model.acoustic_logits(voices(3, seed=7)), before)


def test_the_bank_travels_in_the_state_dict() -> None:
    model = fdan(acoustic_path="bank")
    model.fill_bank(voices(6), faces(3 * CLASSES))
    twin = fdan(acoustic_path="bank")
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin.acoustic_logits(voices(2)), model.acoustic_logits(voices(2)))
    assert model.bank_keys.shape == (1, 3 * CLASSES, 16)
    assert fdan(acoustic_path="skip").bank_keys.numel() == 0


def test_a_model_without_faces_is_the_plain_backbone() -> None:
    model = fdan(faces=False, attention_layers=2, acoustic_path="bank")
    assert model.visual is None
    assert not len(model.layers)
    torch.testing.assert_close(model.acoustic_logits(voices(2)), model.classifier(model.acoustic(voices(2))))
    with pytest.raises(ValueError, match="without faces"):
        model(voices(2), faces(2))


def test_the_acoustic_path_gives_probabilities() -> None:
    settings = config()
    path = AcousticPath(fdan(), build_frontend(settings)).eval()
    made = path(torch.randn(3, settings.window, generator=torch.Generator().manual_seed(0)))
    assert made.shape == (3, CLASSES)
    torch.testing.assert_close(made.sum(1), torch.ones(3))
    assert float(made.detach().min()) >= 0


def test_the_same_seed_builds_the_same_weights() -> None:
    first, second = fdan(attention_layers=2), fdan(attention_layers=2)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
