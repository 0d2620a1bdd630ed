"""The loss of a training step: FDAN's, and what aligns a labelled corpus with one without labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from fdan_edge.config import Config
from fdan_edge.models.fdan import Output, aligned_layers
from fdan_edge.models.ops.lmmd import lmmd
from fdan_edge.training.domain_alignment import coral, ida, mmd, reversal_strength
from fdan_edge.training.losses import distillation, faces_alignment, label_loss


@dataclass(frozen=True)
class Batch:
    """The samples of one step. Of several processes each has its own voices and faces, and the labels of all."""

    decibel: Tensor  # labelled voices, (n, 1, mels, frames), or what frozen stages gave of them, 4 or 2 dimensions
    labels: Tensor  # class indices, (n,)
    target: Tensor | None = None  # voices of the target corpus, as `decibel`; nobody knows their classes
    images: Tensor | None = None  # faces in 0..1, (m, 3, size, size)
    faces: Tensor | None = None  # class indices of the faces, (m,)
    teacher: Tensor | None = None  # logits of another network for all voices, (n + n_t, C)
    keep: Tensor | None = None  # 1 for voices that get the faces' term, else 0, (n + n_t, 1); None: all do
    known: Tensor | None = None  # which classes the corpus of each labelled voice has, bool, (n, C); None: all


@dataclass(frozen=True)
class LossTerms:
    """The terms of eq. 9, and what aligns the corpora: their weighted sum is what is minimised."""

    acoustic: Tensor  # of the labelled voices
    visual: Tensor  # of the faces
    alignment: Tensor  # sum of LMMD between faces and voices over the layers, before alpha
    transfer: Tensor  # between the corpora, summed over the layers, before its weight
    distilled: Tensor  # divergence from the teacher's probabilities, before its weight
    total: Tensor

    def values(self) -> Tensor:
        """Stack total, acoustic, visual, alignment, transfer and distilled, (6,), without gradient."""
        parts = [self.total, self.acoustic, self.visual, self.alignment, self.transfer, self.distilled]
        return torch.stack(parts).detach()


def forward(model: nn.Module, batch: Batch) -> Output:
    """Compute an `Fdan`'s outputs for all voices, (n + n_t, ...), first the labelled ones, then the target's.

    In one pass, so that both corpora share the norms' statistics.
    """
    voices = batch.decibel if batch.target is None else torch.cat([batch.decibel, batch.target])
    outputs: Output = model(voices, batch.images, batch.keep)
    return outputs


def loss_terms(
    outputs: Output,
    batch: Batch,
    config: Config,
    *,
    progress: float,
    class_weight: Tensor | None = None,
    domain: nn.ModuleList | None = None,
) -> LossTerms:
    """Compute CE(voices) + CE(faces) + alpha * sum_i d_i (eq. 9), + lambda * what brings the corpora together.

    With a teacher, (1 - w) CE(voices) + w `distillation` stands in the place of CE(voices), over the target's
    voices too.

    Faces are a bridge where there is a target: each corpus is pulled towards the same faces class by class, the
    target by its pseudo-labels, the probabilities that the model gives now.

    Args:
        outputs: of `forward`.
        batch: the same.
        config: alpha, transfer_weight, distill_weight, method and what goes with them.
        progress: share of the training that is done, 0 to 1.
        class_weight: of each class in the voices' loss, (C,).
        domain: DANN's domain classifiers, one for each aligned layer.
    """
    zero = outputs.logits_acoustic.new_zeros(())
    logits = outputs.logits_acoustic[: len(batch.labels)]
    acoustic = _label_loss(logits, batch.labels, config, class_weight, batch.known)
    visual = alignment = between = distilled = zero
    if outputs.logits_visual is not None and batch.faces is not None:
        visual = _label_loss(outputs.logits_visual, batch.faces, config)
    alpha, weight = config.alpha * ramp(config, progress), config.transfer_weight
    if config.method != "dann":  # its reversal has a ramp of its own
        weight *= ramp(config, progress)
    if alpha and outputs.aligned:
        alignment = _bridge(outputs, batch, config)
    if weight and batch.target is not None:
        between = transfer(outputs, batch, config, progress, domain)
    voices = acoustic
    if batch.teacher is not None:
        share = config.distill_weight
        distilled = distillation(outputs.logits_acoustic, batch.teacher, config.distill_temperature)
        voices = (1 - share) * acoustic + share * distilled
    total = voices + visual + alpha * alignment + weight * between
    return LossTerms(acoustic, visual, alignment, between, distilled, total)


def ramp(config: Config, progress: float) -> float:
    """Return the share of alpha and lambda at this time.

    It grows because features must mean something before they are pulled together.
    """
    return 1.0 if config.alpha_ramp <= 0 else min(1.0, progress / config.alpha_ramp)


def transfer(
    outputs: Output, batch: Batch, config: Config, progress: float, domain: nn.ModuleList | None = None
) -> Tensor:
    """Compute what `config.method` adds to bring the corpora together, summed over the aligned layers.

    didan: IDA; mmd: maximum mean discrepancy; lmmd: the same class by class, with the target's pseudo-labels
    (DSAN, Zhu et al. 2020); coral: Deep CORAL; dann: a domain classifier behind reversed gradients; others: 0.
    """
    n, layers = len(batch.labels), [outputs.logits_acoustic.new_zeros(())]
    for index, name in enumerate(aligned_layers(config)):
        z = outputs.logits_acoustic if name == "output" else outputs.hidden[int(name) - 1]
        source, target = z[:n], z[n:]
        if config.method == "didan":
            layers.append(ida(source, target, config.tau, config.ida_iterations))
        elif config.method == "mmd":
            layers.append(mmd(source, target))
        elif config.method == "lmmd":
            guess = _guess(outputs, n)
            layers.append(
                lmmd(source, target, batch.labels, guess, guess.shape[1], class_count=config.lmmd_classes)
            )
        elif config.method == "coral":
            layers.append(coral(source, target))
        elif config.method == "dann" and domain is not None:
            layers.append(domain[index](source, target, reversal_strength(progress)))
    return torch.stack(layers).sum()


def _bridge(outputs: Output, batch: Batch, config: Config) -> Tensor:
    """LMMD of the faces to the labelled voices, and to the target's where there are any."""
    assert batch.faces is not None
    n, classes, count = len(batch.labels), outputs.logits_acoustic.shape[1], config.lmmd_classes
    own = [(z_v, z_a[:n]) for z_v, z_a in outputs.aligned]
    alignment = faces_alignment(own, batch.faces, batch.labels, classes, count)
    if batch.target is None:
        return alignment
    others = [(z_v, z_a[n:]) for z_v, z_a in outputs.aligned]
    return alignment + faces_alignment(others, batch.faces, _guess(outputs, n), classes, count)


def _guess(outputs: Output, n: int) -> Tensor:
    """Pseudo-labels of the target, (n_t, C)."""
    return functional.softmax(outputs.logits_acoustic[n:].detach(), dim=1)


def _label_loss(
    logits: Tensor,
    labels: Tensor,
    config: Config,
    weight: Tensor | None = None,
    known: Tensor | None = None,
) -> Tensor:
    smoothing = config.label_smoothing
    return label_loss(logits, labels, config.source_loss, label_smoothing=smoothing, weight=weight, known=known)
