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
from fdan_edge.errors import INSTALL_TRAINING, BundleError, MissingDependencyError, one_line
from fdan_edge.spec import METADATA_KEY, ModelSpec

Probabilities = NDArray[np.float32]

_INPUT, _OUTPUT = "waveform", "probabilities"
_PREFERRED = ("CUDAExecutionProvider", "CPUExecutionProvider")


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


def checked_windows(waveforms: NDArray[np.float32], spec: ModelSpec) -> NDArray[np.float32]:
    """The windows as float32.

    Raises:
        ValueError: their shape is not (n, spec.window).
    """
    waveforms = np.asarray(waveforms, np.float32)
    if waveforms.ndim != 2 or waveforms.shape[1] != spec.window:
        raise ValueError(f"expected windows of shape (n, {spec.window}), got {waveforms.shape}")
    return waveforms


class OnnxRunner:
    """ONNX Runtime, on a GPU where `onnxruntime-gpu` is installed, else on the CPU.

    Args:
        path: an .onnx file that `fdan-edge export` wrote.
        providers: ONNX Runtime execution providers, the first one preferred; None: CUDA where this
            ONNX Runtime has it, then the CPU.
        threads: intra-op threads; 0: all cores.

    Raises:
        BundleError: missing, cut short, not ONNX, or not made by this project.
        MissingDependencyError: ONNX Runtime is not installed.
    """

    def __init__(self, path: Path, providers: tuple[str, ...] | None = None, threads: int = 0) -> None:
        try:
            import onnxruntime
        except ImportError:
            command = "pip install onnxruntime (or onnxruntime-gpu for CUDA)"
            raise MissingDependencyError("onnxruntime", "running a model", command) from None
        if not path.is_file():
            raise BundleError(f"{path}: no such file; `fdan-edge export RUN --onnx --out BUNDLE` makes one")
        if providers is None:
            available = onnxruntime.get_available_providers()
            providers = tuple(name for name in _PREFERRED if name in available)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # its warnings are for its developers
        try:
            self._session = onnxruntime.InferenceSession(os.fspath(path), options, providers=list(providers))
        except Exception as error:  # its exceptions have no common base of its own
            raise BundleError(f"{path}: cut short or not an ONNX model: {_reason(error)}") from None
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.spec = ModelSpec.from_json(metadata.get(METADATA_KEY), str(path))
        self._check_graph(path)
        self.name = f"ONNX Runtime {self._session.get_providers()[0].removesuffix('ExecutionProvider')}"

    def predict(self, waveforms: NDArray[np.float32]) -> Probabilities:
        """Probabilities (n, C) of windows (n, spec.window).

        Raises:
            ValueError: the windows are of another shape.
        """
        (probabilities,) = self._session.run([_OUTPUT], {_INPUT: checked_windows(waveforms, self.spec)})
        return np.asarray(probabilities, np.float32)

    def _check_graph(self, path: Path) -> None:
        """Raise BundleError unless the graph takes and gives what its metadata says."""
        inputs = {value.name: value.shape for value in self._session.get_inputs()}
        outputs = {value.name: value.shape for value in self._session.get_outputs()}
        window, classes = self.spec.window, len(self.spec.labels)
        if [*inputs] != [_INPUT] or _OUTPUT not in outputs:
            raise BundleError(f"{path}: not a model of fdan-edge: it turns {[*inputs]} into {[*outputs]}")
        if inputs[_INPUT][1:] != [window] or outputs[_OUTPUT][1:] != [classes]:
            raise BundleError(
                f"{path}: its metadata ({window} samples, {classes} labels) does not fit its graph "
                f"({inputs[_INPUT]} to {outputs[_OUTPUT]})"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._session


def _reason(error: Exception) -> str:
    """What ONNX Runtime says after its codes and the file's name."""
    return one_line(error).rpartition("failed:")[2] or one_line(error)


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
        raise MissingDependencyError(error.name or "torch", f"the run {path}", INSTALL_TRAINING) from None
    if threads:
        torch.set_num_threads(threads)
    return TorchRunner(path)
