"""A TensorRT engine behind the `Runner` interface, of both flavours, on pycuda's buffers. Imports no torch.

Not yet run on a GPU: its tests use a stand-in for pycuda and TensorRT that keeps their rules, and
tests/runtime/tensorrt/test_runner_gpu.py waits for a machine that has one.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from fdan_edge.errors import FdanEdgeError, MissingDependencyError, one_line
from fdan_edge.runtime.model_spec import ModelSpec
from fdan_edge.runtime.onnx_check import MOST_BYTES
from fdan_edge.runtime.runner import (
    COMPUTE,
    COPY_IN,
    COPY_OUT,
    INPUT,
    OUTPUT,
    Probabilities,
    checked_probabilities,
    checked_windows,
)
from fdan_edge.runtime.tensorrt.compatibility import TITLES, Fingerprint
from fdan_edge.runtime.tensorrt.cuda_graph import CudaGraph, CudaGraphError
from fdan_edge.runtime.tensorrt.engines import find_tensorrt, last_words, make_logger, nothing_collected
from fdan_edge.utils.files import write_bytes
from fdan_edge.utils.small_files import read_at_most

log = logging.getLogger(__name__)

INSTALL_PYCUDA = "pip install pycuda (it is compiled: CUDA's headers and a C++ compiler must be there)"


class TensorRtRunner:
    """TensorRT or TensorRT for RTX on the first GPU: pinned host memory, one stream, a CUDA graph.

    Batches above the engine's largest are split. For TensorRT for RTX the graph is its own
    (`IRuntimeConfig.cuda_graph_strategy`), since its kernels change while it specialises them; for classic
    TensorRT the stream is captured where a size comes twice in a row, and let go when the size changes.

    Args:
        content: the engine, from a file whose hash was compared.
        fingerprint: of the engine; it must fit this machine.
        spec: how to feed it.
        path: where the engine is from, for messages.
        jit_cache: TensorRT for RTX only: the file that keeps what it compiles at the first run.

    Raises:
        FdanEdgeError: TensorRT does not load the engine, or it is not a model of this project.
        MissingDependencyError: TensorRT or pycuda is not installed.
    """

    def __init__(
        self, content: bytes, fingerprint: Fingerprint, spec: ModelSpec, path: Path, jit_cache: Path | None = None
    ) -> None:
        self.spec = spec
        self.name = f"{TITLES[fingerprint.flavour]} {fingerprint.precision}".strip()
        self.times: dict[str, float] = {}
        self._path = path
        self._flavour = fingerprint.flavour
        self._tensorrt = find_tensorrt(fingerprint.flavour)
        self._cuda = import_pycuda()
        self._messages: list[str] = []
        self._graph: CudaGraph | None = None  # of the shape that is set
        self._captures = fingerprint.flavour == "trt"
        self._shape: tuple[int, int] | None = None
        with contextlib.ExitStack() as stack, self._errors(), nothing_collected():
            self._gpu = self._retain(stack)
            self._load(stack, content, jit_cache)
            self._allocate(stack)
            self._cleanup = stack.pop_all()
            self._gpu.pop()

    def predict(self, waveforms: NDArray[np.float32]) -> Probabilities:
        """Return probabilities (n, C) of windows (n, spec.window).

        Raises:
            ValueError: the windows are of another shape.
            BundleError: the engine gave what are no probabilities.
            FdanEdgeError: CUDA or TensorRT failed.
        """
        windows = checked_windows(waveforms, self.spec)
        probabilities = np.empty((len(windows), len(self.spec.labels)), np.float32)
        self.times = dict.fromkeys((COPY_IN, COMPUTE, COPY_OUT), 0.0)
        with self._errors(), self._current():
            for start in range(0, len(windows), self._largest):
                part = windows[start : start + self._largest]
                probabilities[start : start + len(part)] = self._predict_part(part)
        return checked_probabilities(probabilities, windows, self.spec, str(self._path))

    def _predict_part(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        # No local name for what CUDA frees: an error's traceback would keep it alive beyond the context.
        size = len(windows)
        self._host_in[:size] = windows
        self._events[0].record(self._stream)
        self._cuda.memcpy_htod_async(self._device_in, self._host_in[:size], self._stream)
        self._events[1].record(self._stream)
        self._compute(size)
        self._events[2].record(self._stream)
        self._cuda.memcpy_dtoh_async(self._host_out[:size], self._device_out, self._stream)
        self._events[3].record(self._stream)
        self._stream.synchronize()
        for i, part in enumerate(self.times):
            self.times[part] += float(self._events[i].time_till(self._events[i + 1]))
        heard: NDArray[np.float32] = self._host_out[:size]
        return heard

    def _compute(self, size: int) -> None:
        """Put the network on the stream: as a graph where that size has one."""
        again = self._shape == (size, self.spec.window)
        self._set_shape(size)
        if self._graph:
            self._graph.launch()
            return
        self._enqueue()
        if again and self._captures:  # sizes that come in turn would be recorded in each call
            self._capture()

    def _capture(self) -> None:
        """Record the work of the set shape for its next calls, right after it has run: TensorRT asks for that.

        A change of shape leaves work for the next run, which a recording must not hold.
        """
        self._stream.synchronize()
        try:
            self._graph = CudaGraph(self._stream.handle, self._enqueue)
        except (CudaGraphError, FdanEdgeError) as error:
            log.warning(f"{self._path}: runs without CUDA graphs: {error}")
            self._captures = False

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._stream.handle):
            raise FdanEdgeError(self._said("could not be run"))

    def _set_shape(self, size: int) -> None:
        shape = (size, self.spec.window)
        if shape != self._shape:
            self._drop_graph()  # TensorRT: a recording is void once its execution context was changed
            self._shape = None
            if not self._context.set_input_shape(INPUT, shape):
                raise FdanEdgeError(self._said(f"does not take windows of shape {shape}"))
            self._shape = shape

    def _retain(self, stack: contextlib.ExitStack) -> Any:
        """Return the GPU's primary context, current: the one that TensorRT uses, too."""
        self._cuda.init()
        gpu = self._cuda.Device(0).retain_primary_context()
        stack.callback(gpu.detach)
        gpu.push()
        stack.callback(gpu.pop)
        return gpu

    def _load(self, stack: contextlib.ExitStack, content: bytes, jit_cache: Path | None) -> None:
        self._logger = make_logger(self._tensorrt, self._messages)
        self._runtime = self._tensorrt.Runtime(self._logger)
        stack.callback(self._drop, "_runtime")
        self._engine = self._runtime.deserialize_cuda_engine(content)
        stack.callback(self._drop, "_engine")
        if self._engine is None:
            raise FdanEdgeError(self._said("could not be loaded"))
        self._largest = self._check_engine()
        self._context = self._make_context(stack, jit_cache)
        stack.callback(self._drop, "_context")
        if self._context is None:
            raise FdanEdgeError(self._said("could not be started"))

    def _check_engine(self) -> int:
        """Return largest batch of an engine that takes and gives what its spec says."""
        window, classes = self.spec.window, len(self.spec.labels)
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        if sorted(names) != sorted((INPUT, OUTPUT)):
            raise FdanEdgeError(f"{self._path}: not an engine of fdan-edge: its tensors are {', '.join(names)}")
        taken, given = (tuple(self._engine.get_tensor_shape(name)) for name in (INPUT, OUTPUT))
        if taken[1:] != (window,) or given[1:] != (classes,):
            raise FdanEdgeError(
                f"{self._path}: not of this bundle, of {window} samples and {classes} labels: {taken} to {given}"
            )
        return int(self._engine.get_tensor_profile_shape(INPUT, 0)[2][0])

    def _make_context(self, stack: contextlib.ExitStack, jit_cache: Path | None) -> Any:
        if self._flavour == "trt":
            return self._engine.create_execution_context()
        self._config = self._engine.create_runtime_config()
        stack.callback(self._drop, "_config")
        self._config.cuda_graph_strategy = self._tensorrt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        if jit_cache:
            self._kept = self._config.create_runtime_cache()
            stack.callback(self._drop, "_kept")
            with contextlib.suppress(OSError, ValueError):  # of another GPU or version: refused, and filled anew
                self._kept.deserialize(read_at_most(jit_cache, MOST_BYTES))
            self._config.set_runtime_cache(self._kept)
            stack.callback(self._keep, jit_cache)
        return self._engine.create_execution_context(self._config)

    def _keep(self, jit_cache: Path) -> None:
        """Write what was compiled; a full disk is no reason to fail after the work is done."""
        content = bytes(self._kept.serialize())
        with contextlib.suppress(OSError):
            if content and not (jit_cache.is_file() and jit_cache.read_bytes() == content):
                write_bytes(jit_cache, content)

    def _allocate(self, stack: contextlib.ExitStack) -> None:
        """Make buffers of the largest batch, which all batches use, and what measures their copies."""
        cuda = self._cuda
        taken, given = (self._largest, self.spec.window), (self._largest, len(self.spec.labels))
        self._host_in, self._host_out = (self._pinned(stack, shape) for shape in (taken, given))
        self._device_in, self._device_out = (self._on_device(stack, a) for a in (self._host_in, self._host_out))
        for name, buffer in ((INPUT, self._device_in), (OUTPUT, self._device_out)):
            self._context.set_tensor_address(name, int(buffer))
        self._stream = cuda.Stream()
        stack.callback(self._drop, "_stream")
        self._events = [cuda.Event() for _ in range(4)]
        stack.callback(self._drop, "_events")
        stack.callback(self._drop_graph)
        stack.callback(self._stream.synchronize)

    def _pinned(self, stack: contextlib.ExitStack, shape: tuple[int, int]) -> Any:
        array = self._cuda.pagelocked_empty(shape, np.float32)
        stack.callback(array.base.free)
        return array

    def _on_device(self, stack: contextlib.ExitStack, like: Any) -> Any:
        buffer = self._cuda.mem_alloc(like.nbytes)
        stack.callback(buffer.free)
        return buffer

    def _drop_graph(self) -> None:
        graph, self._graph = self._graph, None
        if graph:
            graph.close()

    def _drop(self, name: str) -> None:
        """Let go of the only reference to an object of CUDA or TensorRT, which frees it."""
        setattr(self, name, None)

    @contextlib.contextmanager
    def _current(self) -> Iterator[None]:
        """Make the GPU's context current on this thread, and what was current before afterwards."""
        if self._gpu is None:
            raise ValueError(f"{self._path}: the runner is closed")
        self._gpu.push()
        try:
            yield
        finally:
            self._gpu.pop()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise errors of CUDA as one line."""
        try:
            yield
        except (self._cuda.Error, CudaGraphError) as error:
            raise FdanEdgeError(f"{self._path}: CUDA failed: {one_line(error)}") from error

    def _said(self, what: str) -> str:
        """Return what failed, with TensorRT's last words."""
        title = f"{TITLES[self._flavour]} {self._tensorrt.__version__}"
        return f"{self._path}: {what}: {title}: {last_words(self._messages)}"

    def close(self) -> None:
        """Free everything; a second call does nothing."""
        cleanup, self._cleanup = self._cleanup, contextlib.ExitStack()
        if self._gpu is not None:
            gpu, self._gpu = self._gpu, None
            with self._errors():
                gpu.push()
                cleanup.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def import_pycuda() -> Any:
    """Import pycuda's driver module.

    Raises:
        MissingDependencyError: it is not installed, or finds no CUDA driver.
    """
    try:
        return importlib.import_module("pycuda.driver")
    except ImportError:
        raise MissingDependencyError("pycuda", "TensorRT", INSTALL_PYCUDA) from None
