"""A network as an ONNX file, without the rest of an export."""

from __future__ import annotations

from pathlib import Path

from fdan_edge.export.to_onnx import export_graph
from fdan_edge.models.fdan import AcousticPath
from fdan_edge.runtime.model_spec import ModelSpec


def write_onnx(path: AcousticPath, spec: ModelSpec, file: Path) -> None:
    """Export waveform -> probabilities in fp32 to a file."""
    file.write_bytes(export_graph(path, spec).SerializeToString())
