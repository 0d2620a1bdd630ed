"""A TensorRT engine on the GPU, with all that runs it: contexts, buffers, a stream, graphs. Imports no torch."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdan_edge.errors import FdanEdgeError, one_line
from fdan_edge.runtime.model_spec import ModelSpec
from fdan_edge.runtime.onnx_check import MOST_BYTES
from fdan_edge.runtime.runner import COMPUTE, COPY_IN, COPY_OUT, INPUT, OUTPUT
from fdan_edge.runtime.tensorrt import freeing
from fdan_edge.runtime.tensorrt.batches import Part, Profile, split
from fdan_edge.runtime.tensorrt.compatibility import TITLES, Fingerprint
from fdan_edge.runtime.tensorrt.cuda_graph import CudaGraphError
from fdan_edge.runtime.tensorrt.device import NON_BLOCKING, current, import_pycuda, primary_context
from fdan_edge.runtime.tensorrt.engines import find_tensorrt, last_words, make_logger
from fdan_edge.runtime.tensorrt.execution import Execution
from fdan_edge.utils.files import write_bytes
from fdan_edge.utils.small_files import read_at_most

log = logging.getLogger(__name__)


class LoadedEngine:
    """An engine with pinned host memory, one stream, and an execution context for each optimization profile.

    For TensorRT for RTX the CUDA graphs are its own (`IRuntimeConfig.cuda_graph_strategy`), since its kernels
    change while it specialises them; for classic TensorRT see `Execution`. Threads take turns.

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
        self, content: bytes, fingerprint: Fingerprint, spec: ModelSpec, path: Path, jit_cache: Path | None
    ) -> None:
        self._path, self._window, self._classes = path, spec.window, len(spec.labels)
        self._flavour = fingerprint.flavour
        self._lock = threading.Lock()
        self._gpu: Any = None  # its context; None: closed
        self._tensorrt = find_tensorrt(fingerprint.flavour)
        self._cuda = import_pycuda()
        self._messages: list[str] = []
        self._profiles: list[Profile] = []
        self._executions: list[Execution] = []
        with freeing.alone(), self._errors():
            gpu = primary_context(self._cuda)
            with current(gpu), contextlib.ExitStack() as stack:
                self._load(stack, content)
                self._start(stack, jit_cache)
                self._allocate(stack)
                self._cleanup = stack.pop_all()
        self._gpu = gpu

    @property
    def recorded(self) -> int:
        """How many CUDA graphs were recorded."""
        return sum(execution.recorded for execution in self._executions)

    @property
    def launched(self) -> int:
        """How many batches were launched as a CUDA graph."""
        return sum(execution.launched for execution in self._executions)

    def predict(self, windows: NDArray[np.float32]) -> tuple[NDArray[np.float32], dict[str, float]]:
        """Return what the engine gives, (n, C), of windows (n, window), and the milliseconds of its parts.

        Raises:
            ValueError: it is closed.
            FdanEdgeError: CUDA or TensorRT failed.
        """
        given = np.empty((len(windows), self._classes), np.float32)
        times = dict.fromkeys((COPY_IN, COMPUTE, COPY_OUT), 0.0)
        with self._lock, self._errors():
            if self._gpu is None:
                raise ValueError(f"{self._path}: the runner is closed")
            with current(self._gpu):
                for part in split(len(windows), self._profiles):
                    given[part.start : part.stop] = self._predict_part(windows, part, times)
        return given, times

    def _predict_part(
        self, windows: NDArray[np.float32], part: Part, times: dict[str, float]
    ) -> NDArray[np.float32]:
        # No local name for what CUDA frees: an error's traceback would keep it alive beyond the context.
        count = part.stop - part.start
        self._host_in[:count] = windows[part.start : part.stop]
        self._events[0].record(self._stream)
        self._cuda.memcpy_htod_async(self._device_in, self._host_in[:count], self._stream)
        self._events[1].record(self._stream)
        self._executions[part.profile].enqueue(part.size)
        self._events[2].record(self._stream)
        self._cuda.memcpy_dtoh_async(self._host_out[:count], self._device_out, self._stream)
        self._events[3].record(self._stream)
        self._stream.synchronize()
        for i, name in enumerate(times):
            times[name] += float(self._events[i].time_till(self._events[i + 1]))
        heard: NDArray[np.float32] = self._host_out[:count]
        return heard

    def _load(self, stack: contextlib.ExitStack, content: bytes) -> None:
        self._logger = make_logger(self._tensorrt, self._messages)
        self._runtime = self._tensorrt.Runtime(self._logger)
        stack.callback(self._drop, "_runtime")
        self._engine = self._runtime.deserialize_cuda_engine(content)
        stack.callback(self._drop, "_engine")
        if self._engine is None:
            raise self._error("could not be loaded")
        self._check_engine()
        self._profiles = [self._profile(i) for i in range(self._engine.num_optimization_profiles)]

    def _profile(self, index: int) -> Profile:
        return Profile(*(int(shape[0]) for shape in self._engine.get_tensor_profile_shape(INPUT, index)))

    def _check_engine(self) -> None:
        """Raise FdanEdgeError unless the engine takes and gives what its spec says."""
        window, classes = self._window, self._classes
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        if sorted(names) != sorted((INPUT, OUTPUT)):
            raise FdanEdgeError(f"{self._path}: not an engine of fdan-edge: its tensors are {', '.join(names)}")
        taken, given = (tuple(self._engine.get_tensor_shape(name)) for name in (INPUT, OUTPUT))
        if taken[1:] != (window,) or given[1:] != (classes,):
            raise FdanEdgeError(
                f"{self._path}: not of this bundle, of {window} samples and {classes} labels: {taken} to {given}"
            )

    def _start(self, stack: contextlib.ExitStack, jit_cache: Path | None) -> None:
        """Make a stream, and an execution context for each profile."""
        self._stream = self._cuda.Stream(NON_BLOCKING)
        stack.callback(self._drop, "_stream")
        self._settings = self._context_settings(stack, jit_cache)
        stack.callback(self._drop, "_settings")
        for index in range(len(self._profiles)):
            self._context = self._engine.create_execution_context(self._settings)
            stack.callback(self._drop, "_context")
            if self._context is None or not self._choose_profile(index):
                raise self._error("could not be started")
            self._executions.append(self._execution())
            stack.callback(self._executions[-1].close)
            self._drop("_context")

    def _choose_profile(self, index: int) -> bool:
        chosen = self._context.set_optimization_profile_async(index, self._stream.handle)
        self._stream.synchronize()
        return bool(chosen)

    def _execution(self) -> Execution:
        records = self._flavour == "trt"
        window, stream = self._window, self._stream
        return Execution(self._context, window, stream, records, self._error, self._do_without_graphs)

    def _do_without_graphs(self, reason: Exception) -> None:
        log.warning(f"{self._path}: runs without CUDA graphs: {reason}")
        for execution in self._executions:
            execution.records = False

    def _context_settings(self, stack: contextlib.ExitStack, jit_cache: Path | None) -> Any:
        """Return what execution contexts are made with; each has memory for its own profile only."""
        allocation = self._tensorrt.ExecutionContextAllocationStrategy.ON_PROFILE_CHANGE
        if self._flavour == "trt":
            return allocation
        self._config = self._engine.create_runtime_config()
        stack.callback(self._drop, "_config")
        self._config.set_execution_context_allocation_strategy(allocation)
        self._config.cuda_graph_strategy = self._tensorrt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        if jit_cache:
            self._kept = self._config.create_runtime_cache()
            stack.callback(self._drop, "_kept")
            with contextlib.suppress(OSError, ValueError):  # of another GPU or version: refused, and filled anew
                self._kept.deserialize(read_at_most(jit_cache, MOST_BYTES))
            self._config.set_runtime_cache(self._kept)
            stack.callback(self._keep, jit_cache)
        return self._config

    def _keep(self, jit_cache: Path) -> None:
        """Write what was compiled; a full disk is no reason to fail after the work is done."""
        content = bytes(self._kept.serialize())
        with contextlib.suppress(OSError):
            if content and not (jit_cache.is_file() and jit_cache.read_bytes() == content):
                write_bytes(jit_cache, content)

    def _allocate(self, stack: contextlib.ExitStack) -> None:
        """Make buffers of the largest batch, which all batches use, and what measures their copies."""
        largest = max(profile.largest for profile in self._profiles)
        taken, given = (largest, self._window), (largest, self._classes)
        self._host_in, self._host_out = (self._pinned(stack, shape) for shape in (taken, given))
        self._device_in, self._device_out = (self._on_device(stack, a) for a in (self._host_in, self._host_out))
        for execution in self._executions:
            execution.use(INPUT, int(self._device_in))
            execution.use(OUTPUT, int(self._device_out))
        self._events = [self._cuda.Event() for _ in range(4)]
        stack.callback(self._drop, "_events")
        stack.callback(self._stream.synchronize)

    def _pinned(self, stack: contextlib.ExitStack, shape: tuple[int, int]) -> Any:
        array = self._cuda.pagelocked_empty(shape, np.float32)
        stack.callback(array.base.free)
        return array

    def _on_device(self, stack: contextlib.ExitStack, like: Any) -> Any:
        buffer = self._cuda.mem_alloc(like.nbytes)
        stack.callback(buffer.free)
        return buffer

    def _drop(self, name: str) -> None:
        """Let go of the only reference to an object of CUDA or TensorRT, which frees it."""
        setattr(self, name, None)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise errors of CUDA as one line."""
        try:
            yield
        except (self._cuda.Error, CudaGraphError) as error:
            raise FdanEdgeError(f"{self._path}: CUDA failed: {one_line(error)}") from error

    def _error(self, what: str) -> FdanEdgeError:
        """Return what failed, with TensorRT's last words."""
        title = f"{TITLES[self._flavour]} {self._tensorrt.__version__}"
        return FdanEdgeError(f"{self._path}: {what}: {title}: {last_words(self._messages)}")

    def close(self) -> None:
        """Free everything; a second call does nothing. Any thread may call it."""
        with self._lock:
            gpu, self._gpu = self._gpu, None
            if gpu is None:
                return
            log.debug("%s: %d CUDA graphs recorded, %d launches", self._path, self.recorded, self.launched)
            with freeing.alone(), self._errors(), current(gpu):
                self._cleanup.close()
