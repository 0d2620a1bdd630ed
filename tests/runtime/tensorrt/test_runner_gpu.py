"""TensorRT's runners on a real GPU: `make gpu` runs this on machines that have one. Not yet run anywhere.

A GPU that a flavour does not run on is skipped with the reason: TensorRT for RTX has nothing for an H100.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fdan_edge.runtime.model_spec import METADATA_KEY, ModelSpec
from fdan_edge.runtime.tensorrt.compatibility import MODULES, lacks, misfit, this_machine

pytestmark = pytest.mark.gpu

SPEC = ModelSpec(("angry", "neutral", "sad"), 16000, 1600, 800, 40.0)
SHAPES = {"conv.weight": (8, 1, 25), "conv.bias": (8,), "head.weight": (3, 8), "head.bias": (3,)}
WINDOWS = np.random.default_rng(1).standard_normal((40, SPEC.window)).astype(np.float32)


def weights() -> dict[str, np.ndarray]:
    chance = np.random.default_rng(0)
    return {name: (0.5 * chance.standard_normal(shape)).astype(np.float32) for name, shape in SHAPES.items()}


def expected(windows: np.ndarray) -> np.ndarray:
    """The network's probabilities, by PyTorch in float64."""
    torch = pytest.importorskip("torch")
    values = {name: torch.from_numpy(value).double() for name, value in weights().items()}
    heard = torch.from_numpy(windows).double()[:, None]
    heard = torch.conv1d(heard, values["conv.weight"], values["conv.bias"], stride=5).relu().mean(2)
    return np.asarray((heard @ values["head.weight"].T + values["head.bias"]).softmax(1).numpy())


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    """The same network as an ONNX file."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    axis = helper.make_tensor("axis", onnx.TensorProto.INT64, [1], [1])
    nodes = [
        helper.make_node("Unsqueeze", ["waveform", "axis"], ["channel"]),
        helper.make_node("Conv", ["channel", "conv.weight", "conv.bias"], ["heard"], strides=[5]),
        helper.make_node("Relu", ["heard"], ["positive"]),
        helper.make_node("GlobalAveragePool", ["positive"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["features"]),
        helper.make_node("Gemm", ["features", "head.weight", "head.bias"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("waveform", kind, ["batch", SPEC.window])],
        [helper.make_tensor_value_info("probabilities", kind, ["batch", len(SPEC.labels)])],
        [axis, *(onnx.numpy_helper.from_array(value, name) for name, value in weights().items())],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(made, {METADATA_KEY: SPEC.to_json()})
    onnx.save(made, tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


@pytest.fixture(params=["trt", "rtx"])
def engine(
    request: pytest.FixtureRequest, onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[bytes, Any]:
    """An engine of the network that was built on this machine."""
    flavour = request.param
    for module in (MODULES[flavour], "pycuda.driver", "rich"):
        pytest.importorskip(module)
    from fdan_edge.runtime.tensorrt.engines import build_cached, fingerprint_for

    monkeypatch.setenv("FDAN_EDGE_CACHE", str(tmp_path / "cache"))
    machine = this_machine(flavour)
    if reason := lacks(machine) or misfit(fingerprint_for(machine, "fp32", "0" * 64), machine):
        pytest.skip(reason)
    return build_cached(onnx_file, machine, "fp32")


def opened(engine: tuple[bytes, Any]) -> Any:
    from fdan_edge.runtime.tensorrt.runner import TensorRtRunner

    content, made = engine
    return TensorRtRunner(content, made.fingerprint, SPEC, made.path, made.path.with_suffix(".jit"))


def test_the_same_numbers_as_pytorch(engine: tuple[bytes, Any], capsys: pytest.CaptureFixture[str]) -> None:
    wanted = expected(WINDOWS)
    with opened(engine) as runner:
        for size in (1, 2, 1, 16, 16, 16, 2, 1, 40, 40, 7):  # three in a row: run, recorded, launched
            np.testing.assert_allclose(runner.predict(WINDOWS[:size]), wanted[:size], atol=1e-4)
            assert all(milliseconds > 0 for milliseconds in runner.times.values())
        if "RTX" not in runner.name:  # which records by itself
            assert 0 < runner.recorded <= 3 < runner.launched
    assert "without CUDA graphs" not in capsys.readouterr().err


def test_everything_is_freed(engine: tuple[bytes, Any]) -> None:
    torch = pytest.importorskip("torch")
    free = []
    for _ in range(6):
        with opened(engine) as runner:
            runner.predict(WINDOWS)
        free.append(torch.cuda.mem_get_info()[0])
    assert free[-1] >= free[1] - (4 << 20)  # the first may load kernels that stay


def test_pytorch_goes_on_beside_it(engine: tuple[bytes, Any]) -> None:
    torch = pytest.importorskip("torch")
    before = torch.arange(10.0, device="cuda")
    with opened(engine) as runner:
        runner.predict(WINDOWS[:2])
        assert float((before * 2).sum()) == 90
    assert float((before + 1).sum()) == 55


def test_threads_while_pytorch_launches(engine: tuple[bytes, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """On its default stream, for which a blocking one would wait; and another thread closes the runner."""
    torch = pytest.importorskip("torch")
    wanted, runner, done = expected(WINDOWS), opened(engine), threading.Event()

    def launches() -> float:
        ones = torch.ones(1000, device="cuda")
        while not done.is_set():
            ones = ones * 1
        return float(ones.sum())

    with ThreadPoolExecutor(3) as pool:
        beside = pool.submit(launches)
        sizes = [1, 4, 16, 40, 3, 1, 1, 16] * 4
        for size, answer in zip(sizes, pool.map(lambda n: runner.predict(WINDOWS[:n]), sizes), strict=True):
            np.testing.assert_allclose(answer, wanted[:size], atol=1e-4)
        pool.submit(runner.close).result()
        done.set()
        assert beside.result() == 1000
    assert "without CUDA graphs" not in capsys.readouterr().err


@pytest.mark.rtx
def test_what_was_compiled_is_kept(engine: tuple[bytes, Any]) -> None:
    _, made = engine
    if made.fingerprint.flavour != "rtx":
        pytest.skip("classic TensorRT compiles nothing at its first run")
    with opened(engine) as runner:
        first = runner.predict(WINDOWS[:2])
    assert made.path.with_suffix(".jit").stat().st_size > 0
    with opened(engine) as runner:
        np.testing.assert_array_equal(runner.predict(WINDOWS[:2]), first)


def test_onnx_runtime_on_cuda(onnx_file: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has no CUDA")
    from fdan_edge.runtime.onnx import OnnxRunner

    with OnnxRunner(onnx_file) as runner:
        if runner.name != "ONNX Runtime CUDA":
            pytest.skip("ONNX Runtime could not start CUDA")
        wanted = expected(WINDOWS)
        for size in (1, 16, 1, 40):
            np.testing.assert_allclose(runner.predict(WINDOWS[:size]), wanted[:size], atol=1e-4)
            assert set(runner.times) == {"copy in", "compute", "copy out"}
