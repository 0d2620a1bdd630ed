"""PyTorch behind the `Runner` interface: on the CPU, and on a GPU where there is one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fdan_edge.cli.render import bench as show_bench
from fdan_edge.errors import BundleError
from fdan_edge.profiling.bench import Plan, bench, chosen
from fdan_edge.profiling.breakdown import breakdown
from fdan_edge.runs import run_folder
from fdan_edge.runs.torch_runner import TorchRunner
from fdan_edge.runtime.opening import Variant, open_runner, variants
from fdan_edge.runtime.runner import COMPUTE, COPY_IN, COPY_OUT
from fdan_edge.runtime.tensorrt import compatibility
from fdan_edge.runtime.tensorrt.compatibility import Gpu
from tests.helpers.training_parts import CLASSES, trainer

ON_CUDA = [("torch-cuda", "fp32"), ("torch-cuda", "fp16"), ("torch-compile", "fp32"), ("torch-compile", "fp16")]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A small trained run, without the corpora of conftest.py: `make gpu` runs this file alone."""
    made = trainer(tmp_path, with_faces=False)
    made.run()
    run_folder.save_run(tmp_path, made.config, run_folder.RunInfo(CLASSES, [], [], "of tensors", {}))
    return tmp_path


def windows(runner: TorchRunner, count: int = 3) -> np.ndarray[Any, np.dtype[np.float32]]:
    made = 0.1 * np.random.default_rng(0).standard_normal((count, runner.spec.window))
    return made.astype(np.float32)


def test_half_precision_is_near(run: Path) -> None:
    with TorchRunner(run) as single, TorchRunner(run, precision="fp16") as half:
        assert (single.name, half.name) == ("PyTorch eager CPU", "PyTorch eager CPU fp16")
        one, other = single.predict(windows(single)), half.predict(windows(single))
    assert one.dtype == other.dtype == np.float32
    np.testing.assert_allclose(other.sum(1), 1, atol=1e-6)
    assert 0 < np.abs(one - other).max() < 0.02


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_features_are_what_the_classifier_reads(run: Path, precision: str) -> None:
    with TorchRunner(run, precision=precision) as runner:
        given = windows(runner)
        probabilities, features = runner.predict_features(given)
        np.testing.assert_allclose(probabilities, runner.predict(given), atol=1e-6)
        with torch.inference_mode():
            decibel = runner.path.frontend(torch.from_numpy(given))
            expected = runner.path.model.acoustic_features(decibel)
            again = torch.softmax(runner.path.model.classifier(torch.from_numpy(features)), dim=1)
    assert features.dtype == np.float32
    tolerance = 1e-5 if precision == "fp32" else 0.05
    np.testing.assert_allclose(features, expected.numpy(), atol=tolerance)
    assert runner.path.temperature == 1
    np.testing.assert_allclose(again.numpy(), probabilities, atol=tolerance)


def test_what_is_compiled_is_all_of_it(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[dict[str, Any]] = []

    def fake(function: Callable[..., Any], **how: Any) -> Callable[..., Any]:
        compiled.append(how)
        return lambda waveforms: function(waveforms).flip(1)

    monkeypatch.setattr(torch, "compile", fake)
    with TorchRunner(run, compiled=True) as made, TorchRunner(run) as eager:
        assert made.name == "PyTorch compiled CPU"
        given = windows(eager)
        np.testing.assert_array_equal(made.predict(given), eager.predict(given)[:, ::-1])
    assert compiled == [{"mode": None, "dynamic": False}]


def test_a_gpu_brings_more_ways(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compatibility, "find_gpu", lambda: None)
    assert variants(run) == [Variant(str(run), "", "fp32", "torch")]
    monkeypatch.setattr(compatibility, "find_gpu", lambda: Gpu("9.0", "13.0", 1 << 37))
    found = variants(run)
    assert [(v.runtime, v.precision) for v in found] == [("torch", "fp32"), *ON_CUDA]
    assert [v.runtime for v in chosen(str(run), foreign=True)] == ["torch"]
    assert [v.precision for v in chosen(str(run), ["torch-cuda"])] == ["fp32", "fp16"]
    assert [v.runtime for v in chosen(str(run), ["torch-compile"], ["fp16"])] == ["torch-compile"]
    assert [v.wish for v in found[:3]] == ["fp32", "fp32", "fp16"]


def test_what_bench_says_where_there_is_no_gpu(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compatibility, "find_gpu", lambda: None)
    with pytest.raises(BundleError, match="torch-cuda and torch-compile want a run folder and a CUDA GPU"):
        chosen(str(run), ["torch-cuda"])
    with pytest.raises(BundleError, match=r"nothing of int8 .* has fp32 by torch; `fdan-edge export` makes"):
        chosen(str(run), precisions=["int8"])


def test_a_gpu_that_pytorch_cannot_use(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BundleError, match="torch-cuda needs a CUDA GPU that this PyTorch can use, and finds none"):
        open_runner(run, runtime="torch-cuda")


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"artifact": "fp16"}, "which torch does not run in fp16"),
        ({"artifact": "m.onnx"}, "which torch does not run in m.onnx"),
        ({"runtime": "onnxruntime-cuda"}, "which onnxruntime-cuda does not run"),
        ({"runtime": "torch-cuda", "artifact": "int8"}, "which torch-cuda does not run in int8"),
    ],
)
def test_what_a_run_folder_does_not_have(run: Path, wish: dict[str, str], told: str) -> None:
    valid = (
        r"valid: torch \(fp32\), torch-cuda \(fp32 or fp16\), torch-compile \(fp32 or fp16\); `fdan-edge export`"
    )
    with pytest.raises(BundleError, match=f"is a run folder, {told}; {valid}"):
        open_runner(run, **wish)  # type: ignore[arg-type]


def test_rows_of_two_precisions_have_two_names(run: Path) -> None:
    """A run folder has no artifacts to tell them apart by."""
    with TorchRunner(run) as one, TorchRunner(run, precision="fp16") as other:
        ways = [(Variant(str(run), "", name, "torch-cuda"), r) for name, r in (("fp32", one), ("fp16", other))]
        rows = [timed.row for timed in bench(ways, Plan(runs=5, starts=0))]
    text = str(show_bench.latency_table(rows))
    assert "fp32 torch-cuda" in text
    assert "fp16 torch-cuda" in text


@pytest.mark.gpu
@pytest.mark.filterwarnings("default")  # PyTorch 2.11's compiler advises TF32
@pytest.mark.parametrize(("runtime", "precision"), ON_CUDA)
def test_on_a_gpu(run: Path, runtime: str, precision: str) -> None:
    """Near the CPU's, by TF32 or halves, and the same again; the times of its parts are told."""
    (variant,) = (v for v in variants(run) if (v.runtime, v.precision) == (runtime, precision))
    with TorchRunner(run) as reference, variant.open() as runner:
        given = windows(reference)
        first, again = runner.predict(given), runner.predict(given)
        expected = reference.predict(given)
        told = runner.times  # type: ignore[attr-defined]
        parts = breakdown(variant, runner, given, wall=1000.0)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(first, expected, atol=0.02)
    assert set(told) == {COPY_IN, COMPUTE, COPY_OUT}
    assert parts["compute"] > 0
