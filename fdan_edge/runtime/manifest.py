"""bundle.json: what each entry means, and the only code that reads and writes it. Imports no torch.

The file is the canonical JSON of a `Manifest`: two spaces of indentation, entries in the order of the fields
below, UTF-8, a newline at the end. Its last entry, `sha256`, is the SHA-256 of the canonical JSON of all others.
So a file in which a single bit was changed, even of a space, is refused. A digest is no signature: it shows damage
and careless edits, not forgery.

The entries of a schema are fixed: unknown and missing ones are refused. There are two exceptions. A bundle may
name targets that this version does not know, and it may lack entries that came after the first bundles of its
schema (`MAY_LACK`).
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

from fdan_edge.errors import BundleError, one_line
from fdan_edge.runtime.deploy_targets import PRECISIONS
from fdan_edge.runtime.model_spec import ModelSpec
from fdan_edge.runtime.tensorrt.compatibility import Fingerprint
from fdan_edge.runtime.typed_json import MAY_LACK, from_json, to_json
from fdan_edge.utils.small_files import parse_json

SCHEMA = 3
#: How the name of a graph that begins after the mel filterbank ends: what a live stream runs.
STREAM_SUFFIX = ".stream.onnx"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class FileEntry:
    """A file of the bundle."""

    sha256: str  # of its content, 64 hexadecimal digits
    bytes: int  # its size

    def __post_init__(self) -> None:
        if not _SHA256.fullmatch(self.sha256):
            raise ValueError("sha256 is not a SHA-256")
        if self.bytes < 0:
            raise ValueError(f"bytes {self.bytes} is not a size")


@dataclass(frozen=True)
class SpeedReport:
    """How fast an int8 file is beside the next higher precision, on the CPU that exported it."""

    ms: float  # median milliseconds of a call with one window
    other_ms: float  # the same of the other file
    other: str  # its precision
    ratio: float  # ms / other_ms: below 1 is faster


@dataclass(frozen=True)
class StreamReport:
    """What the comparison of a stream graph with its artifact found, on the gate's recordings."""

    clips: int  # recordings
    max_difference: float  # of any probability
    flips: int  # recordings whose label differs
    loss: float  # of UAR against PyTorch, in points of 100
    onnx_sha256: str  # of the file that was compared


@dataclass(frozen=True)
class DistanceReport:
    """How far the probabilities of a lower precision are from PyTorch's: total variation distance, 0 to 1."""

    clips: int  # recordings, more than those that UAR is of where these are few
    trained_on: int  # those of them that the model was trained on
    mean: float  # those of recordings that the model was trained on corrected, as if they were unseen
    largest: float
    limit: float  # of the mean
    temperature: float  # that softened the answers to recordings that the model was trained on; 1: none


@dataclass(frozen=True)
class GateReport:
    """What the comparison of an artifact with the PyTorch model found, on real recordings."""

    precision: str  # fp32, fp16 or int8
    clips: int  # recordings
    source: str  # which recordings, for people
    max_difference: float  # of any probability
    mean_difference: float
    flips: int  # recordings whose label differs
    reference_uar: float  # of the PyTorch model, share of 1
    uar: float  # of the artifact, share of 1
    loss: float  # of UAR, in points of 100
    loss_interval: tuple[float, float]  # 95 %, over speakers where there are ten, else over recordings
    truth: str  # what UAR is counted against: the labels, or what PyTorch recognises
    passed: bool  # always true in a bundle
    allowed: str  # the limits of the precision, for people
    line: str  # the report in one line, for people
    largest_half: float | None  # largest magnitude of a tensor in half precision; None: there is none
    speed: SpeedReport | None  # of int8 for CPUs
    onnx_sha256: str  # of the file that was compared
    stream: StreamReport | None  # of the artifact's stream graph
    distance: DistanceReport | None = field(default=None, metadata=MAY_LACK)  # None: of fp32
    trained_on: bool = field(default=False, metadata=MAY_LACK)  # whether the model was trained on these recordings


@dataclass(frozen=True)
class RangeComparison:
    """How far int8 with ranges of one method is from fp32; None: its probabilities were not finite."""

    mean_difference: float | None
    max_difference: float | None
    agreement: float  # share of windows with the same label


@dataclass(frozen=True)
class Calibration:
    """How the ranges of int8 were chosen."""

    method: str  # minmax, percentile or entropy: the nearest to fp32
    compared: dict[str, RangeComparison]  # by method
    windows: int  # of the training part, on which ranges were measured
    compared_on: str  # which windows, for people
    weight_bits: int


@dataclass(frozen=True)
class LayerCost:
    """What one kernel costs for one window."""

    name: str  # of its first node: module/op
    op: str  # of its first node
    nodes: int
    precision: str  # that it computes in
    macs: int  # multiply-adds
    operations: int  # 2 * macs, and pointwise ones
    weight_bytes: int
    read_bytes: int  # activations
    write_bytes: int
    unfused_bytes: int  # that all its nodes would move, each alone

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision {self.precision!r} is none of {', '.join(PRECISIONS)}")
        counts = (self.nodes, self.macs, self.operations, self.weight_bytes, self.read_bytes, self.write_bytes)
        if min(*counts, self.unfused_bytes) < 0:
            raise ValueError("a count is negative")


@dataclass(frozen=True)
class TotalCost:
    """The sums over all kernels."""

    kernels: int
    nodes: int
    macs: int
    operations: int
    weight_bytes: int
    read_bytes: int
    write_bytes: int
    unfused_bytes: int


@dataclass(frozen=True)
class GraphCost:
    """What a graph costs for one window."""

    layers: tuple[LayerCost, ...]  # in the order of execution
    total: TotalCost

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("has no layers")


@dataclass(frozen=True)
class Artifact:
    """An ONNX file of a bundle: the model in one precision."""

    file: str
    precision: str  # fp32, fp16 or int8
    format: str | None  # of int8: u8s8 or s8s8
    targets: tuple[str, ...]  # of fdan_edge.runtime.deploy_targets; later versions may name others
    opset: int
    gate: GateReport | None = None  # None: not compared, as in bundles of untrained networks for benchmarks
    calibration: Calibration | None = None  # of int8
    kept: tuple[str, ...] = ()  # layers kept above int8
    cost: GraphCost | None = None  # None: not counted
    stream: str | None = None  # file of the same from the mel power on, for live streams


@dataclass(frozen=True)
class EngineFile:
    """A TensorRT engine of a bundle, built from one of its artifacts."""

    file: str
    artifact: str  # the ONNX file that it was built from
    target: str
    fingerprint: Fingerprint
    batch: tuple[int, int, int]  # smallest, best and largest, over all profiles
    #: Smallest, best and largest batch of each optimization profile; (): of the only one, as `batch`.
    profiles: tuple[tuple[int, int, int], ...] = field(default=(), metadata=MAY_LACK)

    def __post_init__(self) -> None:
        for smallest, best, largest in (self.batch, *self.profiles):
            if not 1 <= smallest <= best <= largest:
                raise ValueError(f"batch {[smallest, best, largest]} is not three rising sizes")
        if self.profiles:
            edges = min(profile[0] for profile in self.profiles), max(profile[2] for profile in self.profiles)
            if edges != (self.batch[0], self.batch[2]):
                raise ValueError(f"batch {list(self.batch)} is not that of its profiles, {edges[0]} to {edges[1]}")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All that bundle.json says, in its order, but the schema number before it and the digest after it."""

    run: str = ""  # the run folder, as it was named at the export; "": of no run
    split_sha256: str = ""  # of the run's split.json, which says what speech may not be scored; "": of no run
    spec: ModelSpec  # as in the metadata of each ONNX file
    licence: str = ""  # the terms that the weights inherit, for people
    versions: dict[str, str] = field(default_factory=dict)  # package -> version, of the export
    artifacts: tuple[Artifact, ...]  # the first is the primary one
    engines: tuple[EngineFile, ...] = ()
    files: dict[str, FileEntry] = field(default_factory=dict)  # every file but bundle.json, by name


def canonical(values: dict[str, Any]) -> bytes:
    """Serialise entries as bundle.json has them, with a digest of all but `sha256` as the last.

    Raises:
        ValueError: a value has no JSON, as NaN.
    """
    entries = {name: value for name, value in values.items() if name != "sha256"}
    return _text(entries | {"sha256": hashlib.sha256(_text(entries)).hexdigest()})


def _text(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write(manifest: Manifest, where: str) -> bytes:
    """Serialise a manifest.

    Args:
        manifest: with its files.
        where: the file's path, for messages.

    Raises:
        BundleError: `read` would refuse it.
    """
    try:
        content = canonical({"schema": SCHEMA, **to_json(manifest)})
    except ValueError as error:
        raise BundleError(f"{where}: cannot be written: {one_line(error)}") from None
    read(content, where)
    return content


def read(content: bytes, where: str) -> Manifest:
    """Read and check the content of a bundle.json.

    Args:
        content: of the file.
        where: its path, for messages.

    Raises:
        BundleError: damaged, changed, of another schema, an artifact did not pass its gate, or it names files
            outside the bundle, or an engine of another ONNX file.
    """
    try:
        values = parse_json(content)
        if not isinstance(values, dict):
            raise ValueError("not a table")
        _check_schema(values, where)
        if canonical(values) != content:
            raise BundleError(
                f"{where}: changed since its export (its sha256 is of another content); copy the bundle again, or "
                "export it anew"
            )
        entries = {name: value for name, value in values.items() if name not in ("schema", "sha256")}
        manifest = from_json(Manifest, entries)
        _check(manifest, where)
    except ValueError as error:
        raise BundleError(f"{where}: damaged: {one_line(error)}") from None
    return manifest


def _check_schema(values: dict[str, Any], where: str) -> None:
    schema = values.get("schema")
    if type(schema) is not int or schema < 1:
        raise ValueError(f"schema {schema!r} is not a version number" if "schema" in values else "no 'schema'")
    if schema > SCHEMA:
        raise BundleError(f"{where}: made by a later fdan-edge (schema {schema} > {SCHEMA}); update this one")
    if schema < SCHEMA:
        raise BundleError(
            f"{where}: made by an earlier fdan-edge (schema {schema} < {SCHEMA}); export it anew to another "
            "folder: `fdan-edge export RUN --out BUNDLE`"
        )


def _check(manifest: Manifest, where: str) -> None:
    """Refuse entries that do not fit each other.

    Raises:
        BundleError: an artifact did not pass its gate, or a report or an engine is of another ONNX file.
        ValueError: another contradiction.
    """
    for name in manifest.files:
        _check_name(name)
    if not manifest.artifacts:
        raise ValueError("artifacts is empty")
    streams = [artifact.stream for artifact in manifest.artifacts if artifact.stream is not None]
    onnx_files = [artifact.file for artifact in manifest.artifacts]
    _check_listed([*onnx_files, *streams], manifest.files)
    _check_listed([engine.file for engine in manifest.engines], manifest.files)
    for name in manifest.files:
        if name.endswith(STREAM_SUFFIX) and name not in streams:
            raise ValueError(f"{name} is of none of its artifacts")
    for artifact in manifest.artifacts:
        _check_gate(artifact, manifest.files, where)
    for engine in manifest.engines:
        _check_engine(engine, onnx_files, manifest.files, where)


def _check_name(name: str) -> None:
    """Accept names of files in the bundle's folder, on any system: no path, nothing hidden."""
    if not name or not name.isprintable() or name.startswith(".") or any(c in name for c in "/\\:"):
        raise ValueError(f"files names {name!r}, which is not a file of the bundle's folder")


def _check_listed(names: list[str], files: dict[str, FileEntry]) -> None:
    for name in names:
        if name not in files:
            raise ValueError(f"{name} is not among its files")
    if len(set(names)) < len(names):
        raise ValueError("a file is named twice")


def _check_gate(artifact: Artifact, files: dict[str, FileEntry], where: str) -> None:
    gate = artifact.gate
    if artifact.stream is not None and (gate is None or gate.stream is None):
        raise ValueError(f"{artifact.stream} was not compared with its artifact")
    if gate is None:
        return
    if not gate.passed:
        raise BundleError(f"{where}: {artifact.file} did not pass its gate; export it anew")
    reports = [(artifact.file, gate.onnx_sha256)]
    if artifact.stream is not None and gate.stream is not None:
        reports.append((artifact.stream, gate.stream.onnx_sha256))
    for name, compared in reports:
        if compared != files[name].sha256:
            raise BundleError(f"{where}: stale: its gate's report on {name} is of another file; export it anew")


def _check_engine(engine: EngineFile, onnx_files: list[str], files: dict[str, FileEntry], where: str) -> None:
    if engine.artifact not in onnx_files:
        raise ValueError(f"{engine.file} was made from {engine.artifact}, which is not among its artifacts")
    if engine.fingerprint.onnx_sha256 != files[engine.artifact].sha256:
        raise BundleError(
            f"{where}: stale: {engine.file} was made from another {engine.artifact}; export the bundle anew"
        )
