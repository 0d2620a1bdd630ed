"""What bundle.json says, as values with types, checked before any file is opened. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from fdan_edge.errors import BundleError
from fdan_edge.runtime.model_spec import check_schema
from fdan_edge.runtime.tensorrt.compatibility import PORTABLE, Fingerprint

_SHA256 = re.compile(r"[0-9a-f]{64}")
# Schema 1 called its only model this, and had one engine at most, of this largest batch.
_MODEL = "model.onnx"
#: How the name of a graph that begins after the mel filterbank ends: what a live stream runs.
STREAM_SUFFIX = ".stream.onnx"


@dataclass(frozen=True)
class Artifact:
    """An ONNX file of a bundle: the model in one precision."""

    file: str
    precision: str  # fp32, fp16 or int8
    format: str | None  # of int8: u8s8 or s8s8
    targets: tuple[str, ...]  # of fdan_edge.runtime.deploy_targets; later versions may name others
    opset: int
    gate: dict[str, Any] = field(default_factory=dict)  # the report of the comparison with PyTorch
    calibration: dict[str, Any] | None = None
    kept: tuple[str, ...] = ()  # layers kept above int8
    cost: dict[str, Any] | None = None  # operations and bytes, by layer and in total
    stream: str | None = None  # the same from the mel power on, for live streams; the gate's `stream` is of it

    def to_dict(self) -> dict[str, Any]:
        """Plain values for bundle.json."""
        return {**asdict(self), "targets": list(self.targets), "kept": list(self.kept)}


@dataclass(frozen=True)
class EngineFile:
    """A TensorRT engine of a bundle, made from one of its artifacts."""

    file: str
    artifact: str  # the ONNX file that it was made from
    target: str
    fingerprint: Fingerprint
    batch: tuple[int, int, int]  # smallest, best and largest

    def to_dict(self) -> dict[str, Any]:
        """Plain values for bundle.json."""
        return {**asdict(self), "batch": list(self.batch)}


def artifacts(manifest: dict[str, Any]) -> list[Artifact]:
    """The artifacts of a manifest, the primary one first."""
    if manifest["schema"] == 1:
        gate = manifest.get("check") or {}
        return [Artifact(_MODEL, "fp32", None, ("cpu",), manifest.get("opset", 18), gate)]
    return [_artifact(values) for values in manifest["artifacts"]]


def engines(manifest: dict[str, Any]) -> list[EngineFile]:
    """The engines of a manifest."""
    if manifest["schema"] == 1:
        values = manifest.get("engine")
        return [_engine_of_schema_1(values, manifest["files"])] if values else []
    return [_engine(values) for values in manifest.get("engines", [])]


def spec_digest(spec: Any) -> str:
    """SHA-256 of a spec's canonical JSON: rising names, no spaces, ASCII."""
    plain = json.loads(json.dumps(spec))  # as it is read: names of entries are text, and rise as such
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def check(values: Any, newest: int, where: str) -> None:
    """Raise what a manifest of this project would never raise.

    Raises:
        BundleError: made by a later version; its spec was changed; an artifact did not pass its gate; or a gate's
            report or an engine is of another ONNX file.
        KeyError: an entry is missing.
        ValueError, TypeError, AttributeError: an entry cannot be right; the text says which.
    """
    check_schema(values["schema"], newest, where)
    for name, entry in values["files"].items():
        _check_name(name)
        if not isinstance(entry["sha256"], str) or not _SHA256.fullmatch(entry["sha256"]):
            raise ValueError(f"sha256 of {name} is not a SHA-256")
        if "bytes" in entry and (type(entry["bytes"]) is not int or entry["bytes"] < 0):
            raise ValueError(f"bytes of {name} is not a size")
    # Bundles of earlier versions do not say; engines have no spec of their own, as ONNX files do.
    if "spec_sha256" in values and values["spec_sha256"] != spec_digest(values.get("spec")):
        raise BundleError(
            f"{where}: its spec was changed since the export; copy the bundle again, or export it anew"
        )
    found = artifacts(values)
    if not found:
        raise ValueError("artifacts is empty")
    streams = [artifact.stream for artifact in found if artifact.stream is not None]
    _check_listed([*(artifact.file for artifact in found), *streams], values["files"])
    _check_streams(streams, values["files"])
    for artifact in found:
        _check_gate(artifact, values["files"], where)
    for engine in engines(values):
        _check_engine(engine, [artifact.file for artifact in found], values["files"], where)


def _check_name(name: str) -> None:
    """Names of files in the bundle's folder, on any system: no path, nothing hidden."""
    if not name or not name.isprintable() or name.startswith(".") or any(c in name for c in "/\\:"):
        raise ValueError(f"files names {name!r}, which is not a file of the bundle's folder")


def _check_listed(names: list[str], files: dict[str, Any]) -> None:
    for name in names:
        if name not in files:
            raise ValueError(f"{name} is not among its files")
    if len(set(names)) < len(names):
        raise ValueError("a file is named twice")


def _check_streams(streams: list[str], files: dict[str, Any]) -> None:
    for name in files:
        if name.endswith(STREAM_SUFFIX) and name not in streams:
            raise ValueError(f"{name} is of none of its artifacts")


def _check_gate(artifact: Artifact, files: dict[str, Any], where: str) -> None:
    if artifact.gate.get("passed", True) is not True:
        raise BundleError(f"{where}: {artifact.file} did not pass its gate; export it anew")
    compared = artifact.gate.get("onnx_sha256")
    if compared is not None and compared != files[artifact.file]["sha256"]:
        raise BundleError(
            f"{where}: stale: its gate's report on {artifact.file} is of another file; export it anew"
        )
    if artifact.stream and artifact.gate["stream"]["onnx_sha256"] != files[artifact.stream]["sha256"]:
        raise BundleError(
            f"{where}: stale: its gate's report on {artifact.stream} is of another file; export it anew"
        )


def _check_engine(engine: EngineFile, of: list[str], files: dict[str, Any], where: str) -> None:
    _check_listed([engine.file], files)
    if engine.artifact not in of:
        raise ValueError(f"{engine.file} was made from {engine.artifact}, which is not among its artifacts")
    if engine.fingerprint.onnx_sha256 != files[engine.artifact]["sha256"]:
        raise BundleError(
            f"{where}: stale: {engine.file} was made from another {engine.artifact}; export the bundle anew"
        )


def _artifact(values: dict[str, Any]) -> Artifact:
    known = {f.name: values[f.name] for f in fields(Artifact) if f.name in values}
    made = Artifact(**known | {"targets": tuple(values["targets"]), "kept": tuple(values.get("kept") or ())})
    texts = (made.file, made.precision, *made.targets, *made.kept, *([] if made.stream is None else [made.stream]))
    if not all(isinstance(text, str) for text in texts) or not isinstance(made.gate, dict):
        raise ValueError(f"an artifact's entry cannot be right: {known}")
    return made


def _engine(values: dict[str, Any]) -> EngineFile:
    batch = tuple(values["batch"])
    if len(batch) != 3 or not all(type(n) is int for n in batch) or not 1 <= batch[0] <= batch[1] <= batch[2]:
        raise ValueError(f"batch {list(batch)} of an engine is not three rising sizes")
    texts = (values["file"], values["artifact"], values["target"])
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"an engine's entry cannot be right: {texts}")
    return EngineFile(*texts, Fingerprint.from_dict(values["fingerprint"]), batch)


def _engine_of_schema_1(values: dict[str, Any], files: dict[str, Any]) -> EngineFile:
    """Its compute capability was not written down, nor the system; TensorRT for RTX built portable engines."""
    flavour = values["flavour"]
    made_for = PORTABLE if flavour == "rtx" else ""
    content = {
        "flavour": flavour,
        "version": values["version"],
        "compute_capability": made_for,
        "driver": "",
        "precision": "fp32",
        "onnx_sha256": files[_MODEL]["sha256"],
        "system": "",
    }
    target = "rtx" if flavour == "rtx" else "cuda"
    return _engine(
        {
            "file": f"model.{flavour}.engine",
            "artifact": _MODEL,
            "target": target,
            "fingerprint": content,
            "batch": values["batch"],
        }
    )
