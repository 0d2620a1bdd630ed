"""Whisper tiny's pretrained weights: where they come from, and how they are read out of an ONNX graph."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fdan_edge.config import Backbone
from fdan_edge.errors import INSTALL_TRAINING, ConfigError, MissingDependencyError, one_line
from fdan_edge.models.backbones.whisper import MELS

if TYPE_CHECKING:
    import onnx

#: A wheel that carries a Whisper tiny encoder (BSD-2-Clause; tuned to detect the end of a turn, int8).
PACKAGE = "pipecat-ai==1.14.0"
#: Where it lies below the package `pipecat`.
PATTERN = "audio/turn/smart_turn/data/smart-turn-v3*.onnx"


def packaged_weights(_: Backbone) -> dict[str, Tensor]:
    """Return the encoder's weights out of the wheel PACKAGE, where it is installed (`pip install --no-deps`).

    Raises:
        ConfigError: it is not installed, or not laid out as expected.
    """
    spec = importlib.util.find_spec("pipecat")
    folders = list(spec.submodule_search_locations or []) if spec else []
    files = sorted(path for folder in folders for path in Path(folder).glob(PATTERN))
    if not files:
        raise ConfigError(
            f"Whisper's weights are not here; valid: pip install --no-deps {PACKAGE}, weights=PATH (Whisper "
            "tiny's model.safetensors) or weights=none"
        )
    try:
        import onnx
    except ImportError:
        raise MissingDependencyError("onnx", "reading Whisper's weights", INSTALL_TRAINING) from None
    try:
        return from_onnx(onnx.load(str(files[-1])))
    except Exception as error:  # protobuf and onnx raise many kinds
        raise ConfigError(f"{files[-1]}: not the encoder that was expected: {one_line(error)}") from None


def from_onnx(model: onnx.ModelProto) -> dict[str, Tensor]:
    """Return the state dict of a Whisper encoder out of its ONNX graph, quantised weights as float32.

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
    """An ONNX graph, to look weights up in."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self.initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        self.producer = {output: node for node in self.nodes for output in node.output}
        self.users: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.users.setdefault(name, []).append(node)

    def weights(self) -> list[tuple[str, Tensor]]:
        """List names and values of the convolutions and of the layers' matrices, output features first."""
        named: list[tuple[str, Tensor]] = []
        keys = 0
        for node in self.nodes:
            weight = self.value(node.input[1]) if node.op_type in ("Conv", "MatMul") else None
            if weight is None:
                continue
            if node.op_type == "Conv":
                name = "conv1" if weight.shape[1] == MELS else "conv2"
                bias = self.value(node.input[2])
                assert bias is not None
                named += [(f"{name}.weight", weight), (f"{name}.bias", bias)]
                continue
            added = self.bias_after(node)
            if added is None:
                added, keys = f"layers.{keys}.self_attn.k_proj.bias", keys + 1
            if "layers." in added:
                named.append((added.removesuffix(".bias") + ".weight", weight.T.contiguous()))
        return named

    def value(self, name: str) -> Tensor | None:
        """Return a constant, dequantised where it is quantised; None for what is computed."""
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
        """Return the name of the bias that is added to a node's output."""
        user = self._user(node.output[0])
        if user is None or user.op_type != "Add":
            return None
        return next((name for name in user.input if name.endswith(".bias")), None)

    def _user(self, name: str) -> onnx.NodeProto | None:
        """Return the first node that uses a tensor, past quantisation."""
        for user in self.users.get(name, []):
            passing = user.op_type in ("QuantizeLinear", "DequantizeLinear")
            if used_by := self._user(user.output[0]) if passing else user:
                return used_by
        return None
