"""Pairs of QuantizeLinear and DequantizeLinear: where they stand in each format, and that the numbers hold."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

from fdan_edge.export.activation_ranges import METHODS, Range, collect, probabilities
from fdan_edge.export.int8 import FORMATS, plan, quantize
from fdan_edge.export.onnx_graph import Graph, check_graph, in_network
from fdan_edge.runtime.deploy_targets import S8S8, U8S8, find_target
from fdan_edge.runtime.tensorrt.engines import build
from tests.helpers.graphs import network, waves


def ranges(form: str, method: str = "minmax") -> dict[str, Range]:
    found = collect(network(), plan(network(), form).tensors, waves(32))
    return {name: histogram.range(method) for name, histogram in found.items()}


def quantised(form: str, kept: frozenset[str] = frozenset(), *, half: bool = True) -> onnx.ModelProto:
    return quantize(network(), plan(network(), form, kept), ranges(form), form, half=half)


def weights(made: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("method", METHODS)
def test_the_numbers_hold(form: str, method: str) -> None:
    single, y = network(), waves(16, seed=3)
    made = quantize(single, plan(single, form), ranges(form, method), form)
    difference = np.abs(probabilities(made, y) - probabilities(single, y))
    assert 0 < difference.max() < 0.1
    assert difference.mean() < 0.02


@pytest.mark.parametrize("form", FORMATS)
def test_front_end_classifier_and_softmax_stay_as_they_are(form: str) -> None:
    made = quantised(form, half=False)
    graph = Graph(made)
    for node in graph.nodes:
        if not in_network(node) or node.name == "model.classifier/Gemm":
            makers = [graph.producer[name].op_type for name in graph.computed(node) if name in graph.producer]
            assert "DequantizeLinear" not in makers, node.name
    assert "kw" in graph.constants


def test_u8s8_is_in_8_bits_from_the_first_layer_to_the_bottleneck(tmp_path: Path) -> None:
    made = quantised(U8S8)
    assert not {"Relu", "Clip"} & {node.op_type for node in made.graph.node}  # inside the ranges
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    ops = Counter(node.op_type for node in onnx.load(str(tmp_path / "fused.onnx")).graph.node)
    assert ops["QLinearConv"] == 3
    assert ops["QLinearAdd"] == ops["QLinearGlobalAveragePool"] == ops["QGemm"] == 1
    assert ops["QuantizeLinear"] == 1
    assert not ops["Conv"]


def test_u8s8_has_unsigned_activations_and_weights_of_7_bits() -> None:
    found = weights(quantised(U8S8))
    assert found["r0_zero"].dtype == np.uint8
    assert found["r0_zero"] == 0
    assert found["heard_zero"] > 0
    whole = found["model.acoustic.backbone.stem/Conv/weight_quantized"]
    assert whole.dtype == np.int8
    assert abs(whole).reshape(8, -1).max(axis=1).tolist() == [63] * 8  # every channel has its own step
    assert found["model.acoustic.backbone.stem/Conv/bias_quantized"].dtype == np.int32


def test_s8s8_is_around_0_with_biases_left_alone() -> None:
    made = quantised(S8S8)
    found = weights(made)
    zeros = [value for name, value in found.items() if name.endswith("_zero")]
    assert zeros
    assert all(value.dtype == np.int8 and not value.any() for value in zeros)
    assert not any(value.dtype == np.int32 for value in found.values())
    steps = [value for name, value in found.items() if name.endswith("_scale_half")]
    assert steps
    assert all(value.dtype == np.float16 and value.all() for value in steps)
    assert made.opset_import[0].version == 19
    check_graph(made, find_target("jetson-jp6"))


def test_s8s8_reads_the_skip_of_a_sum_in_8_bits_and_not_the_convolution() -> None:
    graph = Graph(quantised(S8S8))
    add = next(node for node in graph.nodes if node.name == "model.acoustic.backbone.block/Add")
    assert [graph.producer[name].op_type for name in add.input] == ["Conv", "DequantizeLinear"]
    conv = next(node for node in graph.nodes if node.name == "model.acoustic.backbone.block.conv1/Conv")
    assert conv.input[0] == add.input[1]  # one pair serves both


def test_steps_in_half_precision_are_those_that_weights_were_rounded_to() -> None:
    made = quantised(S8S8, half=False)
    steps = [value for name, value in weights(made).items() if name.endswith("_scale")]
    assert all(np.array_equal(value.astype(np.float16).astype(np.float32), value) for value in steps)


@pytest.mark.parametrize("form", FORMATS)
def test_layers_that_are_kept_have_their_weights(form: str) -> None:
    kept = frozenset(["backbone.block.conv1"])
    found = weights(quantised(form, kept, half=False))
    assert found["model.acoustic.backbone.block.conv1.weight"].dtype == np.float32
    assert "model.acoustic.backbone.block.conv2.weight" not in found
    assert "backbone.block.conv1" not in plan(network(), form, kept).layers


def test_a_channel_without_weights_does_not_overflow_its_bias() -> None:
    single = network()
    weight = next(t for t in single.graph.initializer if t.name == "model.acoustic.backbone.block.conv1.weight")
    values = numpy_helper.to_array(weight).copy()
    values[0] = 1e-12
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    wanted = plan(single, U8S8)
    found = {name: h.range("minmax") for name, h in collect(single, wanted.tensors, waves(8)).items()}
    made = quantize(single, wanted, found, U8S8)
    np.testing.assert_allclose(probabilities(made, waves(8)), probabilities(single, waves(8)), atol=0.1)


@pytest.mark.rtx
def test_tensorrt_builds_s8s8(tmp_path: Path) -> None:
    onnx.save(quantised(S8S8), tmp_path / "m.onnx")
    assert build(tmp_path / "m.onnx", "rtx", "int8").path.stat().st_size > 1000


def test_types_of_what_runs() -> None:
    assert {t.data_type for t in quantised(U8S8).graph.initializer} >= {TensorProto.INT8, TensorProto.UINT8}
