"""FDAN, and the acoustic path that leaves for the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from fdan_edge.config import Config
from fdan_edge.models.attention import CrossAttention
from fdan_edge.models.backbones.build import build_face_backbone, build_voice_backbone, scaled, take_dropout
from fdan_edge.models.backbones.weights import load_weights
from fdan_edge.models.domain_classifier import DomainClassifier
from fdan_edge.models.log_mel import LogMel


@dataclass(frozen=True)
class Output:
    """Outputs of one forward pass of FDAN."""

    logits_acoustic: Tensor  # (n_a, C)
    hidden: list[Tensor]  # of the voices after each fully connected layer, (n_a, d), for DIDAN's IDA
    logits_visual: Tensor | None = None  # (n_v, C); None without faces, as the next
    aligned: tuple[tuple[Tensor, Tensor], ...] = ()  # (Z_v, Z_a) after each layer, for LMMD

    def float(self) -> Output:
        """Convert all to float32: losses need more than autocast's formats have."""
        visual = None if self.logits_visual is None else self.logits_visual.float()
        aligned = tuple((z_v.float(), z_a.float()) for z_v, z_a in self.aligned)
        return Output(self.logits_acoustic.float(), [z.float() for z in self.hidden], visual, aligned)


#: From features of one process's rows, (n, d), to those of all processes' rows.
Gather: TypeAlias = Callable[[Tensor], Tensor]


#: What outputs that were regressed to 0 and 1 are multiplied by to serve as logits: softmax of 0 and 1 is flat.
REGRESSION_SCALE = 10.0


class AcousticBranch(nn.Module):
    """From log-mels in dB to acoustic features Z_a: (n, 1, mels, frames) -> (n, d).

    The input may also be the output of frozen stages: (n, channels, height, width), or (n, features).
    """

    def __init__(self, config: Config, state: dict[str, Tensor] | None) -> None:
        super().__init__()
        self.backbone, width = build_voice_backbone(config, state)
        self.dropout = take_dropout(self.backbone)
        self.gather: Gather = _alone
        self.width = config.feature_size if config.fc_layers else width
        self.bottleneck = _bottleneck(width, config.feature_size) if config.fc_layers else nn.Identity()
        self.further = nn.ModuleList(_further(config.feature_size) for _ in range(config.fc_layers - 1))

    def forward(self, decibel: Tensor) -> Tensor:
        return self.fully_connected(decibel)[-1]

    def set_statistics(self, mean: Tensor, variance: Tensor) -> None:
        """Set what the backbone normalises its features with: mean and variance of training features, (width,).

        Raises:
            TypeError: the backbone has no such normalisation.
        """
        norm = getattr(self.backbone, "norm", None)
        statistics = (getattr(norm, "running_mean", None), getattr(norm, "running_var", None))
        with torch.no_grad():
            for own, given in zip(statistics, (mean, variance), strict=True):
                if not isinstance(own, Tensor):
                    raise TypeError(f"{type(self.backbone).__name__} does not normalise its features")
                own.copy_(given)

    def fully_connected(self, decibel: Tensor) -> list[Tensor]:
        """Compute the output of each fully connected layer, (n, d); the last one is Z_a."""
        is_log_mel = decibel.ndim == 4 and decibel.shape[1] == 1
        features = self.backbone(scaled(decibel) if is_log_mel else decibel)
        outputs = [self.bottleneck(self.dropout(self.gather(features)) if self.training else features)]
        for layer in self.further:
            outputs.append(layer(outputs[-1]))
        return outputs


class VisualBranch(nn.Module):
    """From face images to visual features Z_v: (n, 3, size, size) in 0..1 -> (n, d)."""

    mean: Tensor  # of ImageNet's colours
    std: Tensor

    def __init__(self, config: Config, state: dict[str, Tensor] | None) -> None:
        super().__init__()
        self.backbone, width = build_face_backbone(config, state)
        self.dropout = take_dropout(self.backbone)
        self.gather: Gather = _alone
        self.bottleneck = _bottleneck(width, config.feature_size)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225])[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        features = self.backbone((images - self.mean) / self.std)
        return self.bottleneck(  # type: ignore[no-any-return]
            self.dropout(self.gather(features)) if self.training else features
        )


class Fdan(nn.Module):
    """Two backbones, `attention_layers` of cross-attention, one classifier for both modalities.

    The classifier is shared: the paper calls its f "the consistent representation of emotion" and uses one f for
    both modalities in eqs. 1 and 9.

    Args:
        config: the settings.
        num_classes: C.
        faces: whether there is a visual branch, and with it cross-attention.
        pretrained: whether the backbones start from the weights that the settings name; not where a checkpoint is
            loaded afterwards.

    Raises:
        ConfigError: weights cannot be found, or do not fit.
    """

    bank_keys: Tensor  # (layers, m, d)
    bank_values: Tensor

    def __init__(self, config: Config, num_classes: int, *, faces: bool, pretrained: bool = True) -> None:
        super().__init__()
        state = load_weights(config.backbone, config.weights) if pretrained else None
        face_state = state
        if pretrained and faces and config.face_backbone not in ("", config.backbone):
            # A path names the voices' weights.
            own = "none" if config.weights == "none" else "pretrained"
            face_state = load_weights(config.face_backbone, own)
        layers = config.attention_layers if faces else 0
        self.num_classes = num_classes
        self.scale = REGRESSION_SCALE if config.source_loss == "regression" else 1.0
        self.use_bank = config.acoustic_path == "bank"
        self.acoustic = AcousticBranch(config, state)
        self.visual = VisualBranch(config, face_state) if faces else None
        self.layers = nn.ModuleList(CrossAttention(config.feature_size) for _ in range(layers))
        self.classifier = nn.Linear(self.acoustic.width, num_classes)
        widths = {"output": num_classes}
        aligned = aligned_layers(config) if config.method == "dann" and config.transfer_weight else ()
        self.domain = nn.ModuleList(DomainClassifier(widths.get(name, config.feature_size)) for name in aligned)
        bank = config.bank_per_class * num_classes if self.use_bank and layers else 0
        self.register_buffer("bank_keys", torch.zeros(layers, bank, config.feature_size))
        self.register_buffer("bank_values", torch.zeros(layers, bank, config.feature_size))

    def forward(self, decibel: Tensor, images: Tensor | None = None, keep: Tensor | None = None) -> Output:
        """Compute the forward pass of a training step.

        Args:
            decibel: log-mels of voices, (n_a, 1, mels, frames), or the output of frozen stages.
            images: faces in 0..1, (n_v, 3, size, size); of other people than the voices. None: no faces.
            keep: 1 for the voices that get the faces' term, else 0, (n_a, 1); None: all do.
        """
        if images is None:
            hidden = self.acoustic.fully_connected(decibel)
            return Output(self.logits(hidden[-1]), hidden)
        if self.visual is None:
            raise ValueError("this model was built without faces; use acoustic_logits")
        # In this order: both networks may hold dropout, and another order would be another training.
        z_visual, hidden = self.visual(images), self.acoustic.fully_connected(decibel)
        z_acoustic = hidden[-1]
        aligned = [] if self.layers else [(z_visual, z_acoustic)]
        for layer in self.layers:
            z_visual, z_acoustic = layer(z_visual, z_acoustic, keep)
            aligned.append((z_visual, z_acoustic))
        return Output(self.logits(z_acoustic), hidden, self.logits(z_visual), tuple(aligned))

    def acoustic_logits(self, decibel: Tensor) -> Tensor:
        """Compute logits as inference does, without faces: (n, 1, mels, frames) -> (n, C)."""
        return self.logits(self.acoustic_features(decibel))

    def acoustic_features(self, decibel: Tensor) -> Tensor:
        """Compute Z_a as inference does before the classifier, without faces: (n, 1, mels, frames) -> (n, d)."""
        z = self.acoustic(decibel)
        for index, layer in enumerate(self.layers):
            delta = None
            if self.use_bank:
                delta = layer.acoustic.attend(z, self.bank_keys[index], self.bank_values[index])  # type: ignore[union-attr, operator]
            z = layer.acoustic.update(z, delta)  # type: ignore[union-attr, operator]
        return z  # type: ignore[no-any-return]

    def visual_features(self, images: Tensor) -> Tensor:
        """Compute Z_v of faces without voices, as `acoustic_features` does: (n, 3, size, size) -> (n, d)."""
        if self.visual is None:
            raise ValueError("this model was built without faces")
        z = self.visual(images)
        for layer in self.layers:
            z = layer.visual.update(z, None)  # type: ignore[union-attr, operator]
        return z  # type: ignore[no-any-return]

    @torch.no_grad()
    def fill_bank(self, decibel: Tensor, images: Tensor) -> None:
        """Store the keys and values that given faces have in every layer, beside given voices.

        Args:
            decibel: voices of all classes, (n_a, 1, mels, frames).
            images: exactly `bank_per_class` faces of each class, (m, 3, size, size).
        """
        assert self.visual is not None
        z_visual, z_acoustic = self.visual(images), self.acoustic(decibel)
        for index, layer in enumerate(self.layers):
            self.bank_keys[index] = layer.visual.key(z_visual)  # type: ignore[union-attr, operator]
            self.bank_values[index] = layer.visual.value(z_visual)  # type: ignore[union-attr, operator]
            z_visual, z_acoustic = layer(z_visual, z_acoustic)

    def logits(self, z: Tensor) -> Tensor:
        """Compute logits of features Z of either modality: (n, d) -> (n, C)."""
        logits: Tensor = self.classifier(z)
        return logits if self.scale == 1 else logits * self.scale


class AcousticPath(nn.Module):
    """From waveforms to probabilities, the part that is exported: (n, samples) -> (n, C).

    The logits are divided by a temperature: it calibrates the probabilities and leaves each window's label.
    """

    def __init__(self, model: Fdan, frontend: LogMel, temperature: float = 1.0) -> None:
        super().__init__()
        self.frontend = frontend
        self.model = model
        self.temperature = temperature

    def forward(self, waveform: Tensor) -> Tensor:
        logits = self.model.acoustic_logits(self.frontend(waveform))
        return torch.softmax(logits / self.temperature, dim=1)


def build_frontend(config: Config, *, exact: bool = True) -> LogMel:
    """Build the log-mel front end that a configuration describes; see `LogMel` for `exact`."""
    c = config
    shape = (c.sample_rate, c.n_fft, c.hop, c.n_mels)
    return LogMel(*shape, level=c.level, channel=c.channel, dynamic_range=c.dynamic_range, exact=exact)


def aligned_layers(config: Config) -> tuple[str, ...]:
    """Name the layers at which corpora are aligned: numbers of fully connected layers, or output."""
    return config.aligned_layers or (str(config.fc_layers),)


def _alone(features: Tensor) -> Tensor:
    return features


def _bottleneck(width: int, size: int) -> nn.Module:
    # No ReLU: with one, a large alpha pulls every feature to 0, where LMMD is 0 and gradients end.
    return nn.Sequential(nn.Linear(width, size), nn.LayerNorm(size))


def _further(size: int) -> nn.Module:
    return nn.Sequential(nn.ReLU(), nn.Linear(size, size), nn.LayerNorm(size))
