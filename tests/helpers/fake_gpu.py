"""A stand-in for a GPU, pycuda and TensorRT that keeps their rules, for tests on machines without one.

Work on a stream is done when it is waited for, not before; nothing may be used after it was freed, without a
current context, or while a capture runs that forbids it. Each thread has its own stack of contexts, as the driver
has it and as pycuda has it. An engine is an ONNX file behind a mark, which ONNX Runtime runs.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import onnxruntime
import pytest

MARK = b"ENGINE"
Work = Callable[[], None]


class CudaError(Exception):
    """pycuda.driver.Error."""


def native(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function as if it were of C++: its errors hold none of its arguments."""

    def call(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except CudaError as error:
            text = str(error)
        del arguments
        raise CudaError(text)

    return call


class Gpu:
    """Memory, contexts and streams of one GPU."""

    def __init__(self) -> None:
        self.addresses = itertools.count(0x1000, 0x1000)
        self.memory: dict[int, np.ndarray] = {}
        self.streams: WeakValueDictionary[int, Stream] = WeakValueDictionary()
        self.living: list[str] = []  # kinds of what was made and not freed
        self.broken: list[str] = []  # rules; nothing can be raised where objects are freed
        self.log: list[str] = []
        self.stacks: dict[int, list[str]] = defaultdict(list)  # of the driver, by thread
        self.pushed: dict[int, list[Context]] = defaultdict(list)  # of pycuda, by thread
        self.retained = 0  # the primary context, times
        self.fail: str = ""  # the next call of this name fails
        self.graphs: dict[int, list[Work]] = {}
        self.profiles: tuple[tuple[int, int, int], ...] = ((1, 1, 4),)  # of every engine
        self.pause = 0.0  # s in which other threads run, where pycuda lets go of Python's lock

    @property
    def current(self) -> list[str]:
        """Contexts of this thread, the last one current."""
        return self.stacks[threading.get_ident()]

    def left(self) -> list[Any]:
        """What was not freed, contexts that are current still on any thread, and rules that were broken."""
        current = [name for stack in self.stacks.values() for name in stack]
        pushed = [context for stack in self.pushed.values() for context in stack]
        again = ["retained again"] if self.retained > 1 else []
        return [*self.living, *current, *pushed, *self.broken, *again]

    def called(self, name: str) -> None:
        """Note a call; it needs a context."""
        if not self.current:
            raise CudaError(f"{name} failed: invalid device context")
        if self.fail == name:
            self.fail = ""
            raise CudaError(f"{name} failed: out of luck\nsecond line")
        self.log.append(name)

    def made(self, kind: str) -> None:
        self.called(kind)
        self.living.append(kind)

    def freed(self, kind: str) -> None:
        if not self.current:
            self.broken.append(f"{kind} freed without a context")
        if kind not in self.living:
            self.broken.append(f"{kind} freed twice")
        else:
            self.living.remove(kind)


class Living:
    """Something that is freed when its last reference goes; what it came from must be there still."""

    kind = ""
    alive = False

    def __init__(self, gpu: Gpu, parent: Living | None = None) -> None:
        self.gpu, self.parent_kind = gpu, parent.kind if parent else ""
        gpu.made(self.kind)
        self.alive = True

    def __del__(self) -> None:
        if not self.alive:  # it failed while it was made
            return
        if self.parent_kind and self.parent_kind not in self.gpu.living:
            self.gpu.broken.append(f"{self.parent_kind} freed before {self.kind}")
        self.gpu.freed(self.kind)


class Stream(Living):
    """Work waits in it until `synchronize`; of one thread at a time, or nobody knew whose work it is."""

    kind = "stream"

    def __init__(self, gpu: Gpu, flags: int = 0) -> None:
        super().__init__(gpu)
        self.blocking = not flags & 1
        self.waiting: list[Work] = []
        self.thread = 0
        self.captured: list[Work] | None = None
        self.handle = next(gpu.addresses)
        gpu.streams[self.handle] = self

    def put(self, work: Work) -> None:
        if self.waiting and self.thread != threading.get_ident():
            self.gpu.broken.append("two threads put work on one stream")
        self.thread = threading.get_ident()
        (self.waiting if self.captured is None else self.captured).append(work)

    @native
    def synchronize(self) -> None:
        self.gpu.called("synchronize")
        if self.captured is not None:
            raise CudaError("cuStreamSynchronize failed: operation not permitted when stream is capturing")
        time.sleep(self.gpu.pause)
        while self.waiting:
            self.waiting.pop(0)()


class Event(Living):
    kind = "event"
    time = -1.0

    def record(self, stream: Stream) -> None:
        stream.put(self._mark)

    def _mark(self) -> None:
        self.time = float(len(self.gpu.log) + next(self.gpu.addresses))

    def time_till(self, later: Event) -> float:
        assert 0 < self.time < later.time, "read before they were recorded and waited for"
        return later.time - self.time


class Allocation:
    def __init__(self, gpu: Gpu, size: int) -> None:
        self.gpu, self.address = gpu, next(gpu.addresses)
        gpu.made("device memory")
        gpu.memory[self.address] = np.full(size, 0xFF, np.uint8)

    def __int__(self) -> int:
        return self.address

    def free(self) -> None:
        self.gpu.freed("device memory")
        del self.gpu.memory[self.address]


class Pinned(bytearray):
    gpu: Gpu

    def free(self) -> None:
        self.gpu.freed("pinned memory")


class Context:
    """A handle on the primary context, after `context` and `primary_context` in pycuda's cuda.hpp."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu, self.valid, self.thread = gpu, True, threading.get_ident()
        gpu.log.append("retain")
        gpu.retained += 1

    @property
    def stack(self) -> list[Context]:
        return self.gpu.pushed[threading.get_ident()]

    def push(self) -> None:
        if not self.valid:
            raise CudaError("cuCtxPushCurrent failed: invalid device context")
        if self.stack:
            self.gpu.current.pop()
        self.gpu.current.append("context")
        self.stack.append(self)

    def pop(self) -> None:
        if not self.stack:
            raise CudaError("context::pop failed: invalid device context - cannot pop non-current context")
        self.gpu.current.pop()
        self.stack.pop()
        if self.stack:
            self.gpu.current.append("context")

    def detach(self) -> None:
        """Release it: on another thread than its own not at all, and where it stays current nothing pops it."""
        if not self.valid:
            raise CudaError("context::detach failed: invalid device context - cannot detach from invalid context")
        active = bool(self.stack) and self.stack[-1] is self
        if active or self.thread == threading.get_ident():
            self.gpu.retained -= 1
            if not active:
                self.gpu.current.append("context")
        self.valid = False
        while active and self.stack and not self.stack[-1].valid:
            self.stack.pop()


def pycuda(gpu: Gpu) -> Any:
    """The module pycuda.driver, as far as it is used."""
    module: Any = ModuleType("pycuda.driver")

    def pagelocked_empty(shape: tuple[int, int], dtype: Any) -> np.ndarray:
        gpu.made("pinned memory")
        memory = Pinned(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        memory.gpu = gpu
        return np.ndarray(shape, dtype, buffer=memory)

    @native
    def htod(target: Allocation, source: np.ndarray, stream: Stream) -> None:
        gpu.called("htod")
        assert source.flags.c_contiguous
        stream.put(lambda: _copy(gpu.memory[int(target)], source.view(np.uint8).reshape(-1)))

    @native
    def dtoh(target: np.ndarray, source: Allocation, stream: Stream) -> None:
        gpu.called("dtoh")
        stream.put(lambda: _copy(target.view(np.uint8).reshape(-1), gpu.memory[int(source)]))

    module.Error = CudaError
    module.init = lambda: gpu.log.append("init")
    module.Device = lambda _index: type("Device", (), {"retain_primary_context": lambda _self: Context(gpu)})()
    module.Stream = lambda flags=0: Stream(gpu, flags)
    module.Event = lambda: Event(gpu)
    module.mem_alloc = lambda size: Allocation(gpu, size)
    module.pagelocked_empty = pagelocked_empty
    module.memcpy_htod_async, module.memcpy_dtoh_async = htod, dtoh
    return module


def _copy(target: np.ndarray, source: np.ndarray) -> None:
    size = min(len(target), len(source))
    target[:size] = source[:size]


class Driver:
    """The functions of libcuda that cuda_graph calls."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu
        self.refuse = ""  # this function gives an error

    def _code(self, name: str) -> int:
        self.gpu.called(name)
        return 901 if self.refuse == name else 0

    def cuStreamBeginCapture_v2(self, stream: Any, _mode: int) -> int:  # noqa: N802
        captured = self.gpu.streams[stream.value]
        assert not captured.waiting, "TensorRT's first run of a shape must be over"
        if code := self._code("cuStreamBeginCapture_v2"):
            return code
        if captured.blocking:  # so is it where another thread launches on the default stream meanwhile
            return 906  # CUDA_ERROR_STREAM_CAPTURE_IMPLICIT
        captured.captured = []
        return 0

    def cuStreamEndCapture(self, stream: Any, graph: Any) -> int:  # noqa: N802
        work, self.gpu.streams[stream.value].captured = self.gpu.streams[stream.value].captured, None
        if code := self._code("cuStreamEndCapture"):
            return code
        graph._obj.value = next(self.gpu.addresses)
        self.gpu.graphs[graph._obj.value] = work or []
        self.gpu.made("graph")
        return 0

    def cuGraphInstantiateWithFlags(self, launchable: Any, graph: Any, _flags: Any) -> int:  # noqa: N802
        if code := self._code("cuGraphInstantiateWithFlags"):
            return code
        launchable._obj.value = next(self.gpu.addresses)
        self.gpu.graphs[launchable._obj.value] = self.gpu.graphs[graph.value]
        self.gpu.made("launchable graph")
        return 0

    def cuGraphLaunch(self, launchable: Any, stream: Any) -> int:  # noqa: N802
        code = self._code("cuGraphLaunch")
        for work in () if code else self.gpu.graphs[launchable.value]:
            self.gpu.streams[stream.value].put(work)
        return code

    def cuGraphDestroy(self, graph: Any) -> int:  # noqa: N802
        del self.gpu.graphs[graph.value]
        self.gpu.freed("graph")
        return 0

    def cuGraphExecDestroy(self, launchable: Any) -> int:  # noqa: N802
        del self.gpu.graphs[launchable.value]
        self.gpu.freed("launchable graph")
        return 0

    def cuGetErrorString(self, _code: int, text: Any) -> int:  # noqa: N802
        text._obj.value = b"operation failed due to a previous error during capture"
        return 0


class ExecutionContext(Living):
    """One of an engine: the first has the first profile, another none before it is set, no two have the same."""

    kind = "execution context"

    def __init__(self, gpu: Gpu, engine: Engine, strategy: str) -> None:
        super().__init__(gpu, engine)
        self.session, self.profiles, self.in_use = engine.session, engine.profiles, engine.in_use
        self.profile: int | None = None
        self.strategy = strategy
        if 0 not in self.in_use:
            self._take(0)
        self.shape: tuple[int, ...] = ()
        self.changes = 0
        self.addresses: dict[str, int] = {}

    def _take(self, index: int) -> None:
        self.profile = index
        self.in_use.append(index)
        largest = max(self.profiles, key=lambda profile: profile[2])
        kept = self.profiles[index] if self.strategy == "ON_PROFILE_CHANGE" else largest
        self.gpu.log.append(f"memory for {kept[2]}")

    @native
    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        self.gpu.called(f"profile {index}")
        if index == self.profile:
            return True
        if index in self.in_use or not 0 <= index < len(self.profiles):
            return False
        self.gpu.streams[stream].put(lambda: None)  # it copies
        if self.profile is not None:
            self.in_use.remove(self.profile)
        self._take(index)
        self.shape = ()
        self.changes += 1
        return True

    @native
    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.gpu.called(f"shape {shape[0]}")
        if self.profile is None:
            return False
        smallest, _, largest = self.profiles[self.profile]
        self.shape = shape
        self.changes += 1
        return name == "waveform" and smallest <= shape[0] <= largest

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    @native
    def execute_async_v3(self, stream: int) -> bool:
        if self.gpu.fail == "execute" or not self.shape:
            self.gpu.fail = ""
            return False
        self.gpu.called("execute")
        shape, addresses, changes = self.shape, dict(self.addresses), self.changes
        recorded = self.gpu.streams[stream].captured is not None
        assert "execution context" in self.gpu.living
        self.gpu.streams[stream].put(lambda: self._run(shape, addresses, changes if recorded else None))
        return True

    def _run(self, shape: tuple[int, ...], addresses: dict[str, int], recorded_at: int | None) -> None:
        if recorded_at not in (None, self.changes):
            raise CudaError("cuGraphLaunch failed: recorded before its execution context was changed")
        heard = self.gpu.memory[addresses["waveform"]].view(np.float32)[: int(np.prod(shape))].reshape(shape)
        (said,) = self.session.run(None, {"waveform": heard})
        _copy(self.gpu.memory[addresses["probabilities"]], said.view(np.uint8).reshape(-1))


class RuntimeCache(Living):
    kind = "runtime cache"
    content = b""

    def deserialize(self, blob: bytes) -> bool:
        self.content = blob
        return True

    def serialize(self) -> bytes:
        return self.content or b"compiled"


class RuntimeConfig(Living):
    kind = "runtime config"
    cuda_graph_strategy = "DISABLED"
    strategy = "STATIC"

    def create_runtime_cache(self) -> RuntimeCache:
        return RuntimeCache(self.gpu, self)

    def set_execution_context_allocation_strategy(self, strategy: str) -> None:
        self.strategy = strategy

    def set_runtime_cache(self, cache: RuntimeCache) -> bool:
        self.gpu.log.append(f"runtime cache of {cache.content!r}")
        return True


class Engine(Living):
    kind = "engine"

    def __init__(self, gpu: Gpu, runtime: Runtime, content: bytes) -> None:
        super().__init__(gpu, runtime)
        self.profiles = gpu.profiles
        self.num_optimization_profiles = len(self.profiles)
        self.in_use: list[int] = []  # profiles of its contexts
        self.session = onnxruntime.InferenceSession(content, None, providers=["CPUExecutionProvider"])
        self.tensors = [*self.session.get_inputs(), *self.session.get_outputs()]
        self.num_io_tensors = len(self.tensors)

    def get_tensor_name(self, index: int) -> str:
        return str(self.tensors[index].name)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        (tensor,) = (tensor for tensor in self.tensors if tensor.name == name)
        return (-1, *tensor.shape[1:])

    def get_tensor_profile_shape(self, name: str, index: int) -> list[tuple[int, ...]]:
        window = self.get_tensor_shape(name)[1]
        return [(size, window) for size in self.profiles[index]]

    def create_runtime_config(self) -> RuntimeConfig:
        return RuntimeConfig(self.gpu, self)

    @native
    def create_execution_context(self, settings: RuntimeConfig | str = "STATIC") -> ExecutionContext | None:
        if isinstance(settings, RuntimeConfig):
            self.gpu.log.append(f"graphs {settings.cuda_graph_strategy}")
            settings = settings.strategy
        return None if self.gpu.fail == "context" else ExecutionContext(self.gpu, self, settings)


class Runtime(Living):
    kind = "runtime"

    def __init__(self, gpu: Gpu, logger: Any) -> None:
        super().__init__(gpu)
        self.logger = logger

    @native
    def deserialize_cuda_engine(self, content: bytes) -> Engine | None:
        if not content.startswith(MARK):
            self.logger.log("ERROR", "IRuntime::deserializeCudaEngine: magicTag failed\nand more")
            return None
        return Engine(self.gpu, self, content.removeprefix(MARK))


def tensorrt(gpu: Gpu, name: str, version: str) -> Any:
    """A TensorRT module, as far as running engines goes."""
    module: Any = ModuleType(name)
    module.__version__ = version
    module.ILogger = type("ILogger", (), {"ERROR": "ERROR", "INTERNAL_ERROR": "INTERNAL_ERROR"})
    strategies = {"STATIC": "STATIC", "ON_PROFILE_CHANGE": "ON_PROFILE_CHANGE"}
    module.ExecutionContextAllocationStrategy = type("ExecutionContextAllocationStrategy", (), strategies)
    module.Runtime = lambda logger: Runtime(gpu, logger)
    if name == "tensorrt_rtx":
        module.CudaGraphStrategy = type("CudaGraphStrategy", (), {"WHOLE_GRAPH_CAPTURE": "WHOLE_GRAPH_CAPTURE"})
    return module


def install(patch: pytest.MonkeyPatch, **versions: str) -> tuple[Gpu, Driver]:
    """Put pycuda and modules of TensorRT (name=version) in the place of what is installed."""
    gpu = Gpu()
    driver = Driver(gpu)
    modules = {name: tensorrt(gpu, name, version) for name, version in versions.items()}
    modules |= {"pycuda": ModuleType("pycuda"), "pycuda.driver": pycuda(gpu)}
    for name in {"tensorrt", "tensorrt_rtx", *modules}:
        if name in modules:
            modules[name].__spec__ = ModuleSpec(name, None)
        patch.setitem(sys.modules, name, modules.get(name))
    patch.setattr("fdan_edge.runtime.tensorrt.cuda_graph._driver", lambda: driver)
    return gpu, driver
