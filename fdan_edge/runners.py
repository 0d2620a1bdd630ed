"""One shape for every way to run a model: waveforms in, probabilities out. Imports no torch."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from fdan_edge import bundle
from fdan_edge.errors import BundleError, MissingDependencyError, one_line
from fdan_edge.spec import METADATA_KEY, ModelSpec

Probabilities = NDArray[np.float32]


class Runner(Protocol):
    """Something that names emotions; a context manager."""

    name: str  # runtime and precision, for tables
    spec: ModelSpec

    def predict(self, waveforms: NDArray[np.float32]) -> Probabilities:
        """Probabilities (n, C) of windows (n, spec.window) at spec.sample_rate."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class OnnxRunner:
    """ONNX Runtime, on the CPU by default.

    Args:
        path: an .onnx file that `fdan-edge export` wrote.
        providers: ONNX Runtime execution providers, the first one preferred.
        threads: intra-op threads; 0: all cores.

    Raises:
        BundleError: missing, cut short, not ONNX, or not made by this project.
        MissingDependencyError: ONNX Runtime is not installed.
    """

    def __init__(
        self, path: Path, providers: tuple[str, ...] = ("CPUExecutionProvider",), threads: int = 0
    ) -> None:
        try:
            import onnxruntime
        except ImportError:
            command = "pip install 'fdan-edge[cpu]' (or 'fdan-edge[gpu]' for CUDA)"
            raise MissingDependencyError("onnxruntime", "running a model", command) from None
        if not path.is_file():
            raise BundleError(f"{path}: no such file; `fdan-edge export RUN --onnx --out BUNDLE` makes one")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # its warnings are for its developers
        try:
            self._session = onnxruntime.InferenceSession(os.fspath(path), options, providers=list(providers))
        except Exception as error:  # its exceptions have no common base of its own
            raise BundleError(f"{path}: cut short or not an ONNX file: {one_line(error)}") from None
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.spec = ModelSpec.from_json(metadata.get(METADATA_KEY), str(path))
        self.name = f"ONNX Runtime {self._session.get_providers()[0].removesuffix('ExecutionProvider')}"

    def predict(self, waveforms: NDArray[np.float32]) -> Probabilities:
        """Probabilities (n, C) of windows (n, spec.window)."""
        (probabilities,) = self._session.run(["probabilities"], {"waveform": waveforms})
        return np.asarray(probabilities, np.float32)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._session


def open_runner(target: str | os.PathLike[str], threads: int = 0) -> Runner:
    """A runner for a bundle, an .onnx file or a run folder (the last needs PyTorch).

    Raises:
        BundleError: the target is none of these, or damaged.
        MissingDependencyError: what it needs is not installed.
    """
    path = Path(target)
    if (path / "run.toml").is_file():
        return _torch_runner(path, threads)
    return OnnxRunner(bundle.model_path(path), threads=threads)


def _torch_runner(path: Path, threads: int) -> Runner:
    try:
        import torch

        from fdan_edge.torch_runner import TorchRunner
    except ImportError as error:
        command = "pip install 'fdan-edge[train]'"
        raise MissingDependencyError(error.name or "torch", f"the run {path}", command) from None
    if threads:
        torch.set_num_threads(threads)
    return TorchRunner(path)
