"""ONNX files that do more than compute: refused in a line before ONNX Runtime sees them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from fdan_edge.errors import BundleError
from fdan_edge.runtime import onnx_check
from fdan_edge.runtime.bundle import Bundle, write_manifest
from fdan_edge.runtime.model_spec import METADATA_KEY
from fdan_edge.runtime.onnx import OnnxRunner
from fdan_edge.runtime.onnx_check import MOST_BYTES, OPERATORS, check_model
from fdan_edge.runtime.opening import open_feature_runner, open_runner
from tests.helpers import bundles
from tests.helpers.tiny_models import SPEC, model
from tests.runtime.test_wire import varint

node = helper.make_node
FLOAT, WHOLE = TensorProto.FLOAT, TensorProto.INT64


def tensor(name: str, values: Any, kind: int = WHOLE) -> onnx.TensorProto:
    """A constant."""
    array: NDArray[Any] = np.array(values)
    return helper.make_tensor(name, kind, array.shape, array.ravel().tolist())


def graph(nodes: Sequence[onnx.NodeProto], constants: Sequence[onnx.TensorProto] = (), **others: Any) -> bytes:
    """A model whose answer is the softmax of the first samples plus `extra`, a scalar that `nodes` give."""
    taken = helper.make_tensor_value_info("waveform", FLOAT, ["batch", 4])
    given = helper.make_tensor_value_info("probabilities", FLOAT, ["batch", 2])
    places = [tensor("start", [0]), tensor("end", [2]), tensor("axis", [1])]
    last = [
        node("Slice", ["waveform", "start", "end", "axis"], ["first"]),
        node("Add", ["first", "extra"], ["shifted"]),
        node("Softmax", ["shifted"], ["probabilities"], axis=1),
    ]
    made = helper.make_graph([*nodes, *last], "g", [taken], [given], [*places, *constants])
    whole = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9, **others)
    helper.set_model_props(whole, {METADATA_KEY: SPEC.to_json()})
    content: bytes = whole.SerializeToString()
    return content


def summed(name: str) -> onnx.NodeProto:
    """The sum of a tensor of floats, as `extra`."""
    return node("ReduceSum", [name], ["extra"], keepdims=0)


def refusal(content: bytes) -> str:
    """Why a file is refused."""
    with pytest.raises(BundleError) as caught:
        check_model(content, "m.onnx")
    text = str(caught.value)
    assert text.startswith("m.onnx: ")
    assert text.isprintable()
    return text


def external(name: str = "extra", attribute: bool = False) -> bytes:
    """A file that keeps a constant elsewhere: as a weight, or in a node."""
    outside = tensor(name, 0.0, FLOAT)
    outside.data_location = TensorProto.EXTERNAL
    outside.ClearField("float_data")
    outside.external_data.add(key="location", value="other.bin")
    if attribute:
        return graph([node("Constant", [], ["extra"], value=outside)])
    return graph([], [outside])


def branching() -> bytes:
    inner = helper.make_graph(
        [node("Identity", ["start"], ["i"])], "i", [], [helper.make_tensor_value_info("i", WHOLE, [1])]
    )
    return graph([node("Neg", ["waveform"], ["n"], inner=inner), summed("n")])


def function() -> bytes:
    imports = [helper.make_opsetid("", 18)]
    made = helper.make_function("other", "F", ["x"], ["y"], [node("Neg", ["x"], ["y"])], imports)
    return graph([node("F", ["waveform"], ["n"], domain="other"), summed("n")], functions=[made])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (external(), "keeps data in another file"),
        (external(attribute=True), "keeps data in another file"),
        (branching(), "'Neg' has a graph inside"),
        (function(), "has functions"),
        (graph([node("Neg", ["waveform"], ["n"], domain="ai.other"), summed("n")]), "of the domain 'ai.other'"),
        (graph([node("RandomNormal", [], ["n"], shape=[9]), summed("n")]), "the operator 'RandomNormal'"),
        (graph([node("Dropout", ["waveform", "", "on"], ["n"]), summed("n")], [tensor("on", True)]), "a training"),
        (graph([node("N\x1b[31mg", ["waveform"], ["n"]), summed("n")]), r"the operator 'N\x1b[31mg'"),
        (graph([node("Neg", ["elsewhere"], ["n"]), summed("n")]), "reads 'elsewhere', which nothing gives"),
        (graph([summed("n"), node("Neg", ["waveform"], ["n"])]), "reads 'n', which nothing gives before it"),
        (graph([node("Cast", ["waveform"], ["n"], to=TensorProto.STRING)]), "makes text of numbers"),
        (graph([node("Constant", [], ["n"], value_strings=["a"])]), "has text as a constant"),
        (
            graph([], [onnx.TensorProto(name="t", data_type=TensorProto.STRING, dims=[1], string_data=[b"a"])]),
            "a constant of type string",
        ),
        (graph([], [onnx.TensorProto(name="t", data_type=FLOAT, dims=[1 << 40])]), "elements and"),
        (graph([], [onnx.TensorProto(name="t", data_type=FLOAT, dims=[-1])]), "elements and"),
        (graph([], [tensor("t", np.zeros(70_000, np.int64))]), "of 70000 whole numbers"),
        (graph([node("Neg", ["waveform"], [f"n{i}"]) for i in range(10_001)]), "nodes; at most 10000"),
        (b"", "it has no graph"),
        (graph([])[:-5], "longer than its message"),
        (b"\x3a\x00\x3a\x00", "it has 2 graphs"),
        (b"\x0b\x0c" * 100_000, "is of the kind 3"),
        (b"\xff" * 50, "a number does not end"),
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "longer than its message"),
    ],
)
def test_what_is_not_let_in(content: bytes, reason: str) -> None:
    assert reason in refusal(content)


@pytest.mark.parametrize("field", [b"\x2a\x00", b"\x0a\x00", b"\x6a\x00", b"\x08\x00"])
def test_parts_without_number(field: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty constants, nodes, descriptions, and what nobody knows: each is two bytes of a file."""
    monkeypatch.setattr(onnx_check, "_MOST_FIELDS", 5000)
    inside = field * 6000
    assert "more than 5000 parts" in refusal(b"\x3a" + varint(len(inside)) + inside)
    assert "more than 5000 parts" in refusal(b"\x72\x00" * 6000)


def test_what_is_no_weight_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime takes many bytes for each of a description."""
    monkeypatch.setattr(onnx_check, "_MOST_BESIDE", 5000)
    weights = tensor("w", np.zeros(3000), FLOAT)
    assert check_model(graph([summed("w")], [weights]), "m.onnx")
    described = graph([summed("w")], [weights], doc_string="a" * 5000)
    assert "bytes beside its constants; at most 5000" in refusal(described)


def test_answers_that_do_not_fit_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory is short, windows are run in parts; a graph may give something else of each."""

    def outputs(_self: OnnxRunner, _names: list[str], windows: NDArray[np.float32], _options: Any) -> list[Any]:
        if len(windows) > 2:
            raise MemoryError
        return [np.zeros((len(windows), len(windows)), np.float32)]

    monkeypatch.setattr(OnnxRunner, "_outputs", outputs)
    with (
        open_runner(model(tmp_path / "m.onnx"), threads=1) as runner,
        pytest.raises(BundleError, match=r"m\.onnx: gave answers that do not fit together"),
    ):
        runner.predict(np.zeros((3, 4), np.float32))


def doubled(first: str, axis: int, times: int) -> list[onnx.NodeProto]:
    """Nodes that make a tensor twice as long, again and again; the last is `d`."""
    names = [first, *(f"d{i}" for i in range(times - 1)), "d"]
    return [node("Concat", [a, a], [b], axis=axis) for a, b in itertools.pairwise(names)]


def test_shapes_that_grow_are_refused() -> None:
    """ONNX Runtime follows shapes while it opens a file, whatever they take."""
    nodes = [node("Shape", ["waveform"], ["s"]), *doubled("s", 0, 20), node("Cast", ["d"], ["f"], to=FLOAT)]
    assert "makes a large constant from small ones" in refusal(graph([*nodes, summed("f")]))


GROWING = {
    "expand": ([node("Expand", ["z", "n"], ["d"])], [1 << 28]),
    "tile": ([node("Tile", ["z", "n"], ["d"])], [1 << 28]),
    "filled": ([node("ConstantOfShape", ["n"], ["d"])], [1 << 28]),
    "joined": (doubled("z", 0, 28), [1]),
    "paired": (
        [*doubled("z", 0, 14)[:-1], node("Unsqueeze", ["d12", "one"], ["u"]), node("Mul", ["d12", "u"], ["d"])],
        [1],
    ),
}


@pytest.mark.parametrize("name", GROWING)
def test_constants_that_grow_are_left_to_the_run_and_its_limit(tmp_path: Path, name: str) -> None:
    nodes, size = GROWING[name]
    content = graph([*nodes, summed("d")], [tensor("z", [0.0], FLOAT), tensor("n", size), tensor("one", [1])])
    assert not check_model(content, "m.onnx")
    (tmp_path / "m.onnx").write_bytes(content)
    with open_runner(tmp_path / "m.onnx", threads=1) as runner:
        if name == "paired":  # of 64 million elements: within the limit
            assert runner.predict(np.zeros((1, 4), np.float32)).shape == (1, 2)
            return
        with pytest.raises(BundleError, match="a window needs more memory than a model may take"):
            runner.predict(np.zeros((1, 4), np.float32))


def test_sound_files_are_folded(bundle_folder: Path, tmp_path: Path) -> None:
    for path in (*bundle_folder.glob("*.onnx"), model(tmp_path / "m.onnx")):
        assert check_model(path.read_bytes(), path)


def test_operators_are_those_of_onnx() -> None:
    known = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    assert known >= OPERATORS
    assert not OPERATORS & {"Loop", "If", "Scan", "SequenceMap", "RandomNormal", "Bernoulli", "ImageDecoder"}


def test_every_way_to_open_refuses(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(external())
    write_manifest(tmp_path, bundles.manifest(bundles.artifact(path)))
    (tmp_path / "other.bin").write_bytes(bytes(4))
    for target in (path, tmp_path):
        for opened in (open_runner, open_feature_runner):
            with pytest.raises(BundleError, match="keeps data in another file"):
                opened(target)
    with pytest.raises(BundleError, match="keeps data in another file"):
        OnnxRunner(path)


def test_what_is_run_is_what_was_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is exchanged after the comparison changes nothing."""
    path = model(tmp_path / "model.onnx")
    write_manifest(tmp_path, bundles.manifest(bundles.artifact(path)))
    read = Bundle.read

    def exchanged(self: Bundle, name: str) -> bytes:
        content = read(self, name)
        (self.path / name).write_bytes(graph([node("Neg", ["waveform"], ["n"]), summed("n")]))
        return content

    monkeypatch.setattr(Bundle, "read", exchanged)
    with open_runner(tmp_path, threads=1) as runner:
        assert runner.predict(np.array([[0, 9, 9, 9]], np.float32))[0, 1] > 0.99


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.touch()
    os.truncate(path, MOST_BYTES + 1)
    with pytest.raises(BundleError, match="is larger than 512 MB"):
        open_runner(path)
