"""What a graph costs: operations and bytes of every kernel, counted for one window."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields

import onnx

from fdan_edge.errors import ExportError
from fdan_edge.runtime.manifest import GraphCost, LayerCost, TotalCost

#: A new view of the same memory: no kernel. DequantizeLinear is done where its result is read.
_VIEWS = frozenset(("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Dropout", "DequantizeLinear"))
#: Compilers add these to the kernel that makes their input.
_POINTWISE = frozenset(
    """
    Abs Add And BatchNormalization Cast Ceil Celu Clip Cos Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual
    HardSigmoid HardSwish LeakyRelu Less LessOrEqual Log Max Min Mish Mod Mul Neg Not Or PRelu Pow QuantizeLinear
    Reciprocal Relu Round Selu Sigmoid Sign Sin Softplus Softsign Sqrt Sub Sum Tanh Where
    """.split()  # noqa: SIM905 - as strings in quotes nobody could read it
)
#: These read no more of their input than they write.
_PICKS = frozenset(("Slice", "Gather", "Split"))
_PRECISIONS = {"FLOAT": "fp32", "FLOAT16": "fp16", "INT8": "int8", "UINT8": "int8"}
_MULTIPLIES = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul"))


@dataclass(frozen=True)
class _Tensor:
    shape: tuple[int, ...]
    kind: int  # of onnx.TensorProto

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.elements * onnx.helper.tensor_dtype_to_np_dtype(self.kind).itemsize


@dataclass(eq=False)
class _Kernel:
    """What is computed in one go; the first node gives the name."""

    number: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)


def cost(model: onnx.ModelProto) -> GraphCost:
    """Count operations and bytes of a graph, by kernel and in total, for a batch of one.

    A kernel is a node and the pointwise nodes after it whose input nobody else reads, which is what TensorRT and,
    in part, ONNX Runtime fuse. A multiply-accumulate (MAC) counts as two operations, every other node as one for
    each element that it reads or writes, whichever is more. Parts that depend on shapes only are folded: nothing.

    Raises:
        ExportError: a tensor's shape is not known, or nothing is left to compute.
    """
    graph = _Graph(model)
    layers = tuple(graph.layer(kernel) for kernel in graph.kernels())
    if not layers:
        raise ExportError("the graph has no kernel to count: it computes nothing from its input")
    names = [entry.name for entry in fields(TotalCost) if entry.name != "kernels"]
    sums = {name: sum(getattr(layer, name) for layer in layers) for name in names}
    return GraphCost(layers, TotalCost(kernels=len(layers), **sums))


class _Graph:
    """A graph's tensors with their shapes, and who reads them."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = _inferred(model).graph
        self._tensors = {i.name: _Tensor(tuple(i.dims), i.data_type) for i in graph.initializer}
        self._fixed = {*self._tensors, ""}
        for value in (*graph.input, *graph.value_info, *graph.output):
            kind = value.type.tensor_type
            if kind.HasField("shape") and _is_known(value) and value.name not in self._tensors:
                shape = tuple(d.dim_value for d in kind.shape.dim)
                self._tensors[value.name] = _Tensor(shape, kind.elem_type)
        self._same: dict[str, str] = {}  # view -> what it is a view of
        self._nodes = [node for node in graph.node if not self._is_folded(node)]
        self._readers = Counter(name for node in self._nodes for name in {*self._read(node)})
        self._readers.update(self._root(value.name) for value in graph.output)

    def _is_folded(self, node: onnx.NodeProto) -> bool:
        """Tell whether a node is no work at inference; notes why."""
        if node.op_type in ("Constant", "Shape", "Size") or all(name in self._fixed for name in node.input):
            self._fixed.update(node.output)
            if node.op_type == "DequantizeLinear":  # weights: 8 bits are read
                self._same[node.output[0]] = self._root(node.input[0])
            if node.op_type == "Constant":
                self._note_constant(node)
            return True
        if node.op_type in _VIEWS:
            self._same[node.output[0]] = self._root(node.input[0])
            return True
        return False

    def _note_constant(self, node: onnx.NodeProto) -> None:
        for attribute in node.attribute:
            if attribute.name == "value":
                self._tensors[node.output[0]] = _Tensor(tuple(attribute.t.dims), attribute.t.data_type)

    def _root(self, name: str) -> str:
        return self._same.get(name, name)

    def _read(self, node: onnx.NodeProto) -> list[str]:
        """Return what a node reads, behind the views."""
        return [self._root(name) for name in node.input if name]

    def kernels(self) -> list[_Kernel]:
        """Return nodes in the groups that a compiler makes of them."""
        producer: dict[str, _Kernel] = {}  # tensor -> the kernel that it comes from
        kernels: list[_Kernel] = []
        for node in self._nodes:
            open_ends = [
                producer[name] for name in self._read(node) if name in producer and self._readers[name] == 1
            ]
            if node.op_type in _POINTWISE and open_ends:
                kernel = max(open_ends, key=lambda kernel: kernel.number)
            else:
                kernel = _Kernel(len(kernels))
                kernels.append(kernel)
            kernel.nodes.append(node)
            producer.update(dict.fromkeys(node.output, kernel))
        return kernels

    def layer(self, kernel: _Kernel) -> LayerCost:
        """Count what one kernel costs."""
        first = kernel.nodes[0]
        outputs = {name for node in kernel.nodes for name in node.output}
        read = dict.fromkeys(n for node in kernel.nodes for n in self._read(node) if n not in outputs)
        weights = [name for name in read if name in self._fixed]
        written = [n for n in outputs if n and (self._readers[n] > sum(n in self._read(k) for k in kernel.nodes))]
        macs = sum(self._macs(node) for node in kernel.nodes)
        return LayerCost(
            name=first.name,
            op=first.op_type,
            nodes=len(kernel.nodes),
            precision=self._precision(first),
            macs=macs,
            operations=2 * macs + sum(self._pointwise(node) for node in kernel.nodes),
            weight_bytes=self._bytes(weights),
            read_bytes=self._read_bytes(kernel.nodes, [name for name in read if name not in self._fixed]),
            write_bytes=self._bytes(written),
            unfused_bytes=sum(self._unfused(node) for node in kernel.nodes),
        )

    def _unfused(self, node: onnx.NodeProto) -> int:
        read = dict.fromkeys(self._read(node))
        return self._read_bytes([node], read) + self._bytes(n for n in node.output if n)

    def _read_bytes(self, nodes: Sequence[onnx.NodeProto], names: Iterable[str]) -> int:
        if nodes[0].op_type in _PICKS:
            return self._bytes(n for n in nodes[0].output if n)
        return self._bytes(names)

    def _bytes(self, names: Iterable[str]) -> int:
        return sum(self._tensor(name).bytes for name in names)

    def _tensor(self, name: str) -> _Tensor:
        tensor = self._tensors.get(name)
        if tensor is None:
            raise ExportError(f"what the graph costs cannot be told: the shape of {name!r} is not known")
        return tensor

    def _precision(self, node: onnx.NodeProto) -> str:
        """Return what a node computes in: that of its widest factor."""
        inputs = self._read(node)[: 2 if node.op_type in _MULTIPLIES else 1]
        kinds = [onnx.TensorProto.DataType.Name(self._tensor(name).kind) for name in inputs]
        precisions = [_PRECISIONS.get(kind, "fp32") for kind in kinds]
        return next((precision for precision in ("fp32", "fp16") if precision in precisions), "int8")

    def _macs(self, node: onnx.NodeProto) -> int:
        if node.op_type not in _MULTIPLIES:
            return 0
        first, second = (self._tensor(name) for name in node.input[:2])  # not behind the views: the shape counts
        if node.op_type == "ConvTranspose":
            return first.elements * math.prod(second.shape[1:])
        outputs = self._tensor(node.output[0]).elements
        if node.op_type == "Conv":  # of each output: its group's channels, and the kernel
            return outputs * math.prod(second.shape[1:])
        flipped = any(a.name == "transA" and a.i for a in node.attribute)
        return outputs * first.shape[0 if flipped else -1]

    def _pointwise(self, node: onnx.NodeProto) -> int:
        """Count operations of a node that does not multiply matrices; moving data takes none."""
        if node.op_type in _MULTIPLIES or node.op_type in _PICKS | {"Concat", "Transpose", "Pad"}:
            return 0
        read = [self._tensor(name).elements for name in self._read(node) if name not in self._fixed]
        return max(*read, self._tensor(node.output[0]).elements, 0)


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy with a batch of one and all shapes that can be inferred."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    batch = {d.dim_param for value in graph.input for d in value.type.tensor_type.shape.dim} - {""}
    for value in (*graph.input, *graph.value_info, *graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param in batch:
                dimension.dim_value = 1
    noted = [value for value in graph.value_info if _is_known(value)]
    del graph.value_info[:]
    graph.value_info.extend(noted)
    return onnx.shape_inference.infer_shapes(copy, data_prop=True)


def _is_known(value: onnx.ValueInfoProto) -> bool:
    dimensions = value.type.tensor_type.shape.dim
    return all(dimension.WhichOneof("value") == "dim_value" for dimension in dimensions)
