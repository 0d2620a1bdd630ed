"""ONNX files that a stranger may hand in: they fail, lie, take memory or never end."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fdan_edge.runtime.model_spec import METADATA_KEY
from fdan_edge.runtime.runner import INPUT, OUTPUT
from tests.attack.place import SPEC

ESCAPES = "\x1b[31mred\x1b]0;title\x07"  # would colour a terminal, and name its window
_OPSET = 18
_CLASSES = len(SPEC.labels)

Make = Callable[[], bytes]


def fails_when_run() -> bytes:
    """A node that is given an index beyond its data; its name has control characters."""
    index = _constant("index", np.array([10**9], np.int64))
    bad = helper.make_node("Gather", [INPUT, "index"], ["picked"], axis=1, name=ESCAPES)
    return _model([bad, helper.make_node("Concat", ["picked", "picked"], [OUTPUT], axis=1)], [index])


def names_with_escapes() -> bytes:
    """A node that does not fit its input, with control characters in its name and in a name of a value."""
    return _model([helper.make_node("MatMul", [INPUT, ESCAPES], [OUTPUT], name=ESCAPES)])


def not_a_number() -> bytes:
    """Probabilities that are NaN."""
    return _scaled(np.nan)


def infinite() -> bytes:
    """Probabilities that are infinite."""
    return _scaled(np.inf)


def beyond_one() -> bytes:
    """Probabilities of 369806 %."""
    return _scaled(3698.06)


def negative() -> bytes:
    """Probabilities below 0."""
    return _scaled(-1.0)


def of_no_sum() -> bytes:
    """Probabilities that are all 0."""
    return _scaled(0.0)


def strings() -> bytes:
    """An output of texts."""
    return _cast(TensorProto.STRING)


def doubles() -> bytes:
    """An output of float64."""
    return _cast(TensorProto.DOUBLE)


def more_classes_than_labels() -> bytes:
    """Three columns, although the graph's shape leaves it open and there are two labels."""
    return _model([*_softmax("p"), helper.make_node("Concat", ["p", "p"], [OUTPUT], axis=1)], classes="open")


def more_rows_than_windows() -> bytes:
    """A million rows for a window."""
    repeats = _constant("repeats", np.array([1_000_000, 1], np.int64))
    return _model([*_softmax("p"), helper.make_node("Tile", ["p", "repeats"], [OUTPUT])], [repeats])


def eight_gigabytes() -> bytes:
    """A constant of 8 GB that is made when the graph is run."""
    return _filled(1 << 31)


def a_terabyte() -> bytes:
    """A constant of 2^50 elements."""
    return _filled(1 << 50)


def endless_loop() -> bytes:
    """A loop of 2^63 - 1 turns."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["condition"], ["go_on"]),
            helper.make_node("Add", ["value", "value"], ["next"]),
        ],
        "body",
        [_value("turn", TensorProto.INT64, []), _value("condition", TensorProto.BOOL, []), _value("value")],
        [_value("go_on", TensorProto.BOOL, []), _value("next")],
    )
    constants = [_constant("turns", np.array(2**63 - 1, np.int64)), _constant("yes", np.array(True))]
    loop = helper.make_node("Loop", ["turns", "yes", INPUT], ["looped"], body=body)
    return _model([loop, *_softmax(OUTPUT, "looped")], constants)


def long_products() -> bytes:
    """A thousand products of matrices of 4096 x 4096: minutes on any machine, without a loop."""
    shape = _constant("shape", np.array([4096, 4096], np.int64))
    nodes = [helper.make_node("ConstantOfShape", ["shape"], ["m0"])]
    nodes += [helper.make_node("MatMul", [f"m{n}", "m0"], [f"m{n + 1}"]) for n in range(1000)]
    zero = helper.make_node("ReduceMax", ["m1000"], ["zero"], keepdims=0)
    return _model([*nodes, zero, *_softmax("p"), helper.make_node("Add", ["p", "zero"], [OUTPUT])], [shape])


def doubling_functions() -> bytes:
    """Thirty functions, each of which calls the one before twice: 2^30 nodes once they are unrolled."""
    imports, domain = [helper.make_opsetid("", _OPSET)], "attack"
    functions = [
        helper.make_function(domain, "f0", ["x"], ["y"], [helper.make_node("Neg", ["x"], ["y"])], imports)
    ]
    imports = [*imports, helper.make_opsetid(domain, 1)]
    for level in range(1, 31):
        calls = [
            helper.make_node(f"f{level - 1}", [taken], [given], domain=domain)
            for taken, given in (("x", "m"), ("m", "y"))
        ]
        functions.append(helper.make_function(domain, f"f{level}", ["x"], ["y"], calls, imports))
    call = helper.make_node("f30", [INPUT], ["called"], domain=domain)
    return _model([call, *_softmax(OUTPUT, "called")], functions=functions, imports=imports)


def nested_branches() -> bytes:
    """Twenty-five branches, each within another."""
    inner = helper.make_graph([helper.make_node("Identity", [INPUT], ["b0"])], "b0", [], [_value("b0")])
    for level in range(1, 25):
        node = helper.make_node(
            "If", ["yes"], [f"b{level}"], then_branch=inner, else_branch=inner if level < 3 else _leaf(level)
        )
        inner = helper.make_graph([node], f"b{level}", [], [_value(f"b{level}")])
    branch = helper.make_node("If", ["yes"], ["branched"], then_branch=inner, else_branch=_leaf(25))
    return _model([branch, *_softmax(OUTPUT, "branched")], [_constant("yes", np.array(True))])


def of_another_domain() -> bytes:
    """An operator of somebody's own library."""
    node = helper.make_node("Run", [INPUT], [OUTPUT], domain="ai.attack")
    return _model([node], imports=[helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.attack", 1)])


def impossible_rate() -> bytes:
    """Metadata with a sample rate of 2^62 Hz."""
    return _with_metadata(sample_rate=1 << 62)


def window_of_years() -> bytes:
    """Metadata with a window of 2^40 samples, and a graph that takes any."""
    return _with_metadata(samples="any", window=1 << 40)


def labels_with_escapes() -> bytes:
    """Labels with control characters and HTML."""
    return _with_metadata(labels=[ESCAPES, "<img src=x onerror=alert(1)>"])


#: By name; each must be refused, or answered as a sound one is.
HOSTILE: dict[str, Make] = {
    make.__name__.replace("_", "-"): make
    for make in (
        *(fails_when_run, names_with_escapes, not_a_number, infinite, beyond_one, negative, of_no_sum),
        *(strings, doubles, more_classes_than_labels, more_rows_than_windows, eight_gigabytes, a_terabyte),
        *(endless_loop, long_products, doubling_functions, nested_branches, of_another_domain),
        *(impossible_rate, window_of_years, labels_with_escapes),
    )
}


def with_external_data(location: str, size: int) -> bytes:
    """Return a model whose weights are in another file.

    Args:
        location: of the file, as the model names it.
        size: bytes of it.
    """
    tensor = numpy_helper.from_array(np.zeros(_CLASSES, np.float32), "bias")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": str(size)}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return _model([*_softmax("p"), helper.make_node("Add", ["p", "bias"], [OUTPUT])], [tensor])


def _model(
    nodes: Sequence[onnx.NodeProto],
    constants: Sequence[onnx.TensorProto] = (),
    *,
    kind: int = TensorProto.FLOAT,
    samples: int | str = SPEC.window,
    classes: int | str = _CLASSES,
    metadata: str = "",
    functions: Sequence[onnx.FunctionProto] = (),
    imports: Sequence[onnx.OperatorSetIdProto] = (),
) -> bytes:
    """Return a model that takes and gives what a sound one does, unless told otherwise."""
    taken, given = _value(INPUT, shape=["batch", samples]), _value(OUTPUT, kind, ["batch", classes])
    graph = helper.make_graph(list(nodes), "hostile", [taken], [given], list(constants))
    model = helper.make_model(
        graph,
        opset_imports=list(imports) or [helper.make_opsetid("", _OPSET)],
        ir_version=9,
        functions=list(functions),
    )
    helper.set_model_props(model, {METADATA_KEY: metadata or SPEC.to_json()})
    content: bytes = model.SerializeToString()
    return content


def _with_metadata(samples: int | str = SPEC.window, **changes: Any) -> bytes:
    values = SPEC.to_dict() | changes
    return _model([*_softmax(OUTPUT)], samples=samples, metadata=json.dumps(values))


def _softmax(given: str, taken: str = INPUT) -> list[onnx.NodeProto]:
    """Probabilities from the means of the two halves of a window."""

    def constant(name: str, value: int) -> onnx.NodeProto:
        return helper.make_node("Constant", [], [f"{name}_{given}"], value_ints=[value])

    names = [f"{name}_{given}" for name in ("begin", "end", "axis")]
    return [
        constant("begin", 0),
        constant("end", _CLASSES),
        constant("axis", 1),
        helper.make_node("Slice", [taken, *names], [f"first_{given}"]),
        helper.make_node("Softmax", [f"first_{given}"], [given], axis=1),
    ]


def _scaled(factor: float) -> bytes:
    by = _constant("factor", np.array(factor, np.float32))
    return _model([*_softmax("p"), helper.make_node("Mul", ["p", "factor"], [OUTPUT])], [by])


def _cast(kind: int) -> bytes:
    return _model([*_softmax("p"), helper.make_node("Cast", ["p"], [OUTPUT], to=kind)], kind=kind)


def _filled(elements: int) -> bytes:
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], ["large"]),
        helper.make_node("ReduceMax", ["large"], ["zero"], keepdims=0),
        *_softmax("p"),
        helper.make_node("Add", ["p", "zero"], [OUTPUT]),
    ]
    return _model(nodes, [_constant("size", np.array([elements], np.int64))])


def _leaf(number: int) -> onnx.GraphProto:
    name = f"leaf{number}"
    return helper.make_graph([helper.make_node("Identity", [INPUT], [name])], name, [], [_value(name)])


def _constant(name: str, value: np.ndarray[Any, Any]) -> onnx.TensorProto:
    return numpy_helper.from_array(value, name)


def _value(
    name: str, kind: int = TensorProto.FLOAT, shape: Sequence[int | str] | None = None
) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)
