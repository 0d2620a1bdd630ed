"""Whether a target can read a graph: opset, ops, types, zero points, each refused by name."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import TensorProto, helper

from fdan_edge.errors import ExportError
from fdan_edge.export.onnx_graph import Graph, check_graph, in_network, layer_of, splice
from fdan_edge.runtime.deploy_targets import TARGETS, find_target
from tests.helpers.graphs import model, network


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_reads_a_plain_network(name: str) -> None:
    check_graph(network(), find_target(name))


def test_an_op_that_a_target_lacks_is_named_with_its_node() -> None:
    constants = {"step": np.array(64), "length": np.array(128)}
    made = model([helper.make_node("STFT", ["waveform", "step", "", "length"], ["p"], "frontend/STFT")], constants)
    with pytest.raises(ExportError, match=r"target jetson-jp6 .*op STFT \(node frontend/STFT\)"):
        check_graph(made, find_target("jetson-jp6"))
    check_graph(made, find_target("jetson-jp7"))


def test_a_tensor_of_double_is_refused_with_what_made_it() -> None:
    node = helper.make_node("Cast", ["waveform"], ["probabilities"], "head/Cast", to=TensorProto.DOUBLE)
    made = model([node], {}, kind=TensorProto.DOUBLE)
    with pytest.raises(
        ExportError, match=r"tensor probabilities is of type DOUBLE, made by Cast \(node head/Cast\)"
    ):
        check_graph(made, find_target("rtx"))
    check_graph(made, find_target("cpu"))


def test_an_opset_beyond_a_target_is_refused() -> None:
    with pytest.raises(ExportError, match="opset 25; valid: 9 to 20"):
        check_graph(network(opset=25), find_target("jetson-jp6"))


def test_ops_of_other_domains_are_refused() -> None:
    made = network()
    made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(ExportError, match=r"com\.microsoft"):
        check_graph(made, find_target("rtx"))


@pytest.mark.parametrize("zero", [0, 3])
def test_zero_points_other_than_0_are_for_cpus_alone(zero: int) -> None:
    constants: dict[str, np.ndarray] = {"s": np.array(0.1, np.float32), "z": np.array(zero, np.int8)}
    nodes = [
        helper.make_node("QuantizeLinear", ["waveform", "s", "z"], ["q"], "a/QuantizeLinear"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["probabilities"], "a/DequantizeLinear"),
    ]
    made = model(nodes, constants)
    check_graph(made, find_target("cpu"))
    if zero:
        with pytest.raises(ExportError, match=r"QuantizeLinear \(node a/QuantizeLinear\) has a zero point"):
            check_graph(made, find_target("rtx"))
    else:
        check_graph(made, find_target("rtx"))


def test_layers_are_called_as_people_know_them() -> None:
    graph = Graph(network())
    names = [layer_of(node) for node in graph.nodes if in_network(node) and graph.has_weights(node)]
    blocks = ["backbone.stem", "backbone.block.conv1", "backbone.block.conv2"]
    assert names == [*blocks, "bottleneck.0", "classifier"]


def test_questions_about_a_graph() -> None:
    made = network()
    graph = Graph(made)
    add = next(node for node in graph.nodes if node.op_type == "Add")
    assert graph.computed(add) == ["c2", "r0"]
    assert [node.op_type for node in graph.readers["r0"]] == ["Conv", "Add"]
    assert not graph.has_weights(add)
    assert isinstance(made, onnx.ModelProto)


def test_a_network_behind_another_front_end() -> None:
    """Names of constants and tensors may be the same in both."""
    constants = {"gain": np.array(3, np.float32), "shape": np.array([0, 1, 16, 16]), "unused": np.zeros(1)}
    nodes = [
        helper.make_node("Mul", ["waveform", "gain"], ["grid"], "frontend/Mul"),
        helper.make_node("Reshape", ["grid", "shape"], ["decibel"], "frontend/Reshape"),
    ]
    made = splice(network(), model(nodes, constants, output="decibel"))
    assert [node.name for node in made.graph.node][:3] == [
        "frontend/Mul",
        "frontend/Reshape",
        "model.acoustic/Mul",
    ]
    names = {tensor.name for tensor in made.graph.initializer}
    assert {"gain", "frontend:gain", "frontend:shape"} <= names
    assert not {"shape", "frontend:unused"} & names
    x = np.random.default_rng(0).standard_normal((2, 256)).astype(np.float32)
    expected = onnx.reference.ReferenceEvaluator(network()).run(None, {"waveform": 3 * x})
    got = onnx.reference.ReferenceEvaluator(made).run(None, {"waveform": x})
    np.testing.assert_allclose(np.asarray(got), np.asarray(expected), rtol=1e-5)


def test_a_network_that_reads_two_tensors_of_the_front_end() -> None:
    made = network()
    made.graph.node[0].name, made.graph.node[1].name = "frontend/Reshape", "frontend/Mul"
    made.graph.node[3].input[0] = "grid"
    with pytest.raises(ExportError, match="reads 2 tensors of the front end"):
        splice(made, network())
