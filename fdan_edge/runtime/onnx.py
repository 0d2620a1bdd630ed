"""An .onnx file behind the `Runner` interface, in ONNX Runtime. Imports no torch."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from fdan_edge.errors import BundleError, one_line
from fdan_edge.runtime import deadline
from fdan_edge.runtime.model_spec import METADATA_KEY, ModelSpec
from fdan_edge.runtime.onnx_check import check_model, read_model
from fdan_edge.runtime.onnx_session import (
    CPU,
    CUDA,
    import_onnxruntime,
    is_memory_error,
    open_session,
    run_options,
)
from fdan_edge.runtime.runner import (
    COMPUTE,
    COPY_IN,
    COPY_OUT,
    INPUT,
    OUTPUT,
    POWER,
    Probabilities,
    checked_probabilities,
    checked_windows,
)

# Batch sizes whose buffers stay on the device; recordings have few windows.
_KEPT_SIZES = 8
_TENSOR = "tensor(float)"
#: Seconds that a run may take, and those for each window: the slowest network on the slowest board takes two.
_SECONDS, _SECONDS_EACH = 10.0, 2.0


class OnnxSession:
    """A graph in ONNX Runtime, on a GPU where `onnxruntime-gpu` is installed, else on the CPU.

    The file may come from a stranger: `onnx_check` says what it may hold, and what it computes has limits of
    memory and time.

    Args:
        path: an .onnx file that `fdan-edge export` wrote.
        providers: ONNX Runtime execution providers, the first one preferred; None: CUDA where this
            ONNX Runtime has it, then the CPU.
        threads: intra-op threads; 0: all cores.
        precision: of the file, for the runner's name.
        content: what to run, as what was read of the file and compared; None: the file is read.

    Raises:
        BundleError: missing, cut short, not ONNX, not made by this project, or more than a model.
        MissingDependencyError: ONNX Runtime is not installed.
    """

    _taken = INPUT  # name of the graph's input

    def __init__(
        self,
        path: Path,
        providers: tuple[str, ...] | None = None,
        threads: int = 0,
        precision: str = "",
        content: bytes | None = None,
    ) -> None:
        available = import_onnxruntime().get_available_providers()
        if not path.is_file():
            raise BundleError(f"{path}: no such file; `fdan-edge export RUN --out BUNDLE` makes one")
        if providers is None:
            providers = tuple(name for name in (CUDA, CPU) if name in available)
        self._path = path
        self._session = open_checked(path, self._changed(content), providers, intra_op_num_threads=threads)
        try:
            self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
            self.spec = ModelSpec.from_json(self.metadata.get(METADATA_KEY), str(path))
            self._check_names(path)
            self._shapes = [list(self._session.get_inputs()[0].shape), self._output_shape()]
        except UnicodeDecodeError:
            raise BundleError(f"{path}: damaged: a name or its metadata is not UTF-8") from None
        self.provider: str = self._session.get_providers()[0]
        words = ("ONNX Runtime", self.provider.removesuffix("ExecutionProvider"), precision)
        self.name = " ".join(word for word in words if word)
        self.times: dict[str, float] = {}
        self._device = "cuda" if self.provider == CUDA else ""
        self._buffers: dict[int, _Buffers] = {}
        self._lock = threading.Lock()
        self._options: list[Any] = []  # of runs that are over
        self._check_graph(path)

    def _changed(self, content: bytes | None) -> bytes | None:
        """Return what is opened; None: the file as it is."""
        return content

    def _check_graph(self, path: Path) -> None:
        """Raise BundleError unless the graph and its metadata are of this kind."""

    def _run(self, values: NDArray[np.float32]) -> Probabilities:
        """Return probabilities (n, C) of what the graph takes, (n, ...)."""
        (probabilities,) = self._within_limits([OUTPUT], values)
        return checked_probabilities(probabilities, values, self.spec, str(self._path))

    def _within_limits(self, names: list[str], values: NDArray[np.float32]) -> list[Any]:
        """Return outputs; where the limit of memory does not let so many windows through at once, half after half.

        Raises:
            BundleError: ONNX Runtime cannot run it, or not within the limits.
        """
        options = self._free_options()
        seconds = _SECONDS + _SECONDS_EACH * len(values)
        run = deadline.within(seconds, options, str(self._path))
        try:
            with run:
                outputs = self._outputs(names, values, options)
            if run.is_over:
                self._options.append(options)
            return outputs
        except Exception as error:  # of any kind, as in `open_checked`
            if not is_memory_error(error):
                stopped = f"gave no answer within {seconds:g} s, and was stopped" if options.terminate else ""
                raise BundleError(f"{self._path}: {stopped or f'failed: {_reason(error)}'}") from None
        if len(values) < 2:
            raise BundleError(f"{self._path}: a window needs more memory than a model may take, or than there is")
        halves = np.array_split(values, 2)
        parts = [self._within_limits(names, half) for half in halves]
        try:
            return [np.concatenate(of_output) for of_output in zip(*parts, strict=True)]
        except ValueError as error:
            raise BundleError(f"{self._path}: gave answers that do not fit together: {one_line(error)}") from None

    def _free_options(self) -> Any:
        """Return options that no run uses; making them takes longer than all else that surrounds a run."""
        try:
            return self._options.pop()
        except IndexError:
            return run_options()

    def _outputs(self, names: list[str], values: NDArray[np.float32], options: Any) -> list[Any]:
        if self._device and len(values) and names == [OUTPUT]:
            with self._lock:  # streams share a runner, and the buffers are one stream's at a time
                return [self._run_on_device(values, options)]
        outputs: list[Any] = self._session.run(names, {self._taken: values}, options)
        return outputs

    def _run_on_device(self, values: NDArray[np.float32], options: Any) -> Probabilities:
        """Run with input and output in memory of the device that is used again; each step ends before the next."""
        buffers = self._buffers.pop(len(values), None) or self._new_buffers(values)
        self._buffers[len(values)] = buffers  # the last is the one that was used last
        clock = [time.perf_counter()]
        buffers.input.update_inplace(np.ascontiguousarray(values))
        clock.append(time.perf_counter())
        self._session.run_with_iobinding(buffers.binding, options)
        buffers.binding.synchronize_outputs()
        clock.append(time.perf_counter())
        probabilities = np.array(buffers.output.numpy(), np.float32)
        clock.append(time.perf_counter())
        parts = zip((COPY_IN, COMPUTE, COPY_OUT), np.diff(clock), strict=True)
        self.times = {part: float(seconds) * 1000 for part, seconds in parts}
        return probabilities

    def _new_buffers(self, values: NDArray[np.float32]) -> _Buffers:
        while len(self._buffers) >= _KEPT_SIZES:
            del self._buffers[next(iter(self._buffers))]
        output_shape = (len(values), len(self.spec.labels))
        return _Buffers(self._session, self._taken, values.shape, output_shape, self._device)

    def _check_names(self, path: Path) -> None:
        """Raise BundleError unless the graph is of this kind."""
        inputs = [value.name for value in self._session.get_inputs()]
        outputs = [value.name for value in self._session.get_outputs()]
        if inputs == [POWER] and self._taken != POWER:
            raise BundleError(
                f"{path}: is the part of a model that live streams run; name its bundle's folder or the whole "
                "model's file"
            )
        if inputs != [self._taken] or OUTPUT not in outputs:
            raise BundleError(f"{path}: not a model of fdan-edge: it turns {inputs} into {outputs}")

        for value in (*self._session.get_inputs(), *self._session.get_outputs()):
            if value.name in (self._taken, OUTPUT) and value.type != _TENSOR:
                raise BundleError(f"{path}: not a model of fdan-edge: {value.name} is {value.type}, not {_TENSOR}")

    def _output_shape(self) -> list[Any]:
        (shape,) = (list(value.shape) for value in self._session.get_outputs() if value.name == OUTPUT)
        return shape

    def _check_shapes(self, path: Path, taken: list[int], words: str) -> None:
        """Raise BundleError unless the graph takes and gives what its metadata says."""
        (input_shape, output_shape), classes = self._shapes, len(self.spec.labels)
        if input_shape[1:] != taken or output_shape[1:] != [classes]:
            raise BundleError(
                f"{path}: its metadata ({words}, {classes} labels) does not fit its graph "
                f"({input_shape} to {output_shape})"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._buffers.clear()  # before the session, whose memory they are of
        del self._session


class OnnxRunner(OnnxSession):
    """A whole model: waveform to probabilities.

    Args:
        path: an .onnx file that `fdan-edge export` wrote.
        providers, threads, precision, content: see `OnnxSession`.

    Raises:
        BundleError, MissingDependencyError: as of `OnnxSession`.
    """

    def _check_graph(self, path: Path) -> None:
        self._check_shapes(path, [self.spec.window], f"{self.spec.window} samples")

    def predict(self, waveforms: NDArray[np.float32]) -> Probabilities:
        """Return probabilities (n, C) of windows (n, spec.window).

        Raises:
            ValueError: the windows are of another shape.
        """
        return self._run(checked_windows(waveforms, self.spec))


class _Buffers:
    """Input and output of one batch size on a device, bound to a session."""

    def __init__(
        self, session: Any, name: str, taken: tuple[int, ...], given: tuple[int, ...], device: str
    ) -> None:
        make = import_onnxruntime().OrtValue.ortvalue_from_shape_and_type
        self.input = make(taken, np.float32, device, 0)
        self.output = make(given, np.float32, device, 0)
        self.binding = session.io_binding()
        self.binding.bind_ortvalue_input(name, self.input)
        self.binding.bind_ortvalue_output(OUTPUT, self.output)


def open_checked(path: Path, content: bytes | None, providers: tuple[str, ...] = (CPU,), **options: Any) -> Any:
    """Open a file that may come from a stranger, after `onnx_check` has looked into it.

    Args:
        path: of the file.
        content: of it, where it was read before.
        providers, options: see `open_session`.

    Raises:
        BundleError: it is not a model that is run, or ONNX Runtime does not take it.
    """
    content = read_model(path) if content is None else content
    folded = check_model(content, path)
    try:
        return open_session(content, providers, limited=True, folded=folded, **options)
    except Exception as error:  # its exceptions have no common base of its own
        raise BundleError(f"{path}: cut short or not an ONNX model: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """Return what ONNX Runtime says after its codes and the file's name."""
    line = re.sub(r"^\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ", "", one_line(error, 1000))
    return one_line(Exception((line.rpartition("failed:")[2] or line).strip()))
