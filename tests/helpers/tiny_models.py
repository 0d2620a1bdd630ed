"""ONNX files that are quick to run, for tests of what runs them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from fdan_edge.runtime.log_mel import FRONT_END_KEY, FrontEnd
from fdan_edge.runtime.model_spec import METADATA_KEY, ModelSpec
from fdan_edge.runtime.onnx_stream import write_front_end
from fdan_edge.runtime.runner import POWER

SPEC = ModelSpec(("angry", "sad"), 16000, 4, 2, 40.0)
FRONT_END = FrontEnd(4, 2, 3, np.array([[0, 0.1, 0], [0, 0.7, 1 / 3]], np.float32))


def model(
    path: Path,
    metadata: dict[str, str] | None = None,
    *,
    window: int = 4,
    classes: int = 2,
    names: tuple[str, str] = ("waveform", "probabilities"),
) -> Path:
    """A tiny ONNX model: softmax over the first samples of each window."""
    source = helper.make_tensor_value_info(names[0], TensorProto.FLOAT, ["batch", window])
    target = helper.make_tensor_value_info(names[1], TensorProto.FLOAT, ["batch", classes])
    nodes = [
        helper.make_node("Slice", [names[0], "start", "end", "axis"], ["first"]),
        helper.make_node("Softmax", ["first"], [names[1]], axis=1),
    ]
    numbers = {"start": [0], "end": [classes], "axis": [1]}
    constants = [helper.make_tensor(name, TensorProto.INT64, [1], value) for name, value in numbers.items()]
    graph = helper.make_graph(nodes, "tiny", [source], [target], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(made, {METADATA_KEY: SPEC.to_json()} if metadata is None else metadata)
    onnx.save(made, path)
    return path


def stream_model(path: Path, metadata: dict[str, str] | None = None, *, frames: int = 3) -> Path:
    """A tiny graph for live streams: softmax over the mean power of 2 bands."""
    source = helper.make_tensor_value_info(POWER, TensorProto.FLOAT, ["batch", 2, frames])
    target = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 2])
    nodes = [
        helper.make_node("ReduceMean", [POWER, "axis"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "gain"], ["weighted"]),
        helper.make_node("Softmax", ["weighted"], ["probabilities"], axis=1),
    ]
    axis, gain = ("axis", TensorProto.INT64, [1], [2]), ("gain", TensorProto.FLOAT, [2], [1, 1])
    constants = [helper.make_tensor(*values) for values in (axis, gain)]
    graph = helper.make_graph(nodes, "tiny", [source], [target], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    usual = {METADATA_KEY: SPEC.to_json(), FRONT_END_KEY: write_front_end(FRONT_END)}
    helper.set_model_props(made, usual if metadata is None else metadata)
    onnx.save(made, path)
    return path
