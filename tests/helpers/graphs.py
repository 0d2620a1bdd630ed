"""Small graphs for the tests of lowering: a network after something that stands for a front end."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

WINDOW = 256
CHANNELS = 8


def network(*, opset: int = 18, scale: float = 1.0, seed: int = 0) -> onnx.ModelProto:
    """Waveform to 3 probabilities: a stem, a residual block with ReLU and Clip, pooling, bottleneck, classifier.

    Args:
        scale: of the second convolution's weights.
    """
    chance = np.random.default_rng(seed)
    constants: dict[str, NDArray[np.generic]] = {
        "shape": np.array([0, 1, 16, 16]),
        "gain": np.array(2, np.float32),
        "low": np.array(0, np.float32),
        "high": np.array(6, np.float32),
        "temperature": np.array(1.5, np.float32),
        "flat": np.array([0, CHANNELS]),
        "zeros": np.zeros(1, np.float32),
    }
    constants |= _weights(chance, scale)
    nodes = [
        helper.make_node("Reshape", ["waveform", "shape"], ["grid"], "frontend/Reshape"),
        helper.make_node("Mul", ["grid", "gain"], ["heard"], "model.acoustic/Mul"),
        _conv("stem", "heard", "c0"),
        helper.make_node("Relu", ["c0"], ["r0"], "model.acoustic.backbone/Relu"),
        _conv("block.conv1", "r0", "c1"),
        helper.make_node("Clip", ["c1", "low", "high"], ["r1"], "model.acoustic.backbone.block/Clip"),
        _conv("block.conv2", "r1", "c2"),
        helper.make_node("Add", ["c2", "r0"], ["sum"], "model.acoustic.backbone.block/Add"),
        helper.make_node("Relu", ["sum"], ["r2"], "model.acoustic.backbone.block/Relu"),
        helper.make_node("GlobalAveragePool", ["r2"], ["mean"], "model.acoustic.backbone/GlobalAveragePool"),
        helper.make_node("Reshape", ["mean", "flat"], ["features"], "model.acoustic.backbone/Reshape"),
        helper.make_node("Gemm", ["features", "bw", "bb"], ["z"], "model.acoustic.bottleneck.0/Gemm", transB=1),
        helper.make_node("Gemm", ["z", "kw", "kb"], ["logits"], "model.classifier/Gemm", transB=1),
        helper.make_node("Div", ["logits", "temperature"], ["cooled"], "head/Div"),
        helper.make_node("Softmax", ["cooled"], ["probabilities"], "head/Softmax", axis=1),
    ]
    return model(nodes, constants, opset=opset)


def model(
    nodes: list[onnx.NodeProto],
    constants: dict[str, NDArray[np.generic]],
    *,
    opset: int = 18,
    output: str = "probabilities",
    kind: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A model from `waveform` (batch, WINDOW) to one output (batch, 3)."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("waveform", TensorProto.FLOAT, ["batch", WINDOW])],
        [helper.make_tensor_value_info(output, kind, ["batch", 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def waves(n: int, seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((n, WINDOW)).astype(np.float32)


def _conv(layer: str, read: str, made: str) -> onnx.NodeProto:
    name = f"model.acoustic.backbone.{layer}"
    inputs = [read, f"{name}.weight", f"{name}.bias"]
    return helper.make_node("Conv", inputs, [made], f"{name}/Conv", pads=[1, 1, 1, 1])


def _weights(chance: np.random.Generator, scale: float) -> dict[str, NDArray[np.generic]]:
    found: dict[str, NDArray[np.generic]] = {}
    for layer, inputs in (("stem", 1), ("block.conv1", CHANNELS), ("block.conv2", CHANNELS)):
        name = f"model.acoustic.backbone.{layer}"
        weight = chance.standard_normal((CHANNELS, inputs, 3, 3)) / np.sqrt(9 * inputs)
        found[f"{name}.weight"] = (weight * (scale if layer == "block.conv1" else 1)).astype(np.float32)
        found[f"{name}.bias"] = (0.1 * chance.standard_normal(CHANNELS)).astype(np.float32)
    for name, outputs in (("b", CHANNELS), ("k", 3)):
        found[f"{name}w"] = chance.standard_normal((outputs, CHANNELS)).astype(np.float32)
        found[f"{name}b"] = (0.1 * chance.standard_normal(outputs)).astype(np.float32)
    return found
