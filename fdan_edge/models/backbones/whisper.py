"""The first layers of Whisper's encoder as a backbone for voices, and where its weights come from.

Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision". It was trained on speech, not on
photographs: on RAVDESS its first two layers, frozen, with a linear classifier do better than a MobileNetV2 with
ImageNet weights that is trained whole. Later layers hear the words more and the tone of voice less.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from fdan_edge.errors import INSTALL_TRAINING, ConfigError, MissingDependencyError, one_line
from fdan_edge.models.layers.frozen import digest

if TYPE_CHECKING:
    import onnx

WIDTH, HEADS, MELS = 384, 6, 80  # of Whisper tiny
#: Rows of the position table: 8 s, what the packaged weights have. Whisper's own has 1500.
POSITIONS = 400
_HIDDEN = -1e4  # added to the attention to padding; finite in float16 too
#: A wheel that carries a Whisper tiny encoder (BSD-2-Clause; tuned to hear the end of a turn, int8).
PACKAGE = "pipecat-ai==1.14.0"
_PATTERN = "audio/turn/smart_turn/data/smart-turn-v3*.onnx"


class WhisperEncoder(nn.Module):
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

    def forward(self, heard: Tensor) -> Tensor:
        """Log-mels as `encode` takes them, or what it gave of them, to (n, 768 layers)."""
        made: Tensor = self.norm(self.encode(heard) if heard.ndim == 4 else heard)
        return made

    def encode(self, decibel: Tensor) -> Tensor:
        """All but the normalisation: log-mels scaled to -2..2, (n, 1, 80, frames), to (n, 768 layers)."""
        x = decibel[:, 0] / 2 + 1  # 0..2, the range that Whisper was trained on
        heard = _not_padding(x)
        x = functional.gelu(self.conv2(functional.gelu(self.conv1(x)))).transpose(1, 2)
        x = x + self.positions[: x.shape[1]]
        mask = ((1 - heard) * _HIDDEN)[:, None, None, :]
        pooled = []
        for layer in self.layers:
            x = layer(x, mask)
            pooled.append(_statistics(x, heard[:, :, None]))
        return torch.cat(pooled, dim=1)

    def load(self, state: dict[str, Tensor]) -> None:
        """Take the weights that a state dict of a Whisper model or encoder has for these layers.

        Raises:
            RuntimeError: some are missing or of other shapes.
        """
        own = {name.rpartition("encoder.")[2]: value for name, value in state.items() if "decoder." not in name}
        wanted = {name: own[name] for name in self.state_dict() if name in own}
        if "embed_positions.weight" in own:
            wanted["positions"] = own["embed_positions.weight"][: len(self.positions)]
        missing, _ = self.load_state_dict(wanted, strict=False)
        if lost := [name for name in missing if not name.startswith("norm.")]:
            raise RuntimeError(f"missing {', '.join(lost[:3])}")

    def freeze(self, stages: int) -> None:
        """Keep the first stages as they are: 1 is the stem with its positions, 2 the first layer too, and so on.

        What is frozen needs no backward pass, as long as nothing before it is trained.
        """
        for stage in [self.conv1, self.conv2, *self.layers][: stages + 1 if stages else 0]:
            stage.requires_grad_(False)
        self.positions.requires_grad_(not stages)

    def digest(self) -> str:
        """A hash of the weights that `encode` reads."""
        return digest((name, value) for name, value in self.state_dict().items() if not name.startswith("norm."))


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
        made: Tensor = x + self.dropout(self.fc2(self.dropout(hidden)))
        return made


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
        made: Tensor = self.out_proj(attended.transpose(1, 2).reshape(n, length, WIDTH))
        return made


def _not_padding(x: Tensor) -> Tensor:
    """1 where a position hears more than the window's floor, as padding does not: (n, 80, t) -> (n, positions)."""
    loudest = x.amax(dim=1, keepdim=True)
    floor = x.amin(dim=(1, 2), keepdim=True)
    heard = (loudest > floor + 1e-3).to(x.dtype)
    return functional.max_pool1d(heard, 2, stride=2, ceil_mode=True)[:, 0]


def _statistics(x: Tensor, heard: Tensor) -> Tensor:
    """Mean and standard deviation over the positions that are heard: (n, positions, d) -> (n, 2 d)."""
    count = heard.sum(dim=1).clamp_min(1)
    mean = (x * heard).sum(dim=1) / count
    variance = ((x - mean[:, None]).square() * heard).sum(dim=1) / count
    return torch.cat([mean, variance.clamp_min(1e-6).sqrt()], dim=1)


def packaged_weights() -> dict[str, Tensor]:
    """The encoder's weights out of the wheel PACKAGE, where it is installed (`pip install --no-deps`).

    Raises:
        ConfigError: it is not installed, or not laid out as expected.
    """
    spec = importlib.util.find_spec("pipecat")
    folders = list(spec.submodule_search_locations or []) if spec else []
    found = sorted(path for folder in folders for path in Path(folder).glob(_PATTERN))
    if not found:
        raise ConfigError(
            f"Whisper's weights are not here; valid: pip install --no-deps {PACKAGE}, weights=PATH (Whisper "
            "tiny's model.safetensors) or weights=none"
        )
    try:
        import onnx
    except ImportError:
        raise MissingDependencyError("onnx", "reading Whisper's weights", INSTALL_TRAINING) from None
    try:
        return from_onnx(onnx.load(str(found[-1])))
    except Exception as error:  # protobuf and onnx raise many kinds
        raise ConfigError(f"{found[-1]}: not the encoder that was expected: {one_line(error)}") from None


def from_onnx(model: onnx.ModelProto) -> dict[str, Tensor]:
    """The state dict of a Whisper encoder out of its ONNX graph, quantised weights as float32.

    The exporter names biases and norms as the state dict does; a matrix has no name, but the bias added to its
    product has. Keys have no bias: theirs are what is left, one a layer, in order.
    """
    from onnx import numpy_helper

    graph = _Graph(model)
    prefix = "inner.encoder."
    state = {
        name.removeprefix(prefix): torch.tensor(numpy_helper.to_array(tensor))
        for name, tensor in graph.initializers.items()
        if name.startswith(prefix) and name.endswith((".weight", ".bias"))
    }
    for name, tensor in graph.weights():
        state[name.removeprefix(prefix)] = tensor
    return state


class _Graph:
    """The few questions about an ONNX graph that finding weights needs."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self.initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        self.producer = {output: node for node in self.nodes for output in node.output}
        self.users: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.users.setdefault(name, []).append(node)

    def weights(self) -> list[tuple[str, Tensor]]:
        """Names and values of the convolutions and of the layers' matrices, output features first."""
        found: list[tuple[str, Tensor]] = []
        keys = 0
        for node in self.nodes:
            weight = self.value(node.input[1]) if node.op_type in ("Conv", "MatMul") else None
            if weight is None:
                continue
            if node.op_type == "Conv":
                name = "conv1" if weight.shape[1] == MELS else "conv2"
                bias = self.value(node.input[2])
                assert bias is not None
                found += [(f"{name}.weight", weight), (f"{name}.bias", bias)]
                continue
            added = self.bias_after(node)
            if added is None:
                added, keys = f"layers.{keys}.self_attn.k_proj.bias", keys + 1
            if "layers." in added:
                found.append((added.removesuffix(".bias") + ".weight", weight.T.contiguous()))
        return found

    def value(self, name: str) -> Tensor | None:
        """A constant, dequantised where it is quantised; None for what is computed."""
        from onnx import numpy_helper

        if name in self.initializers:
            return torch.tensor(numpy_helper.to_array(self.initializers[name])).float()
        node = self.producer.get(name)
        if node is None or node.op_type != "DequantizeLinear" or node.input[0] not in self.initializers:
            return None
        whole, scale, zero = (
            torch.tensor(numpy_helper.to_array(self.initializers[i])).float() for i in node.input
        )
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        shape = [-1 if i == axis % whole.ndim else 1 for i in range(whole.ndim)] if scale.ndim else []
        return (whole - zero.reshape(shape)) * scale.reshape(shape)

    def bias_after(self, node: onnx.NodeProto) -> str | None:
        """The name of the bias that is added to a node's output."""
        user = self._user(node.output[0])
        if user is None or user.op_type != "Add":
            return None
        return next((name for name in user.input if name.endswith(".bias")), None)

    def _user(self, name: str) -> onnx.NodeProto | None:
        """The first node that uses a tensor, past quantisation."""
        for user in self.users.get(name, []):
            passing = user.op_type in ("QuantizeLinear", "DequantizeLinear")
            if found := self._user(user.output[0]) if passing else user:
                return found
        return None
