"""How long a graph would take on a card that is not at hand: an estimate, not measured. Imports no torch.

The roofline model (Williams, Waterman, Patterson 2009), kernel by kernel: a kernel takes as long as its operations
at the card's peak or its bytes at the memory's bandwidth, whichever is longer, and a launch comes before it. No
kernel reaches the peak, and small ones stay far below it; caches may do better than the memory. So it says
which card is in question and what bounds it, not what a clock will show. `calibrate` measures the same two
figures of this machine's processor, so that the estimate can be held against a clock.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fdan_edge.errors import BundleError, FdanEdgeError, one_line
from fdan_edge.profiling.cards import PRECISION_BYTES, Card
from fdan_edge.runtime.manifest import GraphCost, LayerCost
from fdan_edge.runtime.onnx_check import check_model
from fdan_edge.runtime.source import Source

NOTE = "estimate, not measured"


@dataclass(frozen=True)
class Estimate:
    """What the model says of a graph on a card; milliseconds of kernels, without copies and host."""

    card: str
    precision: str
    artifact: str
    as_exported: bool  # False: as if the network of this artifact had been exported in `precision`
    batch: int
    total: float
    compute: float  # in kernels that the peak bounds
    memory: float  # in kernels that the bandwidth bounds
    launch: float
    front_end: float  # of the total
    kernels: int
    note: str = NOTE

    @property
    def bound(self) -> str:
        """What takes the most."""
        return max(("compute", "memory", "launch"), key=lambda name: float(getattr(self, name)))


def estimate(cost: GraphCost, card: Card, *, artifact: str = "", precision: str = "", batch: int = 1) -> Estimate:
    """Add up the rooflines of a graph's kernels.

    Args:
        cost: from `fdan_edge.profiling.graph_cost.cost`, or of bundle.json.
        card: where.
        artifact: the file's name, for the result.
        precision: take the network as if it was exported so; empty: as it is. The front end stays as it is.
        batch: windows at once.
    """
    spent = {"compute": 0.0, "memory": 0.0, "launch": 0.0}
    front_end, kernels = 0.0, 0
    for layer in cost.layers:
        in_network = layer.name.startswith("model")
        bound, seconds = _kernel(layer, precision if precision and in_network else layer.precision, card, batch)
        launches = 1 if card.fuses else layer.nodes
        spent[bound] += seconds
        spent["launch"] += launches * card.launch
        kernels += launches
        if layer.name.startswith("frontend"):
            front_end += seconds + launches * card.launch
    own = _network_precision(cost.layers)
    compute, memory, launch = (1000 * seconds for seconds in spent.values())
    return Estimate(
        card=card.name,
        precision=precision or own,
        artifact=artifact,
        as_exported=precision in ("", own),
        batch=batch,
        total=compute + memory + launch,
        compute=compute,
        memory=memory,
        launch=launch,
        front_end=1000 * front_end,
        kernels=kernels,
    )


def _kernel(layer: LayerCost, precision: str, card: Card, batch: int) -> tuple[str, float]:
    """Give what bounds a kernel that computes in a precision, and its seconds without the launch."""
    share = PRECISION_BYTES[precision] / PRECISION_BYTES[layer.precision]  # of the bytes
    moved = layer.read_bytes + layer.write_bytes
    if not card.fuses:
        moved = max(moved, layer.unfused_bytes - layer.weight_bytes)
    compute = batch * layer.operations / card.peaks[precision]
    memory = (batch * moved * share + layer.weight_bytes * share) / card.bandwidth
    return ("compute", compute) if compute > memory else ("memory", memory)


def is_fp32(cost: GraphCost) -> bool:
    """Tell whether all of a graph is computed in fp32, the only peak that `calibrate` knows."""
    return all(layer.precision == "fp32" for layer in cost.layers)


def _network_precision(layers: Sequence[LayerCost]) -> str:
    """Give the precision in which most of the network is computed."""
    counts = dict.fromkeys(PRECISION_BYTES, 0)
    for layer in layers:
        if not layer.name.startswith("frontend"):
            counts[layer.precision] += layer.macs
    return max(counts, key=lambda name: counts[name])


_MEASURE = """
import json, sys, threading, time
import numpy
threads = int(sys.argv[1])

def best(work, items):  # short pieces, of which some are not interrupted
    seconds = []
    for item in items:
        start = time.perf_counter()
        work(item)
        seconds.append(time.perf_counter() - start)
    return min(seconds)

size = 384
a, b, c = (numpy.ones((size, size), numpy.float32) for _ in range(3))
flops = 2 * size**3 / best(lambda _: numpy.matmul(a, b, c), range(300))
rows, floats = 32, 1 << 20  # 4 MiB at a time, 128 in all: larger than caches
one, other = (numpy.ones((rows, threads, floats // threads), numpy.float32) for _ in range(2))

def copy(row):
    workers = [threading.Thread(target=numpy.copyto, args=(other[row, i], one[row, i])) for i in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

moved = 2 * 4 * floats // threads * threads
print(json.dumps({"flops": flops, "bandwidth": moved / best(copy, [*range(rows)] * 4)}))
"""
#: ONNX Runtime's own work for a node, of the order that its profiler shows for nodes with nothing to do.
_NODE = 3e-6


def calibrate(threads: int = 0) -> Card:
    """Measure this machine's processor as a card: fp32 matrix product and copy in numpy, the best of many.

    Args:
        threads: 0: all cores.

    Raises:
        FdanEdgeError: the measurement failed.
    """
    threads = threads or len(os.sched_getaffinity(0))
    limits = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    command = [sys.executable, "-c", _MEASURE, str(threads)]
    environment = {**os.environ, **limits, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise FdanEdgeError(
            f"this processor could not be measured: {(done.stderr.strip() or '?').splitlines()[-1]}"
        )
    peaks = json.loads(done.stdout)
    return Card("this-cpu", "this processor", {"fp32": peaks["flops"]}, peaks["bandwidth"], _NODE, fuses=False)


def costs(target: Path) -> dict[str, GraphCost]:
    """Give what each artifact of a bundle costs, or one .onnx file; by file name, the primary first.

    A file is counted here, which needs the package onnx; a bundle says what its artifacts cost.

    Raises:
        BundleError: not a bundle or file, a file that must be counted was changed, or onnx is not installed.
    """
    source = Source.open(target)
    return {artifact.file: artifact.cost or _count(source, artifact.file) for artifact in source.artifacts}


def _count(source: Source, file: str) -> GraphCost:
    path = source.file(file)
    try:
        import onnx

        from fdan_edge.profiling.graph_cost import cost
    except ImportError:
        raise BundleError(
            f"{path}: does not say what it costs; export it anew, or count here: pip install onnx"
        ) from None
    content = source.read(file)
    check_model(content, path)
    try:
        return cost(onnx.load_from_string(content))
    except FdanEdgeError:
        raise
    except Exception as error:  # onnx's and protobuf's have no base in common
        raise BundleError(f"{path}: what it costs cannot be counted: {one_line(error)}") from None


def estimates(counted: dict[str, GraphCost], cards: Iterable[Card], batch: int = 1) -> list[Estimate]:
    """Estimate every artifact on every card; precisions that are missing as if the first was exported so."""
    rows = []
    for card in cards:
        own = [estimate(cost, card, artifact=name, batch=batch) for name, cost in counted.items()]
        first, cost = next(iter(counted.items()))
        missing = [precision for precision in card.peaks if precision not in {row.precision for row in own}]
        if own[0].precision == "fp32":  # what is narrower already would be scaled from what it is not
            own += [estimate(cost, card, artifact=first, precision=p, batch=batch) for p in missing]
        rows += own
    return rows
