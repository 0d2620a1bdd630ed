"""What a training step minimises: equation 9, and the terms between two corpora."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fdan_edge.config import Config
from fdan_edge.models.fdan import Fdan, Output
from fdan_edge.models.ops.lmmd import lmmd
from fdan_edge.training import losses, objective
from fdan_edge.training.domain_alignment import coral, ida, mmd
from fdan_edge.training.losses import faces_alignment, label_loss
from fdan_edge.training.objective import Batch, LossTerms, forward, loss_terms, transfer
from tests.conftest import TINY

CLASSES, N, TARGETS, FACES = 3, 6, 4, 5
Y, Y_FACES = torch.arange(N) % CLASSES, torch.arange(FACES) % CLASSES


def config(**changes: object) -> Config:
    words = (f"{name}={value}" for name, value in changes.items())
    return Config.load(None, [*TINY, "feature_size=8", "alpha=0.1", "alpha_ramp=0", *words])


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(*, target: bool = True, faces: bool = False) -> Batch:
    decibel, others = (-80 * torch.rand(n, 1, 32, 32, generator=chance(n)) for n in (N, TARGETS))
    images = torch.rand(FACES, 3, 32, 32, generator=chance(9)) if faces else None
    return Batch(decibel, Y, others if target else None, images, Y_FACES if faces else None)


def outputs(given: Batch, layers: int = 2) -> Output:
    rows = N + (0 if given.target is None else TARGETS)
    generator = chance(3)
    logits, hidden = torch.randn(rows, CLASSES, generator=generator), torch.randn(2, rows, 8, generator=generator)
    aligned = tuple(
        (torch.randn(FACES, 8, generator=generator), torch.randn(rows, 8, generator=generator))
        for _ in range(layers)
    )
    if given.images is None:
        return Output(logits, list(hidden))
    return Output(logits, list(hidden), torch.randn(FACES, CLASSES, generator=generator), aligned)


def loss(given: Batch, progress: float = 1.0, **changes: object) -> LossTerms:
    return loss_terms(outputs(given), given, config(**changes), progress=progress)


def test_faces_and_voices_make_equation_9() -> None:
    given = batch(target=False, faces=True)
    result, settings, out = loss(given), config(), outputs(given)
    assert out.logits_visual is not None
    voice = label_loss(out.logits_acoustic, Y, label_smoothing=settings.label_smoothing)
    face = label_loss(out.logits_visual, Y_FACES, label_smoothing=settings.label_smoothing)
    between = faces_alignment(list(out.aligned), Y_FACES, Y, CLASSES, "all")
    torch.testing.assert_close(
        result.values(),
        torch.stack([voice + face + 0.1 * between, voice, face, between, result.transfer, torch.zeros(())]),
    )
    assert float(result.transfer) == 0


def test_alpha_0_does_not_compute_lmmd(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Tensor:
        raise AssertionError("computed")

    monkeypatch.setattr(losses, "lmmd", refuse)
    assert float(loss(batch(faces=True), alpha=0.0).alignment) == 0
    with pytest.raises(AssertionError, match="computed"):
        loss(batch(faces=True), alpha=1e-5)


def test_both_corpora_are_pulled_towards_the_same_faces() -> None:
    given = batch(faces=True)
    out = outputs(given)
    guess = out.logits_acoustic[N:].softmax(1)
    own = faces_alignment([(v, a[:N]) for v, a in out.aligned], Y_FACES, Y, CLASSES, "all")
    others = faces_alignment([(v, a[N:]) for v, a in out.aligned], Y_FACES, guess, CLASSES, "all")
    torch.testing.assert_close(loss(given).alignment, own + others)
    assert float(others) > 0


@pytest.mark.parametrize("layers", [(), ("1",), ("1", "2", "output")], ids=str)
@pytest.mark.parametrize("method", ["didan", "mmd", "lmmd", "coral"])
def test_a_method_is_its_term_summed_over_the_aligned_layers(method: str, layers: tuple[str, ...]) -> None:
    given = batch()
    out = outputs(given)
    settings = config(method=method, fc_layers=2, aligned_layers=",".join(layers))
    features = {"1": out.hidden[0], "2": out.hidden[1], "output": out.logits_acoustic}
    plain: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "didan": lambda s, t: ida(s, t, settings.tau, settings.ida_iterations),
        "mmd": mmd,
        "coral": coral,
        "lmmd": lambda s, t: lmmd(s, t, Y, out.logits_acoustic[N:].softmax(1), CLASSES),
    }
    each = [plain[method](features[name][:N], features[name][N:]) for name in layers or ("2",)]
    expected = torch.stack(each).sum()
    result = loss_terms(out, given, settings, progress=1.0)
    torch.testing.assert_close(result.transfer, expected)
    torch.testing.assert_close(result.total, result.acoustic + settings.transfer_weight * result.transfer)
    assert float(result.transfer) > 0


@pytest.mark.parametrize("method", ["fdan", "source"])
def test_without_a_method_nothing_aligns_the_corpora(method: str) -> None:
    assert float(loss(batch(), method=method).transfer) == 0


def test_the_weights_grow_and_with_weight_0_nothing_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    given = batch()
    full = loss(given, method="mmd", transfer_weight=2, alpha_ramp=0.5, progress=0.5)
    half = loss(given, method="mmd", transfer_weight=2, alpha_ramp=0.5, progress=0.25)
    torch.testing.assert_close(full.total - full.acoustic, 2 * full.transfer)
    torch.testing.assert_close(half.total - half.acoustic, half.transfer)
    monkeypatch.setattr(objective, "mmd", None)
    assert float(loss(given, method="mmd", transfer_weight=0).transfer) == 0
    assert float(loss(given, method="mmd", alpha_ramp=0.5, progress=0.0).transfer) == 0


def model(**changes: object) -> Fdan:
    torch.manual_seed(0)
    return Fdan(config(**changes), CLASSES, faces=bool(changes.get("method") == "fdan"), pretrained=False)


@pytest.mark.parametrize("method", ["didan", "mmd", "lmmd", "coral", "dann"])
def test_every_parameter_gets_a_gradient(method: str) -> None:
    network = model(method=method, fc_layers=2).train()
    given = batch()
    done = loss_terms(
        forward(network, given), given, config(method=method, fc_layers=2), progress=0.5, domain=network.domain
    )
    done.total.backward()  # type: ignore[no-untyped-call]
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without


def test_danns_features_hear_of_its_classifier_more_and_more() -> None:
    """What the classifier itself learns has its full weight from the start."""
    network, settings, given = model(method="dann").train(), config(method="dann"), batch()
    z = torch.randn(N + TARGETS, 8, generator=chance()).requires_grad_()
    heard = []
    for progress in (0.0, 0.1, 1.0):
        out = Output(torch.randn(N + TARGETS, CLASSES, generator=chance()), [z])
        value = transfer(out, given, settings, progress, network.domain)
        features, first = torch.autograd.grad(value, [z, next(network.domain.parameters())])
        heard.append((float(features.norm()), float(first.norm())))
    assert heard[0][0] == 0
    assert heard[2][0] > heard[1][0] > 0
    assert heard[0][1] == heard[1][1] == heard[2][1] > 0


def test_both_corpora_pass_the_network_together() -> None:
    """Their norms share statistics, as the exported network has but one set of them."""
    network, given = model(method="didan").train(), batch()
    together = forward(network, given)
    assert together.logits_acoustic.shape == (N + TARGETS, CLASSES)
    assert together.hidden[-1].shape == (N + TARGETS, 8)
    alone = forward(network, batch(target=False))
    assert not torch.allclose(together.logits_acoustic[:N], alone.logits_acoustic)


def test_regression_serves_as_loss_of_voices_and_faces() -> None:
    given = batch(target=False, faces=True)
    out, result = outputs(given), loss(given, source_loss="regression", alpha=0.0)
    assert out.logits_visual is not None
    torch.testing.assert_close(result.acoustic, label_loss(out.logits_acoustic, Y, "regression"))
    torch.testing.assert_close(result.visual, label_loss(out.logits_visual, Y_FACES, "regression"))
