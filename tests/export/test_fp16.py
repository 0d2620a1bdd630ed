"""Half precision: which nodes are halves, what stays single, and that the numbers hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from fdan_edge.config import Config
from fdan_edge.errors import ExportError
from fdan_edge.export.activation_ranges import probabilities
from fdan_edge.export.fp16 import largest_half, to_half
from fdan_edge.export.onnx_graph import WEIGHTED, Graph, check_graph, in_network
from fdan_edge.export.to_onnx import export_graph
from fdan_edge.models.fdan import AcousticPath, Fdan, build_frontend
from fdan_edge.runtime.deploy_targets import find_target
from fdan_edge.runtime.model_spec import ModelSpec
from fdan_edge.runtime.tensorrt.engines import build
from tests.helpers.graphs import WINDOW, model, network, waves

WHISPER = ["backbone=whisper_tiny", "weights=none", "encoder_layers=1", "window_seconds=0.5", "acoustic_path=bank"]
WHISPER += ["window_hop_seconds=0.5", "face_backbone=vgg8", "feature_size=16", "bank_per_class=2"]


def kinds(made: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(made).graph
    values = [*inferred.value_info, *inferred.input, *inferred.output]
    found = {value.name: value.type.tensor_type.elem_type for value in values}
    return found | {tensor.name: tensor.data_type for tensor in made.graph.initializer}


@pytest.fixture(scope="module")
def whisper() -> tuple[onnx.ModelProto, int]:
    """Whisper's first layer with cross-attention to a bank of faces, of random weights, and its window."""
    torch.manual_seed(0)
    config = Config.load(None, WHISPER)
    network = Fdan(config, 4, faces=True, pretrained=False).eval()
    torch.nn.init.normal_(network.bank_keys)
    torch.nn.init.normal_(network.bank_values)
    spec = ModelSpec(("a", "b", "c", "d"), config.sample_rate, config.window, config.window_hop, config.trim_db)
    return export_graph(AcousticPath(network, build_frontend(config), 1.5), spec), config.window


def test_the_layers_are_halves_and_the_rest_is_not() -> None:
    made = to_half(network())
    found = kinds(made)
    for node in made.graph.node:
        kind = found[node.output[0]]
        if node.op_type in WEIGHTED:
            assert {kind, found[node.input[1]]} == {TensorProto.FLOAT16}, node.name
        if not in_network(node):
            assert kind == TensorProto.FLOAT, node.name
    assert found["waveform"] == found["heard"] == found["probabilities"] == TensorProto.FLOAT
    assert sum(node.op_type == "Cast" for node in made.graph.node) == 2


def test_the_numbers_hold_and_the_graph_is_a_copy() -> None:
    single = network()
    before = single.SerializeToString()
    made = to_half(single)
    difference = np.abs(probabilities(made, waves(8)) - probabilities(single, waves(8))).max()
    assert 0 < difference < 5e-3
    assert single.SerializeToString() == before


def test_layers_can_be_kept_single() -> None:
    made = to_half(network(), frozenset(["backbone.block.conv2"]))
    found = kinds(made)
    assert found["c2"] == TensorProto.FLOAT
    assert found["c1"] == TensorProto.FLOAT16
    assert probabilities(made, waves(2)).shape == (2, 3)


def test_a_weight_beyond_the_range_is_refused_by_its_layer() -> None:
    with pytest.raises(ExportError, match=r"layer backbone\.block\.conv1 has a constant of .*65504"):
        to_half(network(scale=1e6))


def test_sums_and_squares_over_positions_stay_single(whisper: tuple[onnx.ModelProto, int]) -> None:
    single, window = whisper
    made = to_half(single)
    found, graph = kinds(made), Graph(made)
    of_network = [node for node in graph.nodes if in_network(node)]
    for op in ("ReduceSum", "Pow", "Sqrt"):
        nodes = [node for node in of_network if node.op_type == op]
        assert nodes
        assert {found[node.output[0]] for node in nodes} == {TensorProto.FLOAT}
    for node in of_network:
        if node.op_type in WEIGHTED:  # Turing has no product of singles
            assert {found[name] for name in node.input} == {TensorProto.FLOAT16}, node.name
    check_graph(made, find_target("jetson-jp6"))
    y = 0.1 * np.random.default_rng(0).standard_normal((3, window)).astype(np.float32)
    y[1, window // 2 :] = 0  # padding
    np.testing.assert_allclose(probabilities(made, y), probabilities(single, y), rtol=0, atol=5e-3)


@pytest.mark.rtx
def test_tensorrt_builds_it(whisper: tuple[onnx.ModelProto, int], tmp_path: Path) -> None:
    single, _ = whisper
    onnx.save(made := to_half(single), tmp_path / "m.onnx")
    assert build(tmp_path / "m.onnx", "rtx", "fp16").path.stat().st_size > 1e6
    assert isinstance(made, onnx.ModelProto)


def test_a_cast_to_float_inside_the_network_becomes_one_to_half() -> None:
    nodes = [
        helper.make_node("Mul", ["waveform", "one"], ["x"], "frontend/Mul"),
        helper.make_node("Gemm", ["x", "w"], ["y"], "model.classifier/Gemm"),
        helper.make_node("Greater", ["y", "one"], ["above"], "model/Greater"),
        helper.make_node("Cast", ["above"], ["count"], "model/Cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["y", "count"], ["kept"], "model/Mul"),
        helper.make_node("Softmax", ["kept"], ["probabilities"], "head/Softmax"),
    ]
    weight = np.random.default_rng(0).standard_normal((256, 3)).astype(np.float32) / 16
    single = model(nodes, {"one": np.array(1, np.float32), "w": weight})
    made = to_half(single)
    assert kinds(made)["count"] == TensorProto.FLOAT16
    np.testing.assert_allclose(probabilities(made, waves(4)), probabilities(single, waves(4)), atol=5e-3)


def test_what_a_half_cannot_hold_is_named() -> None:
    """ONNX Runtime on the CPU computes halves in fp32, where nothing overflows."""
    windows = np.random.default_rng(0).standard_normal((4, WINDOW)).astype(np.float32)
    single = network()
    made = to_half(single)
    largest = largest_half(single, made, windows)
    assert 0 < largest < 65504
    assert largest_half(single, made, 100 * windows) > 50 * largest
    with pytest.raises(ExportError, match=r"reaches .* on real clips, and a half holds 65504 at most"):
        largest_half(single, made, np.float32(1e6) * windows)
    with pytest.raises(ExportError, match="reaches nan"):
        largest_half(single, made, np.float32("nan") * windows)
