"""Model repositories for Triton, held against Triton's own schema and the rules that its server checks."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf import json_format, text_format  # type: ignore[import-untyped]
from onnx import TensorProto, helper

from fdan_edge.errors import BundleError, ExportError
from fdan_edge.export import triton_schema
from fdan_edge.export.triton import write_repository
from fdan_edge.export.triton_schema import config_text
from fdan_edge.runtime.bundle import Bundle, write_manifest
from fdan_edge.runtime.model_spec import METADATA_KEY, ModelSpec
from fdan_edge.runtime.tensorrt.batches import PROFILES
from tests.helpers.bundles import artifact, engine, manifest

WINDOW = 16000
SPEC = ModelSpec(("angry", "sad", "neutral"), 16000, WINDOW, 8000, 40.0)


@pytest.fixture(scope="session")
def schema() -> Any:
    """Triton's model_config.proto, compiled, from its published client.

    By its file, because the package around it wants gRPC.
    """
    client = importlib.util.find_spec("tritonclient")
    assert client, "pip install --no-deps tritonclient"
    assert client.submodule_search_locations
    path = Path(client.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def graph(path: Path, batch: str | int = "batch", kind: int = TensorProto.FLOAT) -> None:
    """An ONNX file of our kind: the mean of a window's samples, and softmax."""
    source = helper.make_tensor_value_info("waveform", kind, [batch, WINDOW])
    target = helper.make_tensor_value_info("probabilities", kind, [batch, 3])
    nodes = [
        helper.make_node("Slice", ["waveform", "start", "end", "axis"], ["first"]),
        helper.make_node("Softmax", ["first"], ["probabilities"], axis=1),
    ]
    numbers = {"start": [0], "end": [3], "axis": [1]}
    constants = [helper.make_tensor(n, TensorProto.INT64, [1], v) for n, v in numbers.items()]
    made = helper.make_model(
        helper.make_graph(nodes, "tiny", [source], [target], constants),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    helper.set_model_props(made, {METADATA_KEY: SPEC.to_json()})
    onnx.save(made, path)


def make(folder: Path, files: dict[str, tuple[str, ...]], *engines: tuple[Any, ...]) -> Path:
    """A bundle of files for targets, whose precisions are in their names.

    Engines are (file, artifact, flavour[, batch[, profiles]]).
    """
    folder.mkdir()
    artifacts = []
    for file, targets in files.items():
        graph(folder / file)
        precision = re.sub(r"-.*", "", file.split(".")[1]) if file.count(".") > 1 else "fp32"
        artifacts.append(artifact(folder / file, precision, targets))
    entries = []
    for file, of, flavour, *sizes in engines:
        (folder / file).write_bytes(b"engine " + file.encode())
        batches = dict(zip(("batch", "profiles"), sizes or [(1, 1, 8)], strict=False))
        entries.append(engine(folder / file, folder / of, flavour, version="10.3.0", capability="8.0", **batches))
    write_manifest(folder, manifest(*artifacts, engines=tuple(entries), spec=SPEC))
    return folder


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A bundle with one artifact, for any CPU."""
    return make(tmp_path / "bundle", {"model.onnx": ("cpu",)})


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A bundle with every kind of artifact and engine."""
    files = {
        "model.onnx": ("cpu", "cuda"),
        "model.fp16.onnx": ("cuda", "rtx"),
        "model.int8-s8s8.onnx": ("cuda",),
        "model.int8-u8s8.onnx": ("cpu",),
        "model.fp16.half.onnx": ("rtx",),
    }
    engines = [
        ("model.trt.engine", "model.onnx", "trt"),
        ("model.fp16.trt.engine", "model.fp16.onnx", "trt", (1, 4, 32)),
        ("model.rtx.engine", "model.onnx", "rtx"),
    ]
    return make(tmp_path / "bundle", files, *engines)


def read(schema: Any, model: Path) -> Any:
    """The configuration of a model, after the checks of Triton's server that its schema does not hold.

    They are those of ValidateModelConfig in triton-inference-server/core, and of the two backends at load.
    """
    config = schema.ModelConfig()
    text_format.Parse((model / "config.pbtxt").read_text(), config)
    assert config.name == model.name
    backends = {"onnxruntime_onnx": "onnxruntime", "tensorrt_plan": "tensorrt"}
    assert config.backend == backends[config.platform]
    assert config.HasField("version_policy")
    sizes = list(config.dynamic_batching.preferred_batch_size)
    assert config.max_batch_size > 0
    assert sizes
    assert all(0 < size <= config.max_batch_size for size in sizes)
    assert config.input
    assert config.output
    for tensor in [*config.input, *config.output]:
        assert tensor.name
        assert tensor.data_type != schema.TYPE_INVALID
        assert tensor.dims
        assert all(size > 0 for size in tensor.dims)
    for group in config.instance_group:
        assert group.count > 0
        assert not group.gpus or group.kind == schema.ModelInstanceGroup.KIND_GPU
    for warmup in config.model_warmup:
        assert 0 < warmup.batch_size <= config.max_batch_size
        assert {*warmup.inputs} == {tensor.name for tensor in config.input}
        for name, value in warmup.inputs.items():
            (of,) = (tensor for tensor in config.input if tensor.name == name)
            assert (value.data_type, value.dims) == (of.data_type, of.dims)
            assert value.WhichOneof("input_data_type")
    for tensor in config.output:
        labels = (model / tensor.label_filename).read_text().splitlines()
        assert len(labels) == tensor.dims[0]
    (version,) = (path for path in model.iterdir() if path.is_dir())
    assert int(version.name) > 0
    assert [path.name for path in version.iterdir()] == [
        {"onnxruntime": "model.onnx"}.get(config.backend, "model.plan")
    ]
    return config


def test_one_artifact(schema: Any, small: Path, tmp_path: Path) -> None:
    (model,) = write_repository(Bundle.open(small), tmp_path / "deep" / "repository", "voice")
    assert model == tmp_path / "deep" / "repository" / "voice_onnx"
    config = read(schema, model)
    assert (config.platform, config.max_batch_size) == ("onnxruntime_onnx", 16)
    assert list(config.dynamic_batching.preferred_batch_size) == [4, 8, 16]
    assert config.dynamic_batching.max_queue_delay_microseconds > 0
    assert [group.kind for group in config.instance_group] == [schema.ModelInstanceGroup.KIND_CPU]
    assert not config.HasField("optimization")
    assert (model / "labels.txt").read_text() == "angry\nsad\nneutral\n"
    assert (model / "1" / "model.onnx").read_bytes() == (small / "model.onnx").read_bytes()
    parameters = {key: value.string_value for key, value in config.parameters.items()}
    assert parameters.pop("sha256") == hashlib.sha256((small / "model.onnx").read_bytes()).hexdigest()
    assert (parameters.pop("trim_db"), parameters.pop("high_pass")) == ("40.0", "0.0")
    assert parameters == {"sample_rate": "16000", "window": "16000", "window_hop": "8000"}
    assert sorted(p.name for p in model.parent.iterdir()) == ["voice_onnx"]  # nothing temporary is left


def test_the_configuration_fits_the_graph(schema: Any, small: Path, tmp_path: Path) -> None:
    """What ONNX Runtime says of the file in the repository is what its configuration says."""
    import onnxruntime

    (model,) = write_repository(Bundle.open(small), tmp_path / "r", "voice")
    config = read(schema, model)
    session = onnxruntime.InferenceSession(model / "1" / "model.onnx", providers=["CPUExecutionProvider"])
    for ours, theirs in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
        assert [(t.name, list(t.dims)) for t in ours] == [(t.name, t.shape[1:]) for t in theirs]
        assert all(t.type == "tensor(float)" and isinstance(t.shape[0], str) for t in theirs)
        assert all(t.data_type == schema.TYPE_FP32 for t in ours)
    feed = {
        t.name: np.zeros((size, *t.dims), np.float32) for t in config.input for size in [config.max_batch_size]
    }
    (answer,) = session.run([t.name for t in config.output], feed)
    assert answer.shape == (config.max_batch_size, *config.output[0].dims)


def test_every_artifact_and_engine_that_triton_serves(schema: Any, whole: Path, tmp_path: Path) -> None:
    models = {path.name: read(schema, path) for path in write_repository(Bundle.open(whole), tmp_path / "r", "v")}
    onnx_models = {"v_onnx", "v_fp16_onnx", "v_int8-s8s8_onnx", "v_int8-u8s8_onnx"}
    assert set(models) == onnx_models | {"v_trt", "v_fp16_trt"}  # none of TensorRT for RTX, none for RTX alone
    kinds = schema.ModelInstanceGroup
    found = {name: config.instance_group[0].kind for name, config in models.items()}
    assert found == {
        "v_onnx": kinds.KIND_AUTO,
        "v_fp16_onnx": kinds.KIND_GPU,
        "v_int8-s8s8_onnx": kinds.KIND_GPU,
        "v_int8-u8s8_onnx": kinds.KIND_CPU,
        "v_trt": kinds.KIND_GPU,
        "v_fp16_trt": kinds.KIND_GPU,
    }
    assert (tmp_path / "r" / "v_trt" / "1" / "model.plan").read_bytes() == b"engine model.trt.engine"


def test_an_engines_batch_is_that_of_its_profile(schema: Any, whole: Path, tmp_path: Path) -> None:
    models = {path.name: read(schema, path) for path in write_repository(Bundle.open(whole), tmp_path / "r", "v")}
    assert models["v_trt"].max_batch_size == 8
    assert list(models["v_trt"].dynamic_batching.preferred_batch_size) == [4, 8]
    assert models["v_fp16_trt"].max_batch_size == 32
    assert [w.batch_size for w in models["v_fp16_trt"].model_warmup] == [1, 32]


def test_all_profiles_of_an_engine_are_listed(schema: Any, tmp_path: Path) -> None:
    """Triton takes the first one alone where none is named, and refuses larger batches than that has."""
    files: dict[str, tuple[str, ...]] = {"model.onnx": ("cuda",), "model.fp16.onnx": ("cuda",)}
    engines = [
        ("a.engine", "model.onnx", "trt", (1, 1, 16), PROFILES),
        ("b.engine", "model.fp16.onnx", "trt"),  # built before there were several
    ]
    bundle = Bundle.open(make(tmp_path / "b", files, *engines))
    models = {path.name: read(schema, path) for path in write_repository(bundle, tmp_path / "r", "v")}
    assert list(models["v_trt"].instance_group[0].profile) == ["0", "1", "2"]
    assert models["v_trt"].max_batch_size == 16
    assert list(models["v_fp16_trt"].instance_group[0].profile) == []


def test_a_gpu_computes_what_was_checked(schema: Any, whole: Path, tmp_path: Path) -> None:
    models = {path.name: read(schema, path) for path in write_repository(Bundle.open(whole), tmp_path / "r", "v")}
    used = {
        name: [
            (a.name, dict(a.parameters)) for a in c.optimization.execution_accelerators.gpu_execution_accelerator
        ]
        for name, c in models.items()
    }
    assert used["v_onnx"] == used["v_fp16_onnx"] == [("cuda", {"use_tf32": "0"})]
    shapes = {f"trt_profile_{k}_shapes": f"waveform:{n}x16000" for k, n in (("min", 1), ("opt", 1), ("max", 16))}
    assert used["v_int8-s8s8_onnx"] == [("tensorrt", {"precision_mode": "INT8", **shapes})]
    assert used["v_int8-u8s8_onnx"] == used["v_trt"] == []


def test_a_real_bundle(schema: Any, bundle_folder: Path, tmp_path: Path) -> None:
    (model,) = write_repository(Bundle.open(bundle_folder), tmp_path / "r", "tiny")
    config = read(schema, model)
    assert [list(t.dims) for t in config.input] == [[16000]]
    spec = ModelSpec.from_json(onnx.load(model / "1/model.onnx").metadata_props[0].value, "model")
    assert (model / "labels.txt").read_text().splitlines() == list(spec.labels)


def test_a_second_time_replaces_the_first(schema: Any, small: Path, tmp_path: Path) -> None:
    repository = tmp_path / "r"
    (repository / "other").mkdir(parents=True)
    (repository / "other" / "config.pbtxt").write_text('backend: "python"')
    write_repository(Bundle.open(small), repository, "v")
    (repository / "v_onnx" / "labels.txt").write_text("changed")
    (model,) = write_repository(Bundle.open(small), repository, "v")
    assert read(schema, model)
    assert (repository / "other" / "config.pbtxt").read_text() == 'backend: "python"'
    assert sorted(p.name for p in repository.iterdir()) == ["other", "v_onnx"]


def refused(bundle_of: Path, repository: Path, name: str = "v") -> str:
    with pytest.raises(ExportError) as caught:
        write_repository(Bundle.open(bundle_of), repository, name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_others_wrote_is_kept(whole: Path, tmp_path: Path) -> None:
    model = tmp_path / "r" / "v_trt"
    model.mkdir(parents=True)
    (model / "config.pbtxt").write_text('platform: "tensorrt_plan"')
    assert refused(whole, tmp_path / "r") == (
        f"{model}: exists, and was not written by fdan-edge; move it or use another name"
    )
    assert [p.name for p in (tmp_path / "r").iterdir()] == ["v_trt"]  # v_onnx, which was free, is not there either
    assert (model / "config.pbtxt").read_text() == 'platform: "tensorrt_plan"'


def test_a_file_beside_ours_is_kept(small: Path, tmp_path: Path) -> None:
    write_repository(Bundle.open(small), tmp_path / "r", "v")
    (tmp_path / "r" / "v_onnx" / "2").mkdir()
    (tmp_path / "r" / "v_onnx" / "2" / "model.onnx").write_text("mine")
    assert "v_onnx: holds 2, 2/model.onnx, which was not written by fdan-edge" in refused(small, tmp_path / "r")
    assert (tmp_path / "r" / "v_onnx" / "2" / "model.onnx").read_text() == "mine"


def test_an_earlier_bundles_engine_does_not_stay(whole: Path, tmp_path: Path) -> None:
    write_repository(Bundle.open(whole), tmp_path / "r", "v")
    small = make(tmp_path / "small", {"model.onnx": ("cpu",)})
    assert "v_fp16_onnx: is of an earlier bundle and not in this one" in refused(small, tmp_path / "r")
    write_repository(Bundle.open(small), tmp_path / "r", "other")


def test_a_file_and_a_link_are_kept(small: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert (
        refused(small, tmp_path / "file")
        == f"{tmp_path / 'file'}: is a file; name a folder for the model repository"
    )
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "v_onnx").symlink_to(tmp_path / "nowhere")
    assert "was not written by fdan-edge" in refused(small, tmp_path / "r")


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a b", "ä", 'a"b'])
def test_names_that_triton_cannot_have(small: Path, tmp_path: Path, name: str) -> None:
    assert "cannot be a model's name in Triton" in refused(small, tmp_path / "r", name)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("batch", [1, 4])
def test_a_fixed_batch_is_refused(tmp_path: Path, batch: int) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    graph(folder / "model.onnx", batch)
    write_manifest(folder, manifest(artifact(folder / "model.onnx"), spec=SPEC))
    assert f"waveform (FLOAT, [{batch}, 16000]) is not floats with a dynamic batch first" in refused(
        folder, tmp_path / "r"
    )


def test_an_engine_without_a_batch_of_one_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "b", {"model.onnx": ("cuda",)}, ("e.trt.engine", "model.onnx", "trt", (4, 4, 8)))
    assert "e.trt.engine: takes no batch of 1" in refused(folder, tmp_path / "r")


def test_two_engines_of_one_artifact_are_refused(tmp_path: Path) -> None:
    engines = [(f"model.{card}.trt.engine", "model.onnx", "trt") for card in ("a", "b")]
    folder = make(tmp_path / "b", {"model.onnx": ("cuda",)}, *engines)
    assert "model.a.trt.engine and model.b.trt.engine would be the same model" in refused(folder, tmp_path / "r")


def test_a_changed_bundle_is_refused(small: Path, tmp_path: Path) -> None:
    data = bytearray((small / "model.onnx").read_bytes())
    data[-1] ^= 1
    (small / "model.onnx").write_bytes(data)
    with pytest.raises(BundleError, match="changed"):
        write_repository(Bundle.open(small), tmp_path / "r", "v")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("value", ['a "quoted" \\ word', "Ärger 怒り", "two\nlines\ttab", "\\x41", "12\u2028"])
def test_any_text_survives(schema: Any, value: str) -> None:
    config = schema.ModelConfig()
    text_format.Parse(config_text({"name": value, "max_batch_size": 3}), config)
    assert (config.name, config.max_batch_size) == (value, 3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_batch": 3},
        {"max_batch_size": "three"},
        {"input": [{"data_type": "TYPE_FP31"}]},
        {"instance_group": [{"kind": "KIND_TPU"}]},
    ],
)
def test_what_the_schema_does_not_have_is_not_written(wrong: dict[str, Any]) -> None:
    with pytest.raises(json_format.ParseError):
        config_text(wrong)


def test_the_schema_is_tritons(schema: Any) -> None:
    """Every message, field and value that is declared has Triton's number and type."""

    def find(name: str) -> Any:
        first, *nested = name.split(".")
        found = getattr(schema, first).DESCRIPTOR
        for part in nested:
            found = found.nested_types_by_name.get(part) or found.enum_types_by_name[part]
        return found

    for name, fields in triton_schema.MESSAGES.items():
        for field, (number, kind) in fields.items():
            theirs = find(name).fields_by_name[field]
            named = theirs.message_type or theirs.enum_type
            plain = text_format.descriptor.FieldDescriptor
            types = {
                getattr(plain, f"TYPE_{t.upper()}"): t
                for t in ("string", "bool", "int32", "int64", "uint32", "uint64")
            }
            type_ = named.full_name.removeprefix("inference.") if named else types[theirs.type]
            assert (theirs.number, type_) == (number, kind.strip("[]")), f"{name}.{field}"
            assert theirs.is_repeated == kind.startswith("["), f"{name}.{field}"
    for name, values in triton_schema.ENUMS.items():
        theirs = find(name) if "." in name else getattr(schema, name).DESCRIPTOR
        assert {value: theirs.values_by_name[value].number for value in values} == values


@pytest.fixture
def server(tmp_path: Path) -> Callable[[Path], str]:
    """Triton's own server, which PyTriton's wheel ships without our backends: what it says of a repository.

    It reads and checks every configuration before it looks for a backend.
    """
    found = importlib.util.find_spec("pytriton")
    if not found or not found.submodule_search_locations:
        pytest.skip("no Triton server: pip install --no-deps nvidia-pytriton (x86-64, glibc 2.35)")
    package = Path(found.submodule_search_locations[0])
    (tmp_path / "backends").mkdir()
    off = [f"--allow-{name}=false" for name in ("http", "grpc", "metrics")]
    folders = [f"--backend-directory={tmp_path / 'backends'}", "--disable-auto-complete-config"]

    def said(repository: Path) -> str:
        done = subprocess.run(
            [
                package / "tritonserver" / "bin" / "tritonserver",
                f"--model-repository={repository}",
                *folders,
                *off,
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={**os.environ, "LD_LIBRARY_PATH": str(package.parent / "nvidia_pytriton.libs")},
        )
        return done.stdout + done.stderr

    return said


def test_tritons_own_server_takes_the_configuration(
    server: Callable[[Path], str], small: Path, tmp_path: Path
) -> None:
    (model,) = write_repository(Bundle.open(small), tmp_path / "r", "v")
    said = server(tmp_path / "r")
    assert "Poll failed" not in said
    assert "failed to load 'v_onnx' version 1: Invalid argument: unable to find backend library" in said
    config = (model / "config.pbtxt").read_text()
    for right, wrong, reason in (
        ("[4, 8, 16]", "[4, 8, 32]", "dynamic batching preferred size must be <= max batch size"),
        ("dims: [16000]", "dims: []", "must specify 'dims'"),
        ('name: "v_onnx"', 'name: "other"', "directory name must equal model name"),
        ("data_type: TYPE_FP32", "data_type: TYPE_FP31", "TYPE_FP31"),
    ):
        (model / "config.pbtxt").write_text(config.replace(right, wrong))
        said = server(tmp_path / "r")
        assert reason in said
        assert "unable to find backend" not in said
