"""The features that a graph's classifier reads, as its second output. Imports no torch, and onnx only when asked.

The file stays as it is: its graph is changed in memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fdan_edge.errors import BundleError, MissingDependencyError, one_line
from fdan_edge.runtime.onnx import OnnxRunner
from fdan_edge.runtime.onnx_check import check_model, read_model
from fdan_edge.runtime.runner import OUTPUT, Features, Probabilities, checked_probabilities, checked_windows

if TYPE_CHECKING:
    import onnx

FEATURES = "classifier_input"
#: What may stand between the classifier and the probabilities: bias, scale, temperature, softmax, changes of type.
_AFTER = frozenset(("Add", "Cast", "DequantizeLinear", "Div", "Identity", "Mul", "QuantizeLinear", "Softmax"))
_CLASSIFIERS = ("Gemm", "MatMul")


class OnnxFeatureRunner(OnnxRunner):
    """A whole model that gives the features before its classifier, too; a `FeatureRunner`.

    Args:
        path: an .onnx file that `fdan-edge export` wrote, in any precision.
        providers, threads, precision, content: see `OnnxSession`.

    Raises:
        BundleError: as of `OnnxSession`; or no classifier is found in the graph.
        MissingDependencyError: ONNX Runtime or the package onnx is not installed.
    """

    def _changed(self, content: bytes | None) -> bytes | None:
        return add_features(self._path, content)

    def predict_features(self, waveforms: NDArray[np.float32]) -> tuple[Probabilities, Features]:
        """Return probabilities (n, C) and features (n, d) of windows (n, spec.window).

        Raises:
            ValueError: the windows are of another shape.
            BundleError: as of `OnnxSession`, or the features are not one row of numbers for each window.
        """
        windows = checked_windows(waveforms, self.spec)
        probabilities, features = self._within_limits([OUTPUT, FEATURES], windows)
        if features.ndim != 2 or len(features) != len(windows):
            raise BundleError(f"{self._path}: gave features of shape {features.shape} for {len(windows)} windows")
        return checked_probabilities(probabilities, windows, self.spec, str(self._path)), features


def add_features(path: Path, content: bytes | None = None) -> bytes:
    """Return a file's model with one output more: what the classifier reads, (n, d), as float32.

    Args:
        path: of the file.
        content: of it, where it was read before.

    Raises:
        BundleError: the file is not an ONNX model that is run, or no classifier is found in it.
        MissingDependencyError: the package onnx is not installed.
    """
    package = _import_onnx()
    content = read_model(path) if content is None else content
    check_model(content, path)
    try:
        model: onnx.ModelProto = package.load_from_string(content)
    except Exception as error:  # protobuf's exceptions and those of its stand-ins have no common base
        raise BundleError(f"{path}: cut short or not an ONNX model: {one_line(error)}") from None
    graph, kind = model.graph, package.TensorProto.FLOAT
    read = _classifier(graph, path).input[0]
    graph.node.append(package.helper.make_node("Cast", [read], [FEATURES], to=kind))
    graph.output.append(package.helper.make_tensor_value_info(FEATURES, kind, ["batch", "features"]))
    changed: bytes = model.SerializeToString()
    return changed


def _classifier(graph: onnx.GraphProto, path: Path) -> onnx.NodeProto:
    """Find the last product with weights before the probabilities."""
    maker = {name: node for node in graph.node for name in node.output if node.op_type != "Constant"}
    node: onnx.NodeProto | None = maker.get(OUTPUT)
    while node is not None and node.op_type in _AFTER:
        computed = [name for name in node.input if name in maker]
        node = maker[computed[0]] if len(computed) == 1 else None
    if node is None or node.op_type not in _CLASSIFIERS or node.input[0] not in maker:
        raise BundleError(f"{path}: has no classifier before its probabilities, so it gives no embeddings")
    return node


def _import_onnx() -> Any:
    try:
        import onnx
    except ImportError:
        raise MissingDependencyError("onnx", "reading embeddings from an ONNX file", "pip install onnx") from None
    return onnx
