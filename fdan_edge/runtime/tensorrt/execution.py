"""An execution context of TensorRT for one optimization profile, and its CUDA graph. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fdan_edge.errors import FdanEdgeError
from fdan_edge.runtime.runner import INPUT
from fdan_edge.runtime.tensorrt.cuda_graph import CudaGraph, CudaGraphError

# A recording costs about two runs without it; each launch of it saves the better part of one.
_PAYS = 4
_MOST_PATIENCE = 64


class Execution:
    """Runs batches of one profile on a stream. Close it while its context is current.

    Where `records`, a shape is recorded as a CUDA graph once it came again, and launched as one from then on. A
    change of shape makes a recording void. Where that comes before it has paid, the next shape must come again
    twice as often before it is recorded.

    Args:
        context: TensorRT's, with its profile set.
        window: samples.
        stream: pycuda's, which must not wait for the default stream.
        records: whether to record graphs.
        error: makes an exception of what could not be done.
        refused: is told why no graph can be recorded; it may set `records` to False.
    """

    def __init__(
        self,
        context: Any,
        window: int,
        stream: Any,
        records: bool,
        error: Callable[[str], FdanEdgeError],
        refused: Callable[[Exception], None],
    ) -> None:
        self.records = records
        self.recorded = self.launched = 0  # times
        self._context, self._window, self._stream = context, window, stream
        self._error, self._refused = error, refused
        self._size = 0  # of the batch that is set
        self._runs = 0  # of that size, one after the other, without a graph
        self._graph: CudaGraph | None = None
        self._launches = 0  # of that graph
        self._patience = 1  # runs before a recording

    def use(self, name: str, address: int) -> None:
        """Have a tensor of all batches lie at an address of the device."""
        self._context.set_tensor_address(name, address)

    def enqueue(self, size: int) -> None:
        """Put a batch on the stream: as a graph where its size has one.

        Raises:
            FdanEdgeError: TensorRT refused it.
            CudaGraphError: the driver refused it.
        """
        self._set_size(size)
        if self._graph:
            self._graph.launch()
            self._launches += 1
            self.launched += 1
            return
        self._run()
        self._runs += 1
        if self.records and self._runs > self._patience:
            self._record()

    def close(self) -> None:
        """Free the graph, then the execution context."""
        self._drop_graph()
        self._context = self._stream = None

    def _run(self) -> None:
        if not self._context.execute_async_v3(self._stream.handle):
            raise self._error("could not be run")

    def _record(self) -> None:
        """Record the work of this size for its next runs, right after it has run: TensorRT asks for that.

        A change of shape leaves work for the next run, which a recording must not hold.
        """
        self._stream.synchronize()
        try:
            self._graph = CudaGraph(self._stream.handle, self._run)
            self.recorded += 1
        except (CudaGraphError, FdanEdgeError) as error:
            self._refused(error)

    def _set_size(self, size: int) -> None:
        if size == self._size:
            return
        self._drop_graph()  # TensorRT: a recording is void once its execution context was changed
        self._size = self._runs = 0
        if not self._context.set_input_shape(INPUT, (size, self._window)):
            raise self._error(f"does not take windows of shape {(size, self._window)}")
        self._size = size

    def _drop_graph(self) -> None:
        graph, self._graph = self._graph, None
        if graph:
            graph.close()
            paid = self._launches >= _PAYS
            self._patience = 1 if paid else min(2 * self._patience, _MOST_PATIENCE)
            self._launches = 0
