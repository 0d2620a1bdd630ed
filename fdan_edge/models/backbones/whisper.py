"""The first layers of Whisper's encoder as a backbone for voices.

Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision". It was trained on speech, not on
photographs: on RAVDESS its first two layers, frozen, with a linear classifier do better than a MobileNetV2 with
ImageNet weights that is trained whole. Later layers carry more of the words and less of the tone of voice.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fdan_edge.config import BuildRequest
from fdan_edge.config.backbones import NETWORK_LAYERS
from fdan_edge.models.backbones.staged import StagedBackbone, digest
from fdan_edge.models.backbones.weights import load_state

WIDTH, HEADS, MELS = 384, 6, 80  # of Whisper tiny
#: Rows of the position table: 8 s, what the packaged weights have. Whisper's own has 1500.
POSITIONS = 400
_MASKED = -1e4  # added to the attention to padding; finite in float16 too


class WhisperEncoder(StagedBackbone):
    """Stem and first layers of Whisper tiny's encoder; mean and deviation over time of what each layer gives.

    Args:
        layers: how many of the four layers.
        frames: of the log-mel windows, of which two make one position.
        dropout: in the layers, while training.
    """

    def __init__(self, layers: int, frames: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(MELS, WIDTH, 3, padding=1)
        self.conv2 = nn.Conv1d(WIDTH, WIDTH, 3, stride=2, padding=1)
        self.positions = nn.Parameter(torch.zeros((frames + 1) // 2, WIDTH))
        self.layers = nn.ModuleList(_Layer(dropout) for _ in range(layers))
        self.width = 2 * WIDTH * layers
        # Emotion moves these features a little about means of their own; without it the classifier starts blind.
        self.norm = nn.BatchNorm1d(self.width)

    def forward(self, x: Tensor) -> Tensor:
        """Log-mels as `encode` takes them, or what it gave of them, to (n, 768 layers)."""
        features: Tensor = self.norm(self.encode(x) if x.ndim == 4 else x)
        return features

    def encode(self, x: Tensor) -> Tensor:
        """All but the normalisation: log-mels scaled to -2..2, (n, 1, 80, frames), to (n, 768 layers)."""
        x = x[:, 0] / 2 + 1  # 0..2, the range that Whisper was trained on
        sounding = _sounding(x)
        x = functional.gelu(self.conv2(functional.gelu(self.conv1(x)))).transpose(1, 2)
        x = x + self.positions[: x.shape[1]]
        mask = ((1 - sounding) * _MASKED)[:, None, None, :]
        pooled = []
        for layer in self.layers:
            x = layer(x, mask)
            pooled.append(_statistics(x, sounding[:, :, None]))
        return torch.cat(pooled, dim=1)

    def load(self, state: dict[str, Tensor]) -> None:
        """Take the weights that a state dict of a Whisper model or encoder has for these layers.

        Raises:
            RuntimeError: some are missing or of other shapes.
        """
        own = {name.rpartition("encoder.")[2]: value for name, value in state.items() if "decoder." not in name}
        used = {name: own[name] for name in self.state_dict() if name in own}
        if "embed_positions.weight" in own:
            used["positions"] = own["embed_positions.weight"][: len(self.positions)]
        missing, _ = self.load_state_dict(used, strict=False)
        if lacking := [name for name in missing if not name.startswith("norm.")]:
            raise RuntimeError(f"missing {', '.join(lacking[:3])}")

    def freeze(self, count: int) -> None:
        """Leave the first stages as they are: 1 is the stem with its positions, 2 the first layer too, and so on.

        What is frozen needs no backward pass, as long as nothing before it is trained.
        """
        for stage in [self.conv1, self.conv2, *self.layers][: count + 1 if count else 0]:
            stage.requires_grad_(False)
        self.positions.requires_grad_(not count)

    def cache_key(self) -> dict[str, int | str]:
        """Return how many layers there are, and the digest of the weights that `encode` reads."""
        read = ((name, value) for name, value in self.state_dict().items() if not name.startswith("norm."))
        return {"encoder_layers": len(self.layers), "weights": digest(read)}


def build(request: BuildRequest) -> tuple[nn.Module, int]:
    """Build a `WhisperEncoder` for log-mels, as `Backbone.build` says."""
    config = request.config
    encoder = WhisperEncoder(config.encoder_layers or NETWORK_LAYERS, config.frames, config.dropout)
    load_state(encoder.load, request)
    return encoder, encoder.width


class _Layer(nn.Module):
    """One pre-norm transformer layer, named as in Whisper's state dict."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.self_attn = _Attention()
        self.self_attn_layer_norm = nn.LayerNorm(WIDTH)
        self.fc1 = nn.Linear(WIDTH, 4 * WIDTH)
        self.fc2 = nn.Linear(4 * WIDTH, WIDTH)
        self.final_layer_norm = nn.LayerNorm(WIDTH)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.dropout(self.self_attn(self.self_attn_layer_norm(x), mask))
        hidden = functional.gelu(self.fc1(self.final_layer_norm(x)))
        output: Tensor = x + self.dropout(self.fc2(self.dropout(hidden)))
        return output


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Linear(WIDTH, WIDTH)
        self.k_proj = nn.Linear(WIDTH, WIDTH, bias=False)
        self.v_proj = nn.Linear(WIDTH, WIDTH)
        self.out_proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x: (n, positions, 384); mask: (n, 1, 1, positions), added to the scores."""
        n, length, _ = x.shape
        q, k, v = (
            project(x).view(n, length, HEADS, WIDTH // HEADS).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        output: Tensor = self.out_proj(attended.transpose(1, 2).reshape(n, length, WIDTH))
        return output


def _sounding(x: Tensor) -> Tensor:
    """Mark positions above the window's floor, where padding lies, by 1: (n, 80, frames) -> (n, positions)."""
    loudest = x.amax(dim=1, keepdim=True)
    floor = x.amin(dim=(1, 2), keepdim=True)
    sounding = (loudest > floor + 1e-3).to(x.dtype)
    return functional.max_pool1d(sounding, 2, stride=2, ceil_mode=True)[:, 0]


def _statistics(x: Tensor, sounding: Tensor) -> Tensor:
    """Mean and standard deviation over the sounding positions: (n, positions, d) -> (n, 2 d)."""
    count = sounding.sum(dim=1).clamp_min(1)
    mean = (x * sounding).sum(dim=1) / count
    variance = ((x - mean[:, None]).square() * sounding).sum(dim=1) / count
    return torch.cat([mean, variance.clamp_min(1e-6).sqrt()], dim=1)
