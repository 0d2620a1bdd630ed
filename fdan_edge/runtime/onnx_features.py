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
from fdan_edge.runtime.runner import INPUT, OUTPUT, Features, Probabilities, checked_windows

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
        providers, threads, precision: see `OnnxSession`.

    Raises:
        BundleError: as of `OnnxSession`; or no classifier is found in the graph.
        MissingDependencyError: ONNX Runtime or the package onnx is not installed.
    """

    def __init__(
        self, path: Path, providers: tuple[str, ...] | None = None, threads: int = 0, precision: str = ""
    ) -> None:
        super().__init__(path, providers, threads, precision, content=add_features(path))

    def predict_features(self, waveforms: NDArray[np.float32]) -> tuple[Probabilities, Features]:
        """Return probabilities (n, C) and features (n, d) of windows (n, spec.window).

        Raises:
            ValueError: the windows are of another shape.
        """
        windows = checked_windows(waveforms, self.spec)
        probabilities, features = self._session.run([OUTPUT, FEATURES], {INPUT: windows})
        return np.asarray(probabilities, np.float32), np.asarray(features, np.float32)


def add_features(path: Path) -> bytes:
    """Return a file's model with one output more: what the classifier reads, (n, d), as float32.

    Raises:
        BundleError: the file is not an ONNX model, or no classifier is found in it.
        MissingDependencyError: the package onnx is not installed.
    """
    package = _import_onnx()
    try:
        model: onnx.ModelProto = package.load(path)
    except Exception as error:  # protobuf's exceptions and those of its stand-ins have no common base
        raise BundleError(f"{path}: cut short or not an ONNX model: {one_line(error)}") from None
    graph, kind = model.graph, package.TensorProto.FLOAT
    read = _classifier(graph, path).input[0]
    graph.node.append(package.helper.make_node("Cast", [read], [FEATURES], to=kind))
    graph.output.append(package.helper.make_tensor_value_info(FEATURES, kind, ["batch", "features"]))
    content: bytes = model.SerializeToString()
    return content


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
