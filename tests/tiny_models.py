"""ONNX files that are quick to run, for tests of what runs them."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from fdan_edge.spec import METADATA_KEY, ModelSpec

SPEC = ModelSpec(("angry", "sad"), 16000, 4, 2, 40.0)


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
