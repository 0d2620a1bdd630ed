"""Export: one self-contained file that says what the model says, or an error and nothing lost."""

from __future__ import annotations

import importlib
import json
import shutil
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from fdan_edge.config import Config
from fdan_edge.data.corpora import Source
from fdan_edge.errors import BundleError, ExportError, MissingDependencyError
from fdan_edge.export import artifact as artifacts
from fdan_edge.export.onnx_graph import check_graph
from fdan_edge.export.pipeline import export_bundle
from fdan_edge.export.precision import Lowered
from fdan_edge.models.fdan import AcousticPath, Fdan, build_frontend
from fdan_edge.runs.run_folder import save_calibration
from fdan_edge.runs.torch_runner import TorchRunner
from fdan_edge.runtime.bundle import Bundle
from fdan_edge.runtime.deploy_targets import TARGETS, Target
from fdan_edge.runtime.model_spec import ModelSpec
from fdan_edge.runtime.onnx import OnnxRunner
from fdan_edge.runtime.tensorrt import engines
from fdan_edge.utils.files import sha256
from tests.conftest import TINY
from tests.helpers.exported import write_onnx


def waves(n: int, window: int, seed: int = 0) -> NDArray[np.float32]:
    chance = np.random.default_rng(seed)
    return (chance.standard_normal((n, window)) * np.logspace(-3, -0.5, n)[:, None]).astype(np.float32)


def copied(content: bytes) -> Callable[..., Lowered]:
    """A lowering whose file is given: what a defective exporter would do, or to save time."""

    def lower(
        _graph: onnx.ModelProto, file: Path, _target: Target, precision: str, _clips: object = None
    ) -> Lowered:
        file.write_bytes(content)
        return Lowered(file, precision, None, 18, None, ())

    return lower


@pytest.fixture(scope="module")
def model(bundle_folder: Path) -> onnx.ModelProto:
    return onnx.load(str(bundle_folder / "model.onnx"))


def test_the_file_is_self_contained(bundle_folder: Path, model: onnx.ModelProto, tmp_path: Path) -> None:
    assert sorted(p.name for p in bundle_folder.iterdir()) == [
        "README.md",
        "bundle.json",
        "model.onnx",
        "model.stream.onnx",
    ]
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in model.graph.initializer)
    shutil.copy(bundle_folder / "model.onnx", tmp_path / "alone.onnx")
    with OnnxRunner(tmp_path / "alone.onnx") as runner:
        assert runner.predict(waves(1, runner.spec.window)).shape == (1, 7)


def test_opset_inputs_and_outputs(model: onnx.ModelProto) -> None:
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert [i.name for i in model.graph.input] == ["waveform"]
    assert [o.name for o in model.graph.output] == ["probabilities"]
    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert dims[0].dim_param
    assert dims[1].dim_value == 16000
    assert model.graph.output[0].type.tensor_type.shape.dim[1].dim_value == 7


def test_no_op_that_a_target_lacks(model: onnx.ModelProto) -> None:
    for target in TARGETS.values():
        check_graph(model, target)
    before_network = [node.op_type for node in model.graph.node]
    front_end = before_network[: before_network.index("Log")]
    assert len(front_end) < 60  # so it is the front end's
    assert "MatMul" not in front_end
    assert "Gemm" not in front_end


def test_nothing_of_this_machine_is_inside(bundle_folder: Path) -> None:
    data = (bundle_folder / "model.onnx").read_bytes()
    assert str(Path(__file__).parents[2]).encode() not in data
    assert b"site-packages" not in data


def test_metadata(bundle_folder: Path, run_folder: Path) -> None:
    metrics = json.loads((run_folder / "metrics.json").read_text())
    with OnnxRunner(bundle_folder / "model.onnx") as runner, TorchRunner(run_folder) as reference:
        spec = runner.spec
        assert spec.labels == reference.spec.labels == tuple(metrics["test"]["labels"])
        assert (spec.sample_rate, spec.window, spec.window_hop, spec.trim_db) == (16000, 16000, 8000, 40.0)
    assert spec.info["test_scores"]["uar"] == pytest.approx(metrics["test"]["uar"], abs=1e-4)
    assert spec.info["test_scores"]["n"] == 8
    assert spec.info["test_scores"]["recall"].keys() == metrics["test"]["recall"].keys()
    low, high = spec.info["test_scores"]["intervals"]["uar"]
    assert [low, high] == pytest.approx(metrics["test"]["intervals"]["uar"], abs=1e-4)
    assert spec.info["test_scores"]["intervals"]["note"].startswith("2000 resamples of 8 recordings")
    assert spec.info["test_scores"]["ece"] == pytest.approx(metrics["test"]["calibration"]["ece"], abs=1e-4)
    assert spec.info["calibration"] == json.loads((run_folder / "calibration.json").read_text())
    assert spec.info["protocol"] == "speaker-independent, speakers 04 held out"
    assert spec.info["audit"] == metrics["audit"]["verdict"]
    assert Bundle.open(bundle_folder).manifest.spec == spec
    assert spec.info["log_mel"]["n_mels"] == 32
    assert spec.info["speech"] == ["ravdess"]
    assert "non-commercial" in spec.info["licence"]


def test_manifest(bundle_folder: Path, run_folder: Path) -> None:
    bundle = Bundle.open(bundle_folder)
    (artifact,) = bundle.artifacts
    assert artifact.gate
    assert (artifact.precision, artifact.format, artifact.targets, artifact.opset) == ("fp32", None, ("cpu",), 18)
    assert (artifact.gate.clips, artifact.gate.flips, artifact.gate.passed) == (8, 0, True)
    assert artifact.gate.max_difference <= 1e-3
    assert artifact.gate.onnx_sha256 == bundle.manifest.files["model.onnx"].sha256
    assert artifact.stream == "model.stream.onnx"
    assert bundle.engines == ()
    assert bundle.file("model.onnx").stat().st_size == bundle.manifest.files["model.onnx"].bytes
    assert bundle.manifest.run == str(run_folder)
    assert bundle.manifest.split_sha256 == sha256(run_folder / "split.json")
    assert bundle.manifest.versions.keys() == {"fdan_edge", "python", "torch", "onnx", "onnxruntime"}
    assert bundle.manifest.licence == bundle.manifest.spec.info["licence"]
    bundle.verify()


@pytest.mark.parametrize("batch", [1, 2, 5, 16])
def test_equals_pytorch_on_every_batch_size(bundle_folder: Path, run_folder: Path, batch: int) -> None:
    with OnnxRunner(bundle_folder / "model.onnx") as runner, TorchRunner(run_folder) as reference:
        windows = waves(batch, runner.spec.window)
        made, expected = runner.predict(windows), reference.predict(windows)
    np.testing.assert_allclose(made, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(made.sum(1), 1, atol=1e-5)


def made_path(**changes: object) -> tuple[AcousticPath, ModelSpec]:
    """An untrained network whose answers differ from window to window."""
    words = [f"{name}={value}" for name, value in changes.items()]
    config = Config.load(None, [*TINY, "bank_per_class=2", *words])
    torch.manual_seed(0)
    model = Fdan(config, 3, faces=True).eval()
    if model.use_bank:
        model.fill_bank(-80 * torch.rand(4, 1, 32, 32), torch.rand(6, 3, 32, 32))
    spec = ModelSpec(("a", "b", "c"), config.sample_rate, config.window, config.window_hop, 0.0)
    return AcousticPath(model, build_frontend(config)).eval(), spec


def test_bank_level_channel_and_temperature_are_inside_the_graph(tmp_path: Path) -> None:
    bank: dict[str, object] = {"acoustic_path": "bank", "attention_layers": 2}
    path, spec = made_path(**bank, level="speech", channel="window")
    others = [made_path(level="speech", channel="window")[0], made_path(**bank)[0]]
    for one in (path, *others):
        one.temperature = 0.3
    write_onnx(path, spec, tmp_path / "m.onnx")
    with OnnxRunner(tmp_path / "m.onnx") as runner:
        for batch in (1, 3):
            windows = waves(batch, spec.window)
            windows[0, 2000:] = 0  # padding
            made = runner.predict(windows)
            with torch.inference_mode():
                expected, *different = (p(torch.from_numpy(windows)).numpy() for p in (path, *others))
                logits = path.model.acoustic_logits(path.frontend(torch.from_numpy(windows)))
            np.testing.assert_allclose(made, expected, rtol=0, atol=1e-4)
            np.testing.assert_allclose(made, (logits / 0.3).softmax(1).numpy(), rtol=0, atol=1e-4)
            for other in (*different, logits.softmax(1).numpy()):
                assert float(np.abs(made - other).max()) > 1e-3
    assert float(np.ptp(made, axis=0).max()) > 1e-3  # a constant answer would prove nothing
    assert runner.spec == spec


def test_a_graph_without_the_temperature_is_refused(
    bundle_folder: Path, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check compares probabilities, so an export that forgets the run's temperature does not pass."""
    run = Path(shutil.copytree(run_folder, tmp_path / "run"))
    epoch = json.loads((run / "calibration.json").read_text())["epoch"]
    save_calibration(run, {"temperature": 0.2}, epoch)
    exported = bundle_folder / "model.onnx"
    monkeypatch.setattr(artifacts, "export_graph", lambda *_: onnx.load(exported))
    monkeypatch.setattr(artifacts, "lower", copied(exported.read_bytes()))
    with pytest.raises(ExportError, match=r"model.onnx \(fp32\) does not reproduce PyTorch"):
        export_bundle(run, tmp_path / "out")


def test_a_failed_check_keeps_the_earlier_bundle(
    bundle_folder: Path, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: onnx.ModelProto
) -> None:
    """What a defective exporter would do: one weight tensor differs."""

    wrong = onnx.ModelProto()
    wrong.CopyFrom(model)
    (weight,) = (t for t in wrong.graph.initializer if t.name.endswith("classifier.weight") and t.dims[0] == 7)
    values = onnx.numpy_helper.to_array(weight)
    noise = 0.05 * np.random.default_rng(0).standard_normal(values.shape).astype(np.float32)
    weight.CopyFrom(onnx.numpy_helper.from_array(values + noise, weight.name))
    out = Path(shutil.copytree(bundle_folder, tmp_path / "bundle"))
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    monkeypatch.setattr(artifacts, "export_graph", lambda *_: model)
    monkeypatch.setattr(artifacts, "lower", copied(wrong.SerializeToString()))
    with pytest.raises(ExportError, match=r"does not reproduce PyTorch.*; most is lost in classifier"):
        export_bundle(run_folder, out)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_other_folders_are_refused(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    with pytest.raises(BundleError, match="exists and is not a bundle; name another --out"):
        export_bundle(run_folder, tmp_path / "out")
    assert (tmp_path / "out" / "thesis.tex").read_text() == "years of work"


def test_an_unfinished_run_and_missing_clips_are_refused(run_folder: Path, tmp_path: Path, fer_tree: Path) -> None:
    run = Path(
        shutil.copytree(run_folder, tmp_path / "run", ignore=shutil.ignore_patterns("last*", "metrics.json"))
    )
    with pytest.raises(ExportError, match="has no scores yet; `fdan-edge train --resume"):
        export_bundle(run, tmp_path / "out")
    with pytest.raises(ExportError, match=r"checked on real clips, but ravdess:.*; name some with --speech"):
        export_bundle(run_folder, tmp_path / "out", speech=[Source("ravdess", fer_tree)])
    assert not (tmp_path / "out").exists()


def test_a_graph_that_cannot_be_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, spec = made_path()

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no such operator\nand 40 lines more")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(ExportError, match=r"^export to ONNX failed: RuntimeError: no such operator$"):
        write_onnx(path, spec, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_without_tensorrt_the_command_is_named_at_once(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str, *_: object) -> types.ModuleType:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    monkeypatch.setattr(artifacts, "lower", None)  # would fail if work had begun
    with pytest.raises(MissingDependencyError, match=r"needs TensorRT.*: pip install tensorrt-rtx-cu13") as caught:
        export_bundle(run_folder, tmp_path / "out", targets=["rtx"], required="rtx")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_the_flavours_of_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {name: types.ModuleType(name) for name in ("tensorrt_rtx", "tensorrt")}
    monkeypatch.setattr(importlib, "import_module", made.__getitem__)
    assert engines.find_tensorrt().__name__ == "tensorrt_rtx"
    assert engines.find_tensorrt("trt").__name__ == "tensorrt"


@pytest.mark.rtx
def test_a_real_engine_is_built(
    run_folder: Path, bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = bundle_folder / "model.onnx"  # from the same run: exporting it again would take a while
    monkeypatch.setattr(artifacts, "export_graph", lambda *_: onnx.load(exported))
    monkeypatch.setattr(artifacts, "lower", copied(exported.read_bytes()))
    bundle = export_bundle(
        run_folder, tmp_path / "bundle", targets=["cpu", "rtx"], precisions=["fp32"], required="rtx"
    )
    assert sorted(path.name for path in bundle.path.iterdir()) == [
        "README.md",
        "bundle.json",
        "model.onnx",
        "model.rtx.engine",
        "model.stream.onnx",
    ]
    engine = bundle.file("model.rtx.engine")
    assert engine.stat().st_size > 1e6  # the weights are in it
    (listed,) = bundle.engines
    assert (listed.artifact, listed.target, listed.batch) == ("model.onnx", "rtx", (1, 1, 16))


@pytest.mark.rtx
@pytest.mark.parametrize("damage", ["garbage", "truncated", "empty", "other graph"])
def test_an_onnx_file_that_tensorrt_cannot_build(bundle_folder: Path, tmp_path: Path, damage: str) -> None:
    whole = (bundle_folder / "model.onnx").read_bytes()
    node = onnx.helper.make_node("STFT", ["x", "y"], ["z"])
    x, y, z = (onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in "xyz")
    other = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [x, y], [z])).SerializeToString()
    content = {
        "garbage": b"\x00\x01garbage" * 99,
        "truncated": whole[: len(whole) // 2],
        "empty": b"",
        "other graph": other,
    }
    path = tmp_path / "m.onnx"
    path.write_bytes(content[damage])
    with pytest.raises(ExportError, match="TensorRT") as caught:
        engines.build(path, "rtx", "fp32")
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]
