"""A TensorRT engine behind the `Runner` interface, of both flavours. Imports no torch.

Not yet run on a GPU: its tests use a stand-in for pycuda and TensorRT that keeps their rules, and
tests/runtime/tensorrt/test_runner_gpu.py waits for a machine that has one.
"""

from __future__ import annotations

import weakref
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from fdan_edge.runtime.model_spec import ModelSpec
from fdan_edge.runtime.runner import Probabilities, checked_probabilities, checked_windows
from fdan_edge.runtime.tensorrt import freeing
from fdan_edge.runtime.tensorrt.compatibility import TITLES, Fingerprint
from fdan_edge.runtime.tensorrt.loaded_engine import LoadedEngine


class TensorRtRunner:
    """TensorRT or TensorRT for RTX on the first GPU. Any thread may use and close it; they take turns.

    Args:
        content, fingerprint, spec, path, jit_cache: see `LoadedEngine`.

    Raises:
        FdanEdgeError, MissingDependencyError: as of `LoadedEngine`.
    """

    def __init__(
        self, content: bytes, fingerprint: Fingerprint, spec: ModelSpec, path: Path, jit_cache: Path | None = None
    ) -> None:
        self.spec = spec
        self.name = f"{TITLES[fingerprint.flavour]} {fingerprint.precision}".strip()
        self.times: dict[str, float] = {}
        self._path = path
        self._loaded = LoadedEngine(content, fingerprint, spec, path, jit_cache)
        # So the engine of a runner that nobody closed is not the garbage collector's, which runs anywhere.
        self._unclosed = weakref.finalize(self, freeing.later, self._loaded.close)
        self._unclosed.atexit = False

    @property
    def recorded(self) -> int:
        """How many CUDA graphs were recorded; those that TensorRT for RTX records by itself do not count."""
        return self._loaded.recorded

    @property
    def launched(self) -> int:
        """How many batches were launched as one of them."""
        return self._loaded.launched

    def predict(self, waveforms: NDArray[np.float32]) -> Probabilities:
        """Return probabilities (n, C) of windows (n, spec.window).

        Raises:
            ValueError: the windows are of another shape, or the runner is closed.
            BundleError: the engine gave what are no probabilities.
            FdanEdgeError: CUDA or TensorRT failed.
        """
        windows = checked_windows(waveforms, self.spec)
        probabilities, self.times = self._loaded.predict(windows)
        return checked_probabilities(probabilities, windows, self.spec, str(self._path))

    def close(self) -> None:
        """Free everything; a second call does nothing."""
        self._unclosed.detach()
        self._loaded.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
