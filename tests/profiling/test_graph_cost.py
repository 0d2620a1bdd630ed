"""What graphs cost: figures worked out by hand, and PyTorch's own counter on whole models."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from fdan_edge.config import Config
from fdan_edge.errors import ExportError
from fdan_edge.models.fdan import AcousticPath, Fdan, build_frontend
from fdan_edge.profiling.graph_cost import cost
from fdan_edge.runtime.model_spec import ModelSpec
from fdan_edge.runtime.typed_json import to_json
from tests.helpers.exported import write_onnx
from tests.helpers.operations import check_operations


def model(
    nodes: list[onnx.NodeProto],
    weights: dict[str, NDArray[Any]],
    shape: tuple[int | str, ...],
    kind: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A graph from `x` of a shape to `y`."""
    made = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    ends = [helper.make_tensor_value_info("x", kind, shape), helper.make_tensor_value_info("y", kind, None)]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], made)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def zeros(*shape: int, dtype: Any = np.float32) -> NDArray[Any]:
    return np.zeros(shape, dtype)


def convolution(groups: int = 1, weight: str = "w", x: str = "x", y: str = "c") -> onnx.NodeProto:
    return helper.make_node("Conv", [x, weight], [y], name=f"net.{y}/Conv", group=groups, pads=[1, 1, 1, 1])


def test_convolution_with_what_follows_it_is_one_kernel() -> None:
    nodes = [
        convolution(),
        helper.make_node("Add", ["c", "b"], ["a"], name="add"),
        helper.make_node("Relu", ["a"], ["y"], name="relu"),
    ]
    made = cost(model(nodes, {"w": zeros(8, 3, 3, 3), "b": zeros(8, 1, 1)}, ("batch", 3, 10, 20)))
    (layer,) = made.layers
    out = 8 * 10 * 20
    assert (layer.name, layer.op, layer.nodes, layer.precision) == ("net.c/Conv", "Conv", 3, "fp32")
    assert layer.macs == out * 3 * 9
    assert layer.operations == 2 * out * 27 + 2 * out
    assert layer.weight_bytes == 4 * (8 * 27 + 8)
    assert (layer.read_bytes, layer.write_bytes) == (4 * 600, 4 * out)
    # One by one: the image and two weights in, and each of three results out and, but for the last, in again.
    assert layer.unfused_bytes == 4 * (600 + 8 * 27 + 8 + 5 * out)
    sums = to_json(made.total)
    assert sums == {"kernels": 1} | {name: getattr(layer, name) for name in sums if name != "kernels"}


def test_groups_divide_the_work() -> None:
    (layer,) = cost(model([convolution(4, y="y")], {"w": zeros(4, 1, 3, 3)}, (1, 4, 6, 6))).layers
    assert layer.macs == 4 * 36 * 9


def test_what_two_read_is_not_fused() -> None:
    nodes = [
        convolution(),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        convolution(x="r", y="d"),
        helper.make_node("Add", ["d", "r"], ["y"], name="residual"),
    ]
    first, second = cost(model(nodes, {"w": zeros(3, 3, 3, 3)}, (1, 3, 8, 8))).layers
    assert (first.nodes, second.nodes) == (2, 2)
    size = 4 * 3 * 64
    assert (first.read_bytes, first.write_bytes) == (size, size)
    assert (second.read_bytes, second.write_bytes) == (size, size)  # `r` is read once for both


@pytest.mark.parametrize("flipped", [0, 1])
def test_gemm_and_matmul(flipped: int) -> None:
    shape = (7, 5) if flipped else (5, 7)
    gemm = helper.make_node("Gemm", ["x", "w", "b"], ["g"], name="gemm", transA=flipped)
    product = helper.make_node("MatMul", ["g", "v"], ["y"], name="matmul")
    made = cost(model([gemm, product], {"w": zeros(7, 3), "b": zeros(3), "v": zeros(3, 11)}, shape))
    assert [layer.macs for layer in made.layers] == [5 * 7 * 3, 5 * 3 * 11]
    assert made.layers[0].weight_bytes == 4 * (21 + 3)


def test_views_are_free_and_keep_the_shape_that_counts() -> None:
    flat = helper.make_node("Flatten", ["x"], ["f"], name="flatten")
    gemm = helper.make_node("Gemm", ["f", "w"], ["y"], name="gemm")
    (layer,) = cost(model([flat, gemm], {"w": zeros(12, 2)}, (1, 3, 2, 2))).layers
    assert (layer.name, layer.macs, layer.read_bytes) == ("gemm", 24, 48)


def test_moving_data_takes_bytes_and_no_operations() -> None:
    nodes = [
        helper.make_node("Slice", ["x", "start", "end"], ["s"], name="slice"),
        helper.make_node("Transpose", ["s"], ["y"], name="transpose", perm=[1, 0]),
    ]
    ends = {"start": np.array([0, 0], np.int64), "end": np.array([2, 3], np.int64)}
    picked, turned = cost(model(nodes, ends, (4, 6))).layers
    assert (picked.operations, picked.read_bytes, picked.write_bytes) == (0, 24, 24)
    assert (turned.operations, turned.read_bytes, turned.write_bytes) == (0, 24, 24)


def test_what_depends_on_shapes_only_is_folded() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], name="shape"),
        helper.make_node("Mul", ["s", "two"], ["t"], name="mul"),
        helper.make_node("Relu", ["x"], ["y"], name="relu"),
    ]
    made = cost(model(nodes, {"two": np.array([2], np.int64)}, (1, 4)))
    assert [layer.name for layer in made.layers] == ["relu"]


def test_int8_by_q_and_dq_moves_bytes_not_floats() -> None:
    weights = {
        "s": np.float32(0.1), "z": np.uint8(128), "zw": np.int8(0), "w8": zeros(8, 3, 3, 3, dtype=np.int8),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="q"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], name="dq"),
        helper.make_node("DequantizeLinear", ["w8", "s", "zw"], ["w"], name="dqw"),
        convolution(x="d"),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("QuantizeLinear", ["r", "s", "z"], ["q2"], name="q2"),
        helper.make_node("DequantizeLinear", ["q2", "s", "z"], ["y"], name="dq2"),
    ]
    arrays = {name: np.asarray(value) for name, value in weights.items()}
    first, layer = cost(model(nodes, arrays, (1, 3, 10, 20))).layers
    assert (first.op, first.precision) == ("QuantizeLinear", "fp32")
    assert (first.read_bytes, first.write_bytes) == (4 * 600, 600)
    assert (layer.op, layer.nodes, layer.precision) == ("Conv", 3, "int8")
    assert (layer.read_bytes, layer.write_bytes) == (600, 8 * 200)
    assert layer.weight_bytes == 8 * 27 + 4 + 1  # and the scale and zero point of what comes out


def test_half_precision() -> None:
    half = model(
        [convolution(y="y")], {"w": zeros(8, 3, 3, 3, dtype=np.float16)}, (1, 3, 4, 4), TensorProto.FLOAT16
    )
    (layer,) = cost(half).layers
    assert (layer.precision, layer.weight_bytes, layer.read_bytes) == ("fp16", 2 * 216, 2 * 48)


def test_a_shape_that_is_not_known() -> None:
    unknown = helper.make_node("Mystery", ["x"], ["m"], name="m", domain="other")
    graph = model([unknown, helper.make_node("Relu", ["m"], ["y"], name="relu")], {}, (1, 4))
    graph.opset_import.append(helper.make_opsetid("other", 1))
    with pytest.raises(ExportError, match="the shape of 'm' is not known"):
        cost(graph)


@pytest.mark.slow
def test_as_many_operations_as_pytorch_counts(tmp_path: Any) -> None:
    """Of convolutions; of attention: tests/models/backbones/test_whisper.py."""
    config = Config.load(None, ["backbone=mobilenet_v2_tiny", "weights=none"])
    network = Fdan(config, 7, faces=False, pretrained=False)
    path = AcousticPath(network, build_frontend(config)).eval()
    spec = ModelSpec(tuple("abcdefg"), config.sample_rate, config.window, config.window_hop, 0.0)
    write_onnx(path, spec, tmp_path / "m.onnx")
    check_operations(network, path, config.window, tmp_path / "m.onnx")
