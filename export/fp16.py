"""A graph's network in half precision, under a front end and a softmax that stay in single."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.shape_inference
from onnx import TensorProto, helper, numpy_helper

from fdan_edge.errors import ExportError
from fdan_edge.export.activation_ranges import Windows, peaks
from fdan_edge.export.onnx_graph import Graph, in_network, layer_of

#: A sum over all positions, a square or a root of one loses digits that a mean and a deviation need.
_STATISTICS = frozenset(("ReduceSum", "Pow", "Sqrt"))
_ELEMENTWISE = frozenset(("Mul", "Sub", "Div"))
_LARGEST = float(np.finfo(np.float16).max)
_QUANTISING = frozenset(("QuantizeLinear", "DequantizeLinear"))
#: QuantizeLinear takes halves from here on.
QUANTISED_OPSET = 19


def to_half(model: onnx.ModelProto, keep: frozenset[str] = frozenset()) -> onnx.ModelProto:
    """Return a copy of an fp32 graph whose layers, from the first one to the classifier, are fp16.

    What stays in fp32, with casts between: the front end and all that is computed from it alone (scaling, the mask
    of padding), sums and squares over positions with what they are made of, softmax and temperature. Inputs and
    outputs stay fp32. Types are written out, so TensorRT must be strongly typed, as it always is from 11 on.

    Args:
        keep: layers (as `layer_of` names them) that stay in fp32.

    Raises:
        ExportError: a weight is beyond what a half can hold.
    """
    half = onnx.ModelProto()
    half.CopyFrom(model)
    if any(node.op_type in _QUANTISING for node in half.graph.node):
        _raise_opset(half)
    graph = Graph(half)
    single = _single(graph)
    single |= {node.name for node in graph.nodes if in_network(node) and layer_of(node) in keep}
    _Caster(half, graph, _floats(half), single).rewrite()
    del half.graph.value_info[:]  # their types were those of before
    onnx.checker.check_model(half, full_check=True)
    return half


def largest_half(single: onnx.ModelProto, half: onnx.ModelProto, windows: Windows) -> float:
    """Return the largest magnitude that a tensor in half precision would have to hold, as the fp32 graph has it.

    ONNX Runtime on the CPU computes halves in fp32 and rounds nothing between them, so running a file there does
    not show what overflows on a GPU.

    Args:
        single: the graph in fp32.
        half: the same with halves.
        windows: (n, window).

    Raises:
        ExportError: beyond what a half can hold; the tensor is named by the node that makes it.
    """
    known = {name for node in single.graph.node for name in node.output}
    infos = onnx.shape_inference.infer_shapes(half).graph.value_info
    halves = [i.name for i in infos if i.type.tensor_type.elem_type == TensorProto.FLOAT16 and i.name in known]
    largest = 0.0
    for name, value in peaks(single, halves, windows).items():
        if not value <= _LARGEST:
            raise ExportError(f"{name} reaches {value:.3g} on real clips, and a half holds {_LARGEST:g} at most")
        largest = max(largest, value)
    return largest


def _single(graph: Graph) -> set[str]:
    """Return names of the nodes that stay in fp32."""
    kept = {node.name for node in graph.nodes if not in_network(node) or node.op_type in _STATISTICS}
    statistics = {node.name for node in graph.nodes if in_network(node) and node.op_type in _STATISTICS}
    for node in reversed(graph.nodes):  # what squares and sums are made of
        readers = {reader.name for name in node.output for reader in graph.readers[name]}
        if node.op_type in _ELEMENTWISE and readers and readers <= statistics:
            statistics.add(node.name)
    kept |= statistics
    for node in graph.nodes:  # what comes of single values alone
        made_by = [graph.producer.get(name) for name in graph.computed(node)]
        single = all(maker is None or maker.name in kept for maker in made_by)
        if made_by and single and not graph.has_weights(node) and node.op_type not in _QUANTISING:
            kept.add(node.name)
    return kept


def _floats(model: onnx.ModelProto) -> set[str]:
    """Return names of the tensors of type float, constants too."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = [*inferred.value_info, *inferred.input, *inferred.output]
    names = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    return names | {t.name for t in model.graph.initializer if t.data_type == TensorProto.FLOAT}


class _Caster:
    """One rewriting of a graph: constants that halves read become halves, casts stand where types change."""

    def __init__(self, model: onnx.ModelProto, graph: Graph, floats: set[str], single: set[str]) -> None:
        self.proto, self.graph, self.floats, self.single = model.graph, graph, floats, single
        self.nodes: list[onnx.NodeProto] = []
        self.added: dict[str, onnx.TensorProto] = {}
        self.cast: dict[tuple[str, int], str] = {}
        self.half = {
            name for node in graph.nodes if node.name not in single for name in node.output if name in floats
        }

    def rewrite(self) -> None:
        for node in self.graph.nodes:
            for index, name in enumerate(node.input):
                if name in self.floats:
                    node.input[index] = self._as_wanted(name, node)
            self._retype(node)
            self.nodes.append(node)
        del self.proto.node[:]
        self.proto.node.extend(self.nodes)
        read = {name for node in self.nodes for name in node.input}
        kept = [t for t in (*self.proto.initializer, *self.added.values()) if t.name in read]
        del self.proto.initializer[:]
        self.proto.initializer.extend(kept)

    def _as_wanted(self, name: str, node: onnx.NodeProto) -> str:
        wants_half = node.name not in self.single
        if name in self.graph.constants:
            return self._constant(name, node) if wants_half else name
        if wants_half == (name in self.half):
            return name
        kind = TensorProto.FLOAT16 if wants_half else TensorProto.FLOAT
        if (name, kind) not in self.cast:
            converted = f"{name}_{'half' if wants_half else 'single'}"
            self.nodes.append(helper.make_node("Cast", [name], [converted], f"{converted}/Cast", to=kind))
            self.cast[name, kind] = converted
        return self.cast[name, kind]

    def _constant(self, name: str, node: onnx.NodeProto) -> str:
        converted = f"{name}_half"
        if converted not in self.added:
            value = self.graph.value(name)
            if np.abs(value).max(initial=0) > _LARGEST:
                raise ExportError(
                    f"layer {layer_of(node)} has a constant of {np.abs(value).max():.3g}, and half precision ends "
                    f"at {_LARGEST:.0f}; valid: --precision fp32 or int8"
                )
            self.added[converted] = numpy_helper.from_array(value.astype(np.float16), converted)
        return converted

    def _retype(self, node: onnx.NodeProto) -> None:
        if node.op_type == "Cast" and node.name not in self.single:
            to = next(attribute for attribute in node.attribute if attribute.name == "to")
            if to.i == TensorProto.FLOAT:
                to.i = TensorProto.FLOAT16


def _raise_opset(model: onnx.ModelProto) -> None:
    """Raise the opset: between 18 and 19 ops only gained types and options, so the number is all that changes."""
    for entry in model.opset_import:
        if entry.domain == "" and entry.version < QUANTISED_OPSET:
            entry.version = QUANTISED_OPSET
