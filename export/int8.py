"""A graph's layers in 8 bits, written out as QuantizeLinear and DequantizeLinear.

Two formats. u8s8 is for CPUs: unsigned activations around any zero point, biases in 32 bits, and what joins layers
(residual sums, pooling) in 8 bits too, so that ONNX Runtime fuses whole blocks. s8s8 is for TensorRT: signed
activations around 0, biases left alone, and 8 bits only in front of layers and on the skip input of residual sums,
where NVIDIA's guide puts them; all else of the network is fp16.

ONNX Runtime's own quantizer writes the first format as well, in a Python loop over channels: 2-10 s a graph, where
a calibration compares several and a search for sensitive layers tries dozens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from typing_extensions import override

from fdan_edge.export.activation_ranges import Range
from fdan_edge.export.fp16 import to_half
from fdan_edge.export.onnx_graph import Graph, in_network, layer_of
from fdan_edge.runtime.deploy_targets import S8S8, U8S8

FORMATS = (U8S8, S8S8)
#: CPUs with AVX2 but without VNNI add two products in 16 bits, which 8 bits overflow: ResNet-34 then is 3.5 times
#: as far from fp32 as with 7, and one label of four changes with whisper_tiny.
WEIGHT_BITS = {U8S8: 7, S8S8: 8}
#: What joins layers whose outputs are in 8 bits, and is faster so.
_JOINING = frozenset(("Relu", "Clip", "MaxPool", "GlobalAveragePool", "Flatten", "Reshape", "Add"))
_BOUNDING = frozenset(("Relu", "Clip"))
_MOVING = frozenset(("MaxPool", "Flatten", "Reshape"))  # they give values that they got
#: Its few numbers become the logits.
_CLASSIFIER = "classifier"
_STORED = 127  # the largest of weights that are only stored in 8 bits: no product overflows
_SMALLEST = 2.0**-24  # scale: of halves, the smallest above 0

#: (node, its weights, axis of its outputs) -> a step for each output
_FindStep: TypeAlias = Callable[[onnx.NodeProto, NDArray[np.float32], int], NDArray[np.float32]]


@dataclass(frozen=True)
class Plan:
    """Which nodes are quantised, and which tensors need a range for it."""

    nodes: frozenset[str]
    tensors: frozenset[str]  # that are read or made in 8 bits
    made: frozenset[str]  # those of them that a node of the plan makes
    layers: tuple[str, ...]  # that have weights, in order
    stored: frozenset[str] = frozenset()  # nodes of whose weights 8 bits are stored, and that multiply floats


def plan(model: onnx.ModelProto, form: str, kept: frozenset[str] = frozenset()) -> Plan:
    """Plan what of an fp32 graph is quantised: layers with weights but the classifier, and what joins them.

    Matrix products give floats: LayerNormalization, GELU and softmax follow. Products without weights, as in
    attention, stay as they are. So does, in u8s8, a convolution in front of a GELU: ONNX Runtime runs it in 8 bits
    only if its output is in 8 bits too, and that cost whisper_tiny more than all else. Of such a convolution only
    the weights are in 8 bits, which makes the file smaller, and the product is of floats.

    Args:
        form: u8s8 or s8s8.
        kept: layers, as `graph.layer_of` names them, that stay as they are.
    """
    graph = Graph(model)
    chosen: list[onnx.NodeProto] = []
    stored, outputs = set[str](), set[str]()
    for node in graph.nodes:
        layer = layer_of(node)
        if not in_network(node) or layer in kept or layer == _CLASSIFIER:
            continue
        # A sum of two layers, one of which is kept higher, is in 8 bits still: or all after it were floats.
        joins = node.op_type in _JOINING and any(name in outputs for name in graph.computed(node))
        if form == U8S8 and graph.has_weights(node) and _feeds_floats(graph, node):
            stored.add(node.name)
        elif graph.has_weights(node) or joins:
            chosen.append(node)
            if joins or node.op_type == "Conv":
                outputs.update(node.output)
    read = {name for node in chosen for name in graph.computed(node)}
    folded = {node.input[0] for node in chosen if node.op_type in _BOUNDING}
    outputs -= {name for name in folded if len(graph.readers[name]) == 1}
    read -= folded - outputs
    layers = dict.fromkeys(layer_of(node) for node in chosen if graph.has_weights(node))
    names = frozenset(node.name for node in chosen)
    return Plan(names, frozenset(read | outputs), frozenset(outputs), tuple(layers), frozenset(stored))


def _feeds_floats(graph: Graph, node: onnx.NodeProto) -> bool:
    readers = [reader for name in node.output for reader in graph.readers[name]]
    return node.op_type == "Conv" and not any(r.op_type in _JOINING or graph.has_weights(r) for r in readers)


def quantize(
    model: onnx.ModelProto, wanted: Plan, ranges: dict[str, Range], form: str, *, half: bool = True
) -> onnx.ModelProto:
    """Return a copy of an fp32 graph with the plan's nodes in 8 bits.

    Args:
        ranges: of every tensor of the plan, from `calibrate`.
        form: u8s8 or s8s8.
        half: whether s8s8 is fp16 where it is not 8 bits; CPUs run it faster without, for comparisons.
    """
    quantised = onnx.ModelProto()
    quantised.CopyFrom(model)
    writer = _Unsigned if form == U8S8 else _Signed
    writer(quantised, wanted, ranges).rewrite()
    del quantised.graph.value_info[:]
    if form == S8S8 and half:
        quantised = to_half(quantised)
    onnx.checker.check_model(quantised, full_check=True)
    return quantised


class _Writer:
    """One rewriting of a graph."""

    weight_bits: int

    def __init__(self, model: onnx.ModelProto, wanted: Plan, ranges: dict[str, Range]) -> None:
        self.proto, self.graph, self.plan = model.graph, Graph(model), wanted
        self.scales = {name: self.activation_scale(*ranges[name]) for name in sorted(wanted.tensors)}
        self.largest = 2 ** (self.weight_bits - 1) - 1
        self.nodes: list[onnx.NodeProto] = []
        self.dequantised: dict[str, str] = {}

    def activation_scale(self, low: float, high: float) -> tuple[np.float32, np.generic]:
        """Return step and zero point for values of low..high."""
        raise NotImplementedError

    def reads_eight(self, node: onnx.NodeProto, name: str) -> bool:
        """Tell whether a node reads a tensor of the plan in 8 bits."""
        raise NotImplementedError

    def rewrite(self) -> None:
        for node in self.graph.nodes:
            for index, name in enumerate(node.input):
                if name in self.plan.tensors and self.reads_eight(node, name):
                    node.input[index] = self._dequantised(name)
            if node.name in self.plan.nodes and self.graph.has_weights(node):
                self._quantise_weights(node, self.weight_step, self.largest)
            elif node.name in self.plan.stored:
                self._quantise_weights(node, _stored_step, _STORED)
            self.nodes.append(node)
        del self.proto.node[:]
        self.proto.node.extend(self.nodes)
        read = {name for node in self.nodes for name in node.input}
        for index in reversed(range(len(self.proto.initializer))):
            if self.proto.initializer[index].name not in read:
                del self.proto.initializer[index]

    def _dequantised(self, name: str) -> str:
        """Return what stands for a tensor once it went through 8 bits; the pair is written at its first use."""
        if name not in self.dequantised:
            scale, zero = self.scales[name]
            scope = self.graph.producer[name].name.rpartition("/")[0]
            parameters = [self.constant(f"{name}_scale", scale), self.constant(f"{name}_zero", zero)]
            eight, back = f"{name}_quantized", f"{name}_dequantized"
            self._add("QuantizeLinear", [name, *parameters], eight, scope)
            self._add("DequantizeLinear", [eight, *parameters], back, scope)
            self.dequantised[name] = back
        return self.dequantised[name]

    def _quantise_weights(self, node: onnx.NodeProto, find_step: _FindStep, largest: int) -> None:
        name = node.input[1]
        values = self.graph.value(name).astype(np.float32)
        axis = _output_axis(node)
        step = find_step(node, values, axis)
        shape = [-1 if i == axis else 1 for i in range(values.ndim)]
        whole = np.clip(np.round(values / step.reshape(shape)), -largest, largest).astype(np.int8)
        prefix = f"{node.name}/weight"  # a weight may serve two nodes
        parameters = [
            self.constant(f"{prefix}_scale", step),
            self.constant(f"{prefix}_zero", np.zeros(step.shape, np.int8)),
        ]
        quantised = self.constant(f"{prefix}_quantized", whole)
        scope = node.name.rpartition("/")[0]
        node.input[1] = self._add("DequantizeLinear", [quantised, *parameters], prefix, scope, axis=axis)

    def weight_step(self, node: onnx.NodeProto, values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
        """Return one step for each output of a layer."""
        raise NotImplementedError

    def constant(self, name: str, value: Any) -> str:
        self.proto.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def _add(self, op: str, inputs: list[str], output: str, scope: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], f"{scope}/{op}/{output}", **attributes))
        return output


class _Unsigned(_Writer):
    """u8s8: unsigned activations, biases in 32 bits, ReLUs folded into the ranges."""

    weight_bits = WEIGHT_BITS[U8S8]

    def __init__(self, model: onnx.ModelProto, wanted: Plan, ranges: dict[str, Range]) -> None:
        super().__init__(model, wanted, ranges)
        self._fold_bounds()
        for node in self.graph.nodes:
            if node.op_type in _MOVING and node.name in wanted.nodes:  # of one step, or it does not fuse
                self.scales[node.output[0]] = self.scales[node.input[0]]

    def activation_scale(self, low: float, high: float) -> tuple[np.float32, np.generic]:
        scale = np.float32(max((high - low) / 255, 1e-8))
        return scale, np.uint8(np.clip(np.round(-low / scale), 0, 255))

    def reads_eight(self, node: onnx.NodeProto, name: str) -> bool:
        # What is made in 8 bits leaves so: then ONNX Runtime can fuse the node that makes it.
        return name in self.plan.made or node.name in self.plan.nodes

    def _fold_bounds(self) -> None:
        """Return what a ReLU cuts off, 8 bits that start at 0 cut off as well."""
        for node in list(self.graph.nodes):
            before = node.input[0] if node.input else ""
            if node.op_type not in _BOUNDING or node.name not in self.plan.nodes:
                continue
            if before not in self.scales and self.scales[node.output[0]][1] == 0:
                maker = self.graph.producer[before]
                maker.output[0] = node.output[0]
                self.graph.producer[node.output[0]] = maker
                self.graph.nodes.remove(node)

    def weight_step(self, node: onnx.NodeProto, values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
        step = _weight_step(values, axis, self.largest)
        if len(node.input) < 3 or node.input[2] not in self.graph.constants:
            return step
        read = next(name for name in self.plan.tensors if node.input[0] == self.dequantised.get(name))
        bias, reading = self.graph.value(node.input[2]).astype(np.float64), float(self.scales[read][0])
        # A channel with hardly any weights would need a bias of more than 32 bits.
        step = np.maximum(step, (np.abs(bias) / reading / 2**30).astype(np.float32))
        scale = (step * np.float32(reading)).astype(np.float32)
        whole = np.round(bias / scale).astype(np.int32)
        prefix = f"{node.name}/bias"
        inputs = [self.constant(f"{prefix}_quantized", whole), self.constant(f"{prefix}_scale", scale)]
        node.input[2] = self._add("DequantizeLinear", inputs, prefix, node.name.rpartition("/")[0], axis=0)
        return step


class _Signed(_Writer):
    """s8s8: signed activations around 0; steps are exact in half precision."""

    weight_bits = WEIGHT_BITS[S8S8]

    def activation_scale(self, low: float, high: float) -> tuple[np.float32, np.generic]:
        return np.float32(_half_step(_step(np.asarray(max(-low, high)), 127))), np.int8(0)

    def reads_eight(self, node: onnx.NodeProto, name: str) -> bool:
        if node.name not in self.plan.nodes:
            return False
        return self.graph.has_weights(node) or (node.op_type == "Add" and name == self._skip(node))

    @override
    def weight_step(self, node: onnx.NodeProto, values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
        return _half_step(_weight_step(values, axis, self.largest))

    def _skip(self, node: onnx.NodeProto) -> str:
        """Return the input of a residual sum that passed by the block's convolutions.

        The other stays as it was made: TensorRT then does convolution, sum and ReLU in one kernel.
        """
        fresh = [name for name in node.input if self._made_for_sum(name)]
        return next((name for name in reversed(node.input) if name not in fresh[:1]), "")

    def _made_for_sum(self, name: str) -> bool:
        maker = self.graph.producer.get(name)
        return maker is not None and maker.op_type == "Conv" and len(self.graph.readers[name]) == 1


def _stored_step(_: onnx.NodeProto, values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    return _weight_step(values, axis, _STORED)


def _half_step(step: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return steps rounded up to halves, so that the largest value still fits."""
    half = np.maximum(step, _SMALLEST).astype(np.float16)
    up = np.nextafter(half, np.float16(np.inf))
    return np.where(half.astype(np.float32) < step, up, half).astype(np.float32)


def _step(largest: NDArray[np.floating[Any]], levels: int) -> NDArray[np.float32]:
    return np.where(largest > 0, largest / levels, 1.0).astype(np.float32)


def _weight_step(values: NDArray[np.float32], axis: int, levels: int) -> NDArray[np.float32]:
    others = tuple(i for i in range(values.ndim) if i != axis)
    return _step(np.abs(values).max(axis=others), levels)


def _output_axis(node: onnx.NodeProto) -> int:
    """Return the axis of a layer's weights that counts its outputs."""
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    return 0 if node.op_type == "Conv" or transposed else 1
