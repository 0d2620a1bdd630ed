"""Embeddings from ONNX files: those of the run that was exported, in every precision, and clear refusals."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

from fdan_edge.errors import BundleError, ConfigError, MissingDependencyError
from fdan_edge.export.activation_ranges import collect
from fdan_edge.export.fp16 import to_half
from fdan_edge.export.int8 import FORMATS, plan, quantize
from fdan_edge.models.fdan import AcousticPath, Fdan, build_frontend
from fdan_edge.runtime.model_spec import METADATA_KEY, ModelSpec
from fdan_edge.runtime.onnx_features import OnnxFeatureRunner
from fdan_edge.runtime.opening import open_feature_runner, open_runner
from tests.helpers.exported import write_onnx
from tests.helpers.graphs import WINDOW, network, waves
from tests.helpers.tiny_models import SPEC, model
from tests.helpers.training_parts import config

Windows = NDArray[np.float32]
WEIGHTS = np.array([[1, 0], [0, 2], [3, 3]], np.float32)  # (d, C)


def windows(size: int, count: int = 3) -> Windows:
    return 0.1 * np.random.default_rng(0).standard_normal((count, size)).astype(np.float32)


def classifier(path: Path, form: str, kind: int = TensorProto.FLOAT) -> Path:
    """A model whose features are the first three samples, doubled; its classifier is written in some form."""
    number = np.float32 if kind == TensorProto.FLOAT else np.float16
    nodes = [
        helper.make_node("Slice", ["waveform", "start", "end", "axis"], ["first"]),
        helper.make_node("Cast", ["first"], ["cast"], to=kind),
        helper.make_node("Add", ["cast", "cast"], ["z"]),
    ]
    if form == "gemm":
        nodes.append(helper.make_node("Gemm", ["z", "weight", "bias"], ["logits"]))
    else:
        nodes += [
            helper.make_node("MatMul", ["z", "weight"], ["product"]),
            helper.make_node("Add", ["bias", "product"], ["logits"]),
        ]
    nodes += [
        helper.make_node("Cast", ["logits"], ["single"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["single", "temperature"], ["cooled"]),
        helper.make_node("Softmax", ["cooled"], ["probabilities"], axis=1),
    ]
    constants = [
        *(
            onnx.numpy_helper.from_array(np.array([n]), name)
            for name, n in (("start", 0), ("end", 3), ("axis", 1))
        ),
        onnx.numpy_helper.from_array(WEIGHTS.astype(number), "weight"),
        onnx.numpy_helper.from_array(np.zeros(2, number), "bias"),
        onnx.numpy_helper.from_array(np.array(2, np.float32), "temperature"),
    ]
    source = helper.make_tensor_value_info("waveform", TensorProto.FLOAT, ["batch", 4])
    target = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 2])
    graph = helper.make_graph(nodes, "tiny", [source], [target], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(made, {METADATA_KEY: SPEC.to_json()})
    onnx.save(made, path)
    return path


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16])
@pytest.mark.parametrize("form", ["gemm", "matmul"])
def test_what_the_classifier_reads(tmp_path: Path, form: str, kind: int) -> None:
    path = classifier(tmp_path / "m.onnx", form, kind)
    before = path.read_bytes()
    given = windows(4)
    with OnnxFeatureRunner(path) as runner, open_runner(path) as usual:
        probabilities, features = runner.predict_features(given)
        np.testing.assert_allclose(probabilities, usual.predict(given), atol=1e-6)
        np.testing.assert_array_equal(runner.predict(given), probabilities)
    assert features.dtype == probabilities.dtype == np.float32
    np.testing.assert_allclose(features, 2 * given[:, :3], atol=1e-6 if kind == TensorProto.FLOAT else 1e-3)
    assert path.read_bytes() == before


def test_a_run_and_its_bundle_agree(run_folder: Path, bundle_folder: Path) -> None:
    with open_feature_runner(run_folder) as run, open_feature_runner(bundle_folder, 1) as bundle:
        given = windows(run.spec.window)
        (expected, z), (probabilities, features) = run.predict_features(given), bundle.predict_features(given)
    assert z.shape == features.shape == (3, 16)
    assert np.ptp(z, axis=0).max() > 0.01  # windows differ, so that agreeing means something
    np.testing.assert_allclose(features, z, atol=1e-4)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)


def test_a_network_without_layers_between_backbone_and_classifier(tmp_path: Path) -> None:
    torch.manual_seed(0)
    settings = config(fc_layers=0, attention_layers=0)
    network = Fdan(settings, 3, faces=False, pretrained=False).eval()
    path = AcousticPath(network, build_frontend(settings), temperature=1.5).eval()
    spec = ModelSpec(("a", "b", "c"), settings.sample_rate, settings.window, settings.window_hop, 40.0)
    write_onnx(path, spec, tmp_path / "m.onnx")
    given = windows(settings.window)
    with torch.inference_mode(), OnnxFeatureRunner(tmp_path / "m.onnx", threads=1) as runner:
        expected = network.acoustic_features(path.frontend(torch.from_numpy(given))).numpy()
        _, features = runner.predict_features(given)
    assert features.shape == expected.shape == (3, network.classifier.in_features)
    np.testing.assert_allclose(features, expected, atol=1e-4)


def lowered(form: str) -> onnx.ModelProto:
    """The small network in half precision or in 8 bits."""
    if form == "fp16":
        return to_half(network())
    wanted = plan(network(), form)
    histograms = collect(network(), wanted.tensors, waves(32))
    return quantize(network(), wanted, {name: one.range("minmax") for name, one in histograms.items()}, form)


@pytest.mark.parametrize("form", ["fp16", *FORMATS])
def test_every_precision_is_near_single(tmp_path: Path, form: str) -> None:
    given, answers = waves(4, seed=3), []
    for name, made in (("single", network()), (form, lowered(form))):
        helper.set_model_props(made, {METADATA_KEY: ModelSpec(("a", "b", "c"), 16000, WINDOW, 2, 40.0).to_json()})
        path = tmp_path / f"{name}.onnx"
        onnx.save(made, path)
        with OnnxFeatureRunner(path) as runner, open_runner(path) as usual:
            probabilities, features = runner.predict_features(given)
            np.testing.assert_allclose(probabilities, usual.predict(given), atol=1e-3)
            answers.append(features)
    single, other = answers
    assert single.shape == other.shape == (4, 8)
    assert 0 < np.abs(single - other).max() < 0.1 * np.abs(single).max()


def test_a_graph_without_a_classifier(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"m\.onnx: has no classifier before its probabilities, so it gives no"):
        open_feature_runner(model(tmp_path / "m.onnx"))


@pytest.mark.parametrize("content", [b"hello\n", np.random.default_rng(0).bytes(5000)])
def test_garbage(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"m\.onnx: ") as caught:
        open_feature_runner(path)
    assert "\n" not in str(caught.value)


def test_the_pip_command_where_onnx_is_missing(bundle_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingDependencyError) as caught:
        open_feature_runner(bundle_folder)
    assert str(caught.value) == (
        "reading embeddings from an ONNX file needs onnx, which is not installed: pip install onnx"
    )


@pytest.mark.parametrize("runtime", ["tensorrt", "tensorrt-rtx"])
def test_an_engine_gives_none(bundle_folder: Path, runtime: str) -> None:
    with pytest.raises(
        BundleError, match=f"{runtime} gives no embeddings.*; valid: onnxruntime-cuda, onnxruntime-"
    ):
        open_feature_runner(bundle_folder, runtime=runtime)


@pytest.mark.parametrize("threads", [-3, 1025, 1.5])
@pytest.mark.parametrize("opener", [open_runner, open_feature_runner])
def test_no_number_of_threads(bundle_folder: Path, opener: Callable[..., object], threads: float) -> None:
    with pytest.raises(ConfigError, match=rf"threads = {threads}: valid are 0 \(all cores\) to 1024"):
        opener(bundle_folder, threads)
