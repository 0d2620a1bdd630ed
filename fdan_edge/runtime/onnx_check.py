"""Look into an ONNX file before ONNX Runtime does: what is in it, and what opening it may cost. Imports no torch.

A file may come from a stranger. So only operators that compute are let in: no graphs within graphs, no functions,
nothing random, no operators of other domains, no text, and no data in other files. Without loops a run ends, and
`onnx.OnnxSession` limits its memory and time. What ONNX Runtime does while it opens a file has no such limits: it
computes what depends on constants alone. So their sizes are bounded here.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fdan_edge.errors import BundleError, one_line, printable, shown
from fdan_edge.runtime.wire import NUMBER, fields, varints
from fdan_edge.utils.small_files import read_at_most

#: Bytes that an ONNX file may have.
MOST_BYTES = 512 << 20
_MOST_NODES, _MOST_NAMES, _MOST_TENSORS = 10_000, 100_000, 50_000
_MOST_WHOLE = 1 << 16  # elements of a constant of whole numbers: those are shapes, places and zero points
_MOST_COMPUTED = 1 << 20  # whole numbers that are computed from constants and shapes
_MOST_CONSTANTS = 1 << 20  # other elements so computed, beyond as many as the file holds
_MOST_DIMENSIONS = 64
_MOST_FIELDS = 2_000_000  # that are looked at: two bytes of a file can be a field, and take fifty in memory
_MOST_BESIDE = 32 << 20  # bytes beside the constants; the largest network has half a megabyte

_UNARY = """
    Abs Acos Acosh Asin Asinh Atan Atanh Cast Ceil Celu Clip Cos Cosh DequantizeLinear Dropout Elu Erf Exp Flatten
    Floor Gelu HardSigmoid HardSwish Hardmax Identity IsInf IsNaN LeakyRelu Log LogSoftmax LpNormalization Mish
    Neg Not QuantizeLinear Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean
    ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Round Selu Shrink Sigmoid Sign Sin Sinh Slice
    Softmax Softplus Softsign Sqrt Squeeze Swish Tan Tanh ThresholdedRelu Transpose Unsqueeze
"""
_PAIRS = """
    Add And BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Div Equal Gather Greater GreaterOrEqual Less
    LessOrEqual Max Mean Min Mod Mul Or PRelu Pow Sub Sum Where Xor
"""
_OTHERS = """
    ArgMax ArgMin Attention AveragePool BatchNormalization BlackmanWindow CastLike CenterCropPad Col2Im Concat
    Constant ConstantOfShape Conv ConvInteger ConvTranspose CumSum DFT DepthToSpace Det DynamicQuantizeLinear
    Einsum Expand EyeLike GRU GatherElements GatherND Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool
    GroupNormalization HammingWindow HannWindow InstanceNormalization LRN LSTM LayerNormalization LpPool MatMul
    MatMulInteger MaxPool MeanVarianceNormalization MelWeightMatrix Pad QLinearConv QLinearMatMul RMSNormalization
    RNN Range Resize ReverseSequence RotaryEmbedding STFT ScatterElements ScatterND Shape Size SpaceToDepth Split
    Tile TopK Trilu
"""
#: Operators whose result has at most the elements of their first input, and those that may pair all elements.
_KEEPING, _PAIRING = frozenset(_UNARY.encode().split()), frozenset(_PAIRS.encode().split())
#: What a graph may compute with.
OPERATORS = frozenset(word.decode() for word in (*_KEEPING, *_PAIRING, *_OTHERS.encode().split()))
_OPERATORS = frozenset(word.encode() for word in OPERATORS)
_DOMAINS = (b"", b"ai.onnx")

# Numbers of fields, and of types, in onnx.proto.
_MODEL_GRAPH, _MODEL_TRAINING, _MODEL_FUNCTIONS = 7, 20, 25
_GRAPH_NODE, _GRAPH_TENSOR, _GRAPH_INPUT, _GRAPH_SPARSE = 1, 5, 11, 15
_NODE_INPUT, _NODE_OUTPUT, _NODE_OP, _NODE_ATTRIBUTE, _NODE_DOMAIN = 1, 2, 4, 5, 7
_TEXT, _TENSOR, _TEXTS, _TENSORS = 4, 5, 9, 10
_FORBIDDEN = {6: "a graph inside", 11: "graphs inside", 21: "a reference", 22: "a sparse tensor"}
_FORBIDDEN |= {14: "a type", 15: "types", 23: "sparse tensors"}
_KINDS = {1: "float", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool"}
_KINDS |= {10: "float16", 11: "double", 12: "uint32", 13: "uint64", 16: "bfloat16", 21: "uint4", 22: "int4"}
_WHOLE, _STRING = (6, 7, 12, 13), 8


@dataclass
class _Constant:
    """What is known of a value that does not depend on the input."""

    elements: int  # at most
    whole: bool  # whether these are whole numbers, which may be a shape


@dataclass
class _Node:
    """What matters of an operator."""

    op: bytes = b""
    inputs: list[bytes] = field(default_factory=list)
    outputs: list[bytes] = field(default_factory=list)
    constant: _Constant | None = None  # in an attribute


def read_model(path: Path) -> bytes:
    """Read an ONNX file, once.

    Raises:
        BundleError: it cannot be read, or is larger than MOST_BYTES.
    """
    try:
        return read_at_most(path, MOST_BYTES)
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: {getattr(error, 'strerror', None) or one_line(error)}") from None


def check_model(content: bytes, where: str | os.PathLike[str]) -> bool:
    """Refuse an ONNX file that does more than compute; see the top of this file.

    Args:
        content: of the file.
        where: its path, for messages.

    Returns:
        Whether ONNX Runtime may compute its constants when it opens it. Else they are computed in each run, whose
        memory and time are limited.

    Raises:
        BundleError: it does, it is cut short, or no ONNX model.
    """
    try:
        return _Checker(content).run()
    except _RefusedError as error:
        raise BundleError(f"{where}: is not run: {printable(str(error))}") from None
    except ValueError as error:
        raise BundleError(f"{where}: cut short or not an ONNX model: {printable(one_line(error))}") from None


class _RefusedError(Exception):
    """Says what a sound file has that is not let in."""


class _Checker:
    """Walks through one file."""

    def __init__(self, content: bytes) -> None:
        self._data = content
        self._harmless: set[bytes] = set()  # attributes, as bytes: most are there many times
        self._constants: dict[bytes, _Constant] = {}
        self._known: set[bytes] = {b""}  # names that have a value by now
        self._folds, self._whole, self._computed = True, 0, 0
        self._seen, self._in_tensors = 0, 0

    def run(self) -> bool:
        """Check the whole file."""
        nodes, tensors, inputs = self._parts(*self._graph())
        for what, most, parts in (("nodes", _MOST_NODES, nodes), ("constants", _MOST_TENSORS, tensors)):
            if len(parts) > most:
                raise _RefusedError(f"has {len(parts)} {what}; at most {most} are")
        for start, end in tensors:
            name, constant = self._tensor(start, end)
            self._constants[name] = constant
        self._known.update(self._constants)
        self._known.update(self._text(start, end, 1) for start, end in inputs)
        held, names = sum(constant.elements for constant in self._constants.values()), 0
        for start, end in nodes:
            node = self._node(start, end)
            names += len(node.inputs) + len(node.outputs)
            if names > _MOST_NAMES:
                raise _RefusedError(f"its nodes have more than {_MOST_NAMES} inputs and outputs")
            self._follow(node)
        beside = len(self._data) - self._in_tensors
        if beside > _MOST_BESIDE:
            raise _RefusedError(f"has {beside} bytes beside its constants; at most {_MOST_BESIDE} are")
        return self._folds and self._computed <= held + _MOST_CONSTANTS

    def _graph(self) -> tuple[int, int]:
        """Find the graph. Two would be merged into one by protobuf, which nobody writes."""
        graphs = []
        for number, start, end in self._fields(0, len(self._data)):
            if number == _MODEL_GRAPH and start != NUMBER:
                graphs.append((start, end))
            elif number in (_MODEL_FUNCTIONS, _MODEL_TRAINING):
                raise _RefusedError(f"has {'functions' if number == _MODEL_FUNCTIONS else 'a part for training'}")
        if len(graphs) != 1:
            raise ValueError(f"it has {len(graphs) or 'no'} graph{'s' if graphs else ''}")
        return graphs[0]

    def _parts(self, start: int, end: int) -> tuple[list[tuple[int, int]], ...]:
        """List where the nodes, constants and inputs of the graph lie."""
        parts: dict[int, list[tuple[int, int]]] = {_GRAPH_NODE: [], _GRAPH_TENSOR: [], _GRAPH_INPUT: []}
        for number, begin, stop in self._fields(start, end):
            if number == _GRAPH_SPARSE:
                raise _RefusedError("has sparse constants")
            if number in parts and begin != NUMBER:
                parts[number].append((begin, stop))
        return tuple(parts.values())

    def _fields(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield the fields of a message, see `wire.fields`, unless there are too many in all."""
        for part in fields(self._data, start, end):
            self._seen += 1
            if self._seen > _MOST_FIELDS:
                raise _RefusedError(f"has more than {_MOST_FIELDS} parts")
            yield part

    def _text(self, start: int, end: int, wanted: int) -> bytes:
        text = b""
        for number, begin, stop in self._fields(start, end):
            if number == wanted and begin != NUMBER:
                text = self._data[begin:stop]
        return text

    def _node(self, start: int, end: int) -> _Node:
        """Read a node, and refuse what it may not be."""
        data, node, attributes = self._data, _Node(), []
        for number, begin, stop in self._fields(start, end):
            if begin == NUMBER:
                continue
            if number == _NODE_INPUT:
                node.inputs.append(data[begin:stop])
            elif number == _NODE_OUTPUT:
                node.outputs.append(data[begin:stop])
            elif number == _NODE_ATTRIBUTE:
                attributes.append((begin, stop))
            elif number == _NODE_OP:
                node.op = data[begin:stop]
            elif number == _NODE_DOMAIN and data[begin:stop] not in _DOMAINS:
                raise _RefusedError(f"has an operator of the domain {_words(data[begin:stop])}")
        if node.op not in _OPERATORS:
            raise _RefusedError(f"has the operator {_words(node.op)}, which is none of those that only compute")
        if node.op == b"Dropout" and any(node.inputs[2:]):  # the third input turns chance on
            raise _RefusedError("its operator 'Dropout' is that of a training")
        for begin, stop in attributes:
            self._attribute(node, begin, stop)
        return node

    def _attribute(self, node: _Node, start: int, end: int) -> None:
        content = self._data[start:end] if end - start < 256 and node.op not in (b"Constant", b"Cast") else b""
        if content and content in self._harmless:
            return
        tensors = 0
        for number, begin, stop in self._fields(start, end):
            if number in _FORBIDDEN:
                raise _RefusedError(f"its operator {_words(node.op)} has {_FORBIDDEN[number]}")
            if number in (_TENSOR, _TENSORS) and begin != NUMBER:
                tensors += 1
                node.constant = self._tensor(begin, stop)[1]
            elif number in (_TEXT, _TEXTS) and node.op == b"Constant":
                raise _RefusedError("has text as a constant")
            elif begin == NUMBER and stop == _STRING and number == 3 and node.op == b"Cast":
                raise _RefusedError("makes text of numbers")
        if tensors > 1:
            raise _RefusedError(f"its operator {_words(node.op)} has several constants inside")
        if node.op == b"Constant" and node.constant is None:
            node.constant = _Constant(end - start, whole=True)
        if content:
            self._harmless.add(content)

    def _tensor(self, start: int, end: int) -> tuple[bytes, _Constant]:
        """Read the name of a constant, its type and its elements; the bytes are not looked at."""
        name, kind, sizes = b"", 0, list[int]()
        self._in_tensors += end - start
        for number, begin, stop in self._fields(start, end):
            if number == 1:
                sizes.extend([stop] if begin == NUMBER else varints(self._data, begin, stop))
                if len(sizes) > _MOST_DIMENSIONS:
                    raise _RefusedError(f"a constant has more than {_MOST_DIMENSIONS} dimensions")
            elif number == 2 and begin == NUMBER:
                kind = stop
            elif number == 8 and begin != NUMBER:
                name = self._data[begin:stop]
            elif number == 13 or (number == 14 and stop != 0):
                raise _RefusedError("keeps data in another file; a model's weights must be in the file itself")
            elif number == 3:
                raise _RefusedError("has a constant in pieces")
        if kind not in _KINDS:
            raise _RefusedError(f"has a constant of type {'string' if kind == _STRING else kind}")
        elements = math.prod(sizes)
        if elements > 2 * (end - start):  # of 4 bits two are in a byte
            raise ValueError(f"a constant has {elements} elements and {end - start} bytes")
        if kind in _WHOLE and elements > _MOST_WHOLE:
            raise _RefusedError(f"has a constant of {elements} whole numbers; at most {_MOST_WHOLE} are")
        return name, _Constant(elements, kind in _WHOLE)

    def _follow(self, node: _Node) -> None:
        """Follow what depends on constants, and on shapes, which are constants where the graph fixes them."""
        if unknown := [name for name in node.inputs if name not in self._known]:
            raise ValueError(f"{_words(node.op)} reads {_words(unknown[0])}, which nothing gives before it")
        self._known.update(node.outputs)
        result = self._result(node)
        if result is None:
            return
        self._constants.update(dict.fromkeys(node.outputs, result))
        if result.whole:
            self._whole += result.elements
            if self._whole > _MOST_COMPUTED:
                raise _RefusedError("makes a large constant from small ones")
        else:
            self._computed += result.elements

    def _result(self, node: _Node) -> _Constant | None:
        """Bound what a node gives; None where it depends on the input, or its constants are not folded."""
        if node.op in (b"Shape", b"Size"):
            return _Constant(_MOST_DIMENSIONS, whole=True)
        if node.op == b"Constant":
            return node.constant or _Constant(0, whole=True)
        read = [self._constants.get(name) for name in node.inputs if name]
        known = [constant for constant in read if constant is not None]
        if len(known) < len(read):
            return None
        sizes, whole = [constant.elements for constant in known], all(constant.whole for constant in known)
        if node.op in _KEEPING and sizes:
            whole = known[0].whole and node.op != b"DequantizeLinear"
            return _Constant(sizes[0], whole)
        if node.op == b"Concat":
            return _Constant(sum(sizes), whole)
        if node.op in _PAIRING and (size := math.prod(max(1, size) for size in sizes)) <= _MOST_CONSTANTS:
            return _Constant(size, whole)
        self._folds = False
        return None


def _words(text: bytes) -> str:
    return shown(text.decode(errors="replace"), 60)
