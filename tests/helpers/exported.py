"""A network as an ONNX file, without the rest of an export."""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx

from fdan_edge.export.to_onnx import export_graph
from fdan_edge.models.fdan import AcousticPath
from fdan_edge.runs.torch_runner import TorchRunner
from fdan_edge.runtime.bundle import MODEL, Bundle
from fdan_edge.runtime.model_spec import ModelSpec


def write_onnx(path: AcousticPath, spec: ModelSpec, file: Path) -> None:
    """Export waveform -> probabilities in fp32 to a file."""
    file.write_bytes(export_graph(path, spec).SerializeToString())


class KeptGraphs:
    """Exports networks as `export_graph` does, but each one once: PyTorch's exporter takes seconds."""

    def __init__(self) -> None:
        self._graphs: dict[str, onnx.ModelProto] = {}

    def __call__(self, path: AcousticPath, spec: ModelSpec) -> onnx.ModelProto:
        """Give the graph of waveform -> probabilities in fp32."""
        key = _key(path, spec)
        if key not in self._graphs:
            self._graphs[key] = export_graph(path, spec)
        model = onnx.ModelProto()
        model.CopyFrom(self._graphs[key])
        return model

    def add(self, run: Path, bundle: Path) -> None:
        """Take the graph of a run from its bundle."""
        with TorchRunner(run) as runner:
            key = _key(runner.path, Bundle.open(bundle).manifest.spec)
        self._graphs[key] = onnx.load(bundle / MODEL)


def _key(path: AcousticPath, spec: ModelSpec) -> str:
    digest = hashlib.sha256(f"{spec.to_json()} {path.temperature}".encode())
    for tensor in path.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
