"""Questions about an ONNX graph: who makes and who reads a tensor, and whether a target can read the whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import onnx
import onnx.compose
from numpy.typing import NDArray
from onnx import numpy_helper

from fdan_edge.errors import ExportError
from fdan_edge.runtime.deploy_targets import S8S8, Target

#: Ops that have weights and do nearly all the work; quantisation and half precision are about their speed.
WEIGHTED = frozenset(("Conv", "Gemm", "MatMul"))
FRONTEND, HEAD = "frontend", "head/"


class Graph:
    """A model's graph by names; it does not follow changes of the model."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.producer = {name: node for node in self.nodes for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                self.readers[name].append(node)

    def computed(self, node: onnx.NodeProto) -> list[str]:
        """Return the inputs of a node that are no constants."""
        return [name for name in node.input if name and name not in self.constants]

    def has_weights(self, node: onnx.NodeProto) -> bool:
        """Tell whether a node is a layer: an op of `WEIGHTED` with a constant factor."""
        return node.op_type in WEIGHTED and node.input[1] in self.constants

    def value(self, name: str) -> NDArray[np.generic]:
        """Return a constant's value."""
        return np.asarray(numpy_helper.to_array(self.constants[name]))


def in_network(node: onnx.NodeProto) -> bool:
    """Tell whether a node is between the front end and the softmax with its temperature."""
    return not node.name.startswith((FRONTEND, HEAD))


def layer_of(node: onnx.NodeProto) -> str:
    """Return the module that a node comes from, for people: `backbone.layer1.0.conv1`, without what all have."""
    return node.name.rpartition("/")[0].removeprefix("model.").removeprefix("acoustic.")


def check_graph(model: onnx.ModelProto, target: Target) -> None:
    """Refuse a graph that a target cannot read, before anybody takes it there.

    Raises:
        ExportError: its opset, an op, a tensor's type or a quantisation is not among what the target takes.
    """
    problem = next(_problems(model, target), None)
    if problem:
        raise ExportError(f"target {target.name} ({target.title}) cannot run this graph: {problem}")


def _problems(model: onnx.ModelProto, target: Target) -> Iterator[str]:
    lowest, highest = target.opsets
    for entry in model.opset_import:
        if entry.domain not in ("", "ai.onnx"):
            yield f"ops of domain {entry.domain!r}; valid: those of ONNX itself"
        elif not lowest <= entry.version <= highest:
            yield f"opset {entry.version}; valid: {lowest} to {highest}"
    for node in model.graph.node:
        if target.ops is not None and node.op_type not in target.ops:
            yield f"op {node.op_type} (node {node.name or node.output[0]}) is not supported there"
    yield from _wrong_types(model, target)
    if target.int8 == S8S8:
        yield from _zero_points(model)


def _wrong_types(model: onnx.ModelProto, target: Target) -> Iterator[str]:
    if target.types is None:
        return
    inferred = onnx.shape_inference.infer_shapes(model).graph
    producer = Graph(model).producer
    tensors = [(tensor.name, tensor.data_type) for tensor in model.graph.initializer]
    values = [*inferred.value_info, *inferred.input, *inferred.output]
    tensors += [(value.name, value.type.tensor_type.elem_type) for value in values]
    for name, number in tensors:
        kind = onnx.TensorProto.DataType.Name(number)
        if kind not in target.types:
            made = f", made by {producer[name].op_type} (node {producer[name].name})" if name in producer else ""
            yield f"tensor {name} is of type {kind}{made}; valid: {', '.join(sorted(target.types))}"


def _zero_points(model: onnx.ModelProto) -> Iterator[str]:
    graph = Graph(model)
    for node in graph.nodes:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or len(node.input) < 3:
            continue
        known = node.input[2] in graph.constants
        if not known or graph.value(node.input[2]).any():
            yield f"{node.op_type} (node {node.name or node.output[0]}) has a zero point that is not 0"


def splice(model: onnx.ModelProto, other: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of a graph whose front end is another graph of the same input.

    Args:
        model: nodes named as `to_onnx` does.
        other: only a front end; its one output takes the place of what the network reads.

    Raises:
        ExportError: the network reads more than one tensor of the front end.
    """
    spliced = onnx.ModelProto()
    spliced.CopyFrom(model)
    inside = {name for node in model.graph.node if node.name.startswith(FRONTEND) for name in node.output}
    network = [node for node in model.graph.node if not node.name.startswith(FRONTEND)]
    read = {name for node in network for name in node.input if name in inside}
    if len(read) != 1:
        raise ExportError(f"the network reads {len(read)} tensors of the front end, not one")
    front = onnx.compose.add_prefix_graph(other.graph, f"{FRONTEND}:", rename_nodes=False)
    names = {
        f"{FRONTEND}:{other.graph.input[0].name}": model.graph.input[0].name,
        front.output[0].name: read.pop(),
    }
    for node in front.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    del spliced.graph.node[:], spliced.graph.value_info[:], spliced.graph.initializer[:]
    spliced.graph.node.extend([*front.node, *network])
    used = {name for node in spliced.graph.node for name in node.input}
    tensors = (*front.initializer, *model.graph.initializer)
    spliced.graph.initializer.extend(tensor for tensor in tensors if tensor.name in used)
    infos = (*front.value_info, *(info for info in model.graph.value_info if info.name not in inside))
    spliced.graph.value_info.extend(infos)
    onnx.checker.check_model(spliced, full_check=True)
    return spliced
