"""Bundles that are quick to make, and bundle.json files that say something else than the export would."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fdan_edge.runtime.bundle import MANIFEST
from fdan_edge.runtime.manifest import (
    Artifact,
    EngineFile,
    GateReport,
    GraphCost,
    LayerCost,
    Manifest,
    StreamReport,
    TotalCost,
    canonical,
)
from fdan_edge.runtime.tensorrt.compatibility import Fingerprint
from fdan_edge.utils.files import sha256
from tests.helpers.tiny_models import SPEC


def gate(file: Path, stream: Path | None = None, **changes: Any) -> GateReport:
    """The report of a comparison in which `file` passed, and the graph for live streams that was made of it."""
    values: dict[str, Any] = {
        "precision": "fp32",
        "clips": 32,
        "source": "of the test part",
        "max_difference": 1e-6,
        "mean_difference": 1e-7,
        "flips": 0,
        "reference_uar": 0.75,
        "uar": 0.75,
        "loss": 0.0,
        "loss_interval": (-0.5, 0.5),
        "truth": "the labels",
        "passed": True,
        "allowed": "difference 0.001, no label",
        "line": "32 real clips (of the test part): 0 labels differ",
        "largest_half": None,
        "speed": None,
        "onnx_sha256": sha256(file),
        "stream": StreamReport(32, 1e-7, 0, 0.0, sha256(stream)) if stream else None,
    }
    return GateReport(**values | changes)


def artifact(
    file: Path,
    precision: str = "fp32",
    targets: tuple[str, ...] = ("cpu",),
    stream: Path | None = None,
    **others: Any,
) -> Artifact:
    """The entry of a file that is there; the format of int8 is in its name, as in `model.int8-u8s8.onnx`."""
    format_ = file.name.split("-")[1].split(".")[0] if precision == "int8" else None
    name = stream.name if stream else None
    return Artifact(file.name, precision, format_, targets, 18, gate(file, stream), stream=name, **others)


def engine(
    file: Path,
    of: Path,
    flavour: str = "rtx",
    *,
    version: str = "1.7.1",
    capability: str = "8.0+",
    precision: str = "fp32",
    batch: tuple[int, int, int] = (1, 1, 16),
    profiles: tuple[tuple[int, int, int], ...] = (),
) -> EngineFile:
    """The entry of an engine of a file that is there."""
    made_with = Fingerprint(flavour, version, capability, "", precision, sha256(of), "linux-x86_64")
    return EngineFile(file.name, of.name, "rtx" if flavour == "rtx" else "cuda", made_with, batch, profiles)


def manifest(*artifacts: Artifact, engines: tuple[EngineFile, ...] = (), **others: Any) -> Manifest:
    """A manifest of the model of `tiny_models`, without its files."""
    values: dict[str, Any] = {"spec": SPEC, "artifacts": artifacts, "engines": engines}
    return Manifest(**values | others)


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change what a bundle.json says, and give it a digest that fits."""
    values = json.loads((folder / MANIFEST).read_bytes())
    change(values)
    (folder / MANIFEST).write_bytes(canonical(values))


def layer_cost(name: str, operations: int, read: int, write: int, weights: int = 0, **others: Any) -> LayerCost:
    """What a kernel costs: in fp32, of one node, and the same bytes fused or not unless named otherwise."""
    values: dict[str, Any] = {"name": name, "op": name.rpartition("/")[2], "nodes": 1, "precision": "fp32"}
    values |= {"macs": operations // 2, "operations": operations}
    sizes = {"weight_bytes": weights, "read_bytes": read, "write_bytes": write}
    unfused = {"unfused_bytes": read + write + weights}
    return LayerCost(**values | sizes | unfused | others)


def graph_cost(*layers: LayerCost) -> GraphCost:
    """What a graph of these kernels costs."""
    names = ("nodes", "macs", "operations", "weight_bytes", "read_bytes", "write_bytes", "unfused_bytes")
    sums = {name: sum(getattr(layer, name) for layer in layers) for name in names}
    return GraphCost(layers, TotalCost(kernels=len(layers), **sums))
