"""A bundle as a model repository for NVIDIA Triton Inference Server, for those who outgrow one machine.

REPOSITORY/NAME_onnx/config.pbtxt    what Triton's ModelConfig says (model_config.proto)
                     labels.txt      with it Triton answers with the names of classes
                     1/model.onnx
REPOSITORY/NAME_trt/...1/model.plan  for each engine of classic TensorRT

Other precisions than the primary artifact's stand in the name: NAME_fp16_onnx, NAME_int8-s8s8_trt.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fdan_edge.errors import ExportError, one_line
from fdan_edge.export.triton_schema import config_text
from fdan_edge.runtime.bundle import Bundle
from fdan_edge.runtime.deploy_targets import known_targets
from fdan_edge.runtime.manifest import Artifact, EngineFile
from fdan_edge.runtime.model_spec import METADATA_KEY, ModelSpec
from fdan_edge.runtime.onnx_check import check_model
from fdan_edge.runtime.tensorrt.engines import BATCH
from fdan_edge.utils.atomic_folder import atomic_folder
from fdan_edge.utils.files import write_text

CONFIG, LABELS, VERSION = "config.pbtxt", "labels.txt", "1"
_MARK = "# Written by `fdan-edge export --triton`; replaced by the next one.\n"
_PREFERRED = (4, 8, 16)
#: Microseconds that a request waits for others: a fraction of what one window takes on two CPU cores.
_QUEUE_DELAY = 2000
_ON_CPU, _ON_GPU = "onnxruntime-cpu", "onnxruntime-cuda"


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph, without its batch."""

    name: str
    data_type: str
    dims: tuple[int, ...]


@dataclass(frozen=True)
class Model:
    """One folder of the repository."""

    name: str
    bundle: Bundle
    source: str  # a file of the bundle
    file: str  # as Triton's backend calls it
    config: dict[str, Any]
    labels: tuple[str, ...]


def write_repository(bundle: Bundle, folder: Path, name: str) -> list[Path]:
    """Write a model repository with every artifact of a bundle that Triton can serve.

    ONNX files for the targets cpu and cuda, and engines of classic TensorRT; an engine of TensorRT for RTX is
    not one that Triton loads. Models of other names in the repository stay as they are.

    Args:
        bundle: its files' hashes are checked.
        folder: the repository, made where it is missing.
        name: of the models, before `_onnx` and `_trt`.

    Returns:
        The folders of the models.

    Raises:
        BundleError: the bundle is damaged, or not what was exported.
        ExportError: a name that Triton cannot have, a graph whose batch is fixed, or something in the way that
            this did not write.
    """
    check_place(folder, bundle.path, name)
    models = _models(bundle, name)
    for model in models:  # all, before the first is replaced
        _check_replaceable(folder / model.name, model)
    _check_left_over(folder, name, {model.name for model in models})
    return [_write(folder, model) for model in models]


def check_place(folder: Path, bundle_folder: Path, name: str) -> None:
    """Refuse what could not be a repository, before minutes of work.

    Raises:
        ExportError: a name that Triton cannot have, a file in the way, or a place inside the bundle.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise ExportError(f"{name!r} cannot be a model's name in Triton: use letters, digits, _, - and .")
    if folder.exists() and not folder.is_dir():
        raise ExportError(f"{folder}: is a file; name a folder for the model repository")
    if folder.resolve().is_relative_to(bundle_folder.resolve()):
        raise ExportError(
            f"{folder}: is inside the bundle {bundle_folder}; name another folder for the repository"
        )


def _models(bundle: Bundle, name: str) -> list[Model]:
    models = [
        _onnx_model(bundle, artifact, f"{name}{_suffix(artifact.file)}_onnx")
        for index, artifact in enumerate(bundle.artifacts)
        if index == 0 or _runtimes(artifact)
    ]
    engines: dict[str, EngineFile] = {}
    for engine in bundle.engines:
        if engine.fingerprint.flavour == "trt":
            other = engines.setdefault(f"{name}{_suffix(engine.artifact)}_trt", engine)
            if other is not engine:  # for another card: only one of them can be right for a server
                raise ExportError(
                    f"{bundle.path}: {other.file} and {engine.file} would be the same model in Triton"
                )
    return models + [_engine_model(bundle, engine, model_name) for model_name, engine in engines.items()]


def _runtimes(artifact: Artifact) -> set[str]:
    """Give the runtimes of an artifact's targets that Triton has too."""
    return {target.runtime for target in known_targets(artifact.targets)} & {_ON_CPU, _ON_GPU}


def _suffix(file: str) -> str:
    """Give what an artifact's name says of its precision: nothing of the primary one."""
    return "".join(f"_{part}" for part in file.removesuffix(".onnx").split(".")[1:])


def _onnx_model(bundle: Bundle, artifact: Artifact, name: str) -> Model:
    runtimes = _runtimes(artifact)
    inputs, outputs, spec = _graph(bundle, artifact.file)
    config = _common(name, "onnxruntime_onnx", "onnxruntime", BATCH[-1], inputs, outputs)
    kind = "KIND_GPU"
    if _ON_CPU in runtimes:  # automatic: where the server has no GPU, it still starts
        kind = "KIND_AUTO" if _ON_GPU in runtimes else "KIND_CPU"
    config["instance_group"] = [{"count": 1, "kind": kind}]
    if kind != "KIND_CPU":
        accelerators = {"gpu_execution_accelerator": [_accelerator(artifact.precision, inputs[0])]}
        config["optimization"] = {"execution_accelerators": accelerators}
    config |= _parameters(spec, bundle, artifact.file)
    return Model(name, bundle, artifact.file, "model.onnx", config, spec.labels)


def _engine_model(bundle: Bundle, engine: EngineFile, name: str) -> Model:
    if engine.batch[0] != 1:
        raise ExportError(f"{engine.file}: takes no batch of 1, so Triton cannot serve single requests with it")
    bundle.file(engine.file)  # that it is damaged is said before anything is replaced
    inputs, outputs, spec = _graph(bundle, engine.artifact)
    config = _common(name, "tensorrt_plan", "tensorrt", engine.batch[2], inputs, outputs)
    # Without the list Triton takes the first profile only, and refuses larger batches than that has.
    profiles = [str(index) for index in range(len(engine.profiles))]
    config["instance_group"] = [{"count": 1, "kind": "KIND_GPU"} | ({"profile": profiles} if profiles else {})]
    config |= _parameters(spec, bundle, engine.file)
    return Model(name, bundle, engine.file, "model.plan", config, spec.labels)


def _graph(bundle: Bundle, file: str) -> tuple[list[Tensor], list[Tensor], ModelSpec]:
    """Read the inputs and outputs of an ONNX file, and the spec in it.

    Raises:
        BundleError: it is not the exported one, or more than a model: Triton has no limits of its own for it.
    """
    import onnx

    path, content = bundle.path / file, bundle.read(file)
    check_model(content, path)
    try:
        model = onnx.load_from_string(content)
    except Exception as error:  # protobuf's have no base that is documented
        raise ExportError(f"{path}: cannot be read: {one_line(error)}") from None
    notes = {entry.key: entry.value for entry in model.metadata_props}
    inputs, outputs = (
        [_tensor(path, value) for value in values] for values in (model.graph.input, model.graph.output)
    )
    return inputs, outputs, ModelSpec.from_json(notes.get(METADATA_KEY), str(path))


def _tensor(path: Path, value: Any) -> Tensor:
    import onnx

    kind = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)
    types = {"FLOAT": "TYPE_FP32", "FLOAT16": "TYPE_FP16"}
    sizes = value.type.tensor_type.shape.dim
    if kind not in types or not sizes or sizes[0].HasField("dim_value") or not all(d.dim_value for d in sizes[1:]):
        shape = [d.dim_value or d.dim_param for d in sizes]
        raise ExportError(f"{path}: {value.name} ({kind}, {shape}) is not floats with a dynamic batch first")
    return Tensor(value.name, types[kind], tuple(d.dim_value for d in sizes[1:]))


def _common(
    name: str, platform: str, backend: str, largest: int, inputs: list[Tensor], outputs: list[Tensor]
) -> dict[str, Any]:
    def entry(tensor: Tensor) -> dict[str, Any]:
        return {"name": tensor.name, "data_type": tensor.data_type, "dims": list(tensor.dims)}

    # Preferred sizes that the profile cannot take would keep the model from loading.
    sizes = [size for size in _PREFERRED if size <= largest]
    return {
        "name": name,
        "platform": platform,
        "backend": backend,
        "max_batch_size": largest,
        "input": [entry(tensor) for tensor in inputs],
        "output": [entry(tensor) | {"label_filename": LABELS} for tensor in outputs],
        "version_policy": {"latest": {"num_versions": 1}},
        "dynamic_batching": {"preferred_batch_size": sizes, "max_queue_delay_microseconds": _QUEUE_DELAY},
        "model_warmup": [_warmup(size, inputs) for size in sorted({1, largest})],
    }


def _warmup(size: int, inputs: list[Tensor]) -> dict[str, Any]:
    """Describe a first call before the model counts as ready. Random data: silence may take shorter ways."""
    values = [
        {"key": t.name, "value": {"data_type": t.data_type, "dims": list(t.dims), "random_data": True}}
        for t in inputs
    ]
    return {"name": f"batch of {size}", "batch_size": size, "inputs": values}


def _accelerator(precision: str, waveform: Tensor) -> dict[str, Any]:
    """Say how ONNX Runtime uses a GPU, so that it computes what the gate has checked.

    CUDA's provider keeps to the graph's types. TensorRT's provider does not for fp16 (its front end would be
    rounded too), but only it runs Q/DQ in int8.
    """
    if precision != "int8":
        return {"name": "cuda", "parameters": [{"key": "use_tf32", "value": "0"}]}
    profile = {
        f"trt_profile_{edge}_shapes": f"{waveform.name}:{'x'.join(map(str, (size, *waveform.dims)))}"
        for edge, size in (("min", 1), ("opt", 1), ("max", BATCH[-1]))
    }
    settings = {"precision_mode": "INT8", **profile}
    return {"name": "tensorrt", "parameters": [{"key": k, "value": v} for k, v in settings.items()]}


def _parameters(spec: ModelSpec, bundle: Bundle, file: str) -> dict[str, Any]:
    """Give what a client must know to cut its recordings into windows."""
    values = {
        "sample_rate": spec.sample_rate,
        "window": spec.window,
        "window_hop": spec.window_hop,
        "trim_db": spec.trim_db,
        "high_pass": spec.high_pass,
        "sha256": bundle.manifest.files[file].sha256,
    }
    return {"parameters": [{"key": k, "value": {"string_value": str(v)}} for k, v in values.items()]}


def _is_ours(target: Path) -> bool:
    config = target / CONFIG
    return not target.is_symlink() and config.is_file() and _starts_with(config, _MARK.encode())


def _starts_with(path: Path, start: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(start)) == start


def _check_left_over(folder: Path, name: str, written: set[str]) -> None:
    """Raise ExportError where Triton would go on serving an earlier bundle under this name."""
    pattern = rf"{re.escape(name)}(_(fp32|fp16|int8)[\w-]*)?_(onnx|trt)"
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    for path in paths:
        if path.name not in written and re.fullmatch(pattern, path.name) and _is_ours(path):
            raise ExportError(
                f"{path}: is of an earlier bundle and not in this one; remove it or use another name"
            )


def _check_replaceable(target: Path, model: Model) -> None:
    """Raise ExportError where a model put in the place of `target` could lose something."""
    if not (target.exists() or target.is_symlink()):
        return
    ours = _is_ours(target)
    files = {p.relative_to(target).as_posix() for p in target.rglob("*")} if ours else set()
    foreign = sorted(files - {CONFIG, LABELS, VERSION, f"{VERSION}/{model.file}"})
    if not ours or foreign:
        what = f"holds {', '.join(foreign)}, which" if foreign else "exists, and"
        raise ExportError(f"{target}: {what} was not written by fdan-edge; move it or use another name")


def _write(folder: Path, model: Model) -> Path:
    with atomic_folder(folder / model.name) as temporary:
        (temporary / VERSION).mkdir()
        (temporary / VERSION / model.file).write_bytes(model.bundle.read(model.source))
        write_text(temporary / LABELS, "".join(f"{label}\n" for label in model.labels))
        write_text(temporary / CONFIG, _MARK + config_text(model.config))
    return folder / model.name
