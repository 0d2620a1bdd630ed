"""Where the time of a prediction goes: front end, copies, network, host. Imports no torch.

Each runtime tells in its own way. ONNX Runtime's profiler times every node of the graph, and nodes have the names
of their modules; what runs on a GPU is timed around its copies; PyTorch on the CPU by hooks.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdan_edge.runtime.onnx import open_checked
from fdan_edge.runtime.opening import Variant
from fdan_edge.runtime.runner import Runner
from fdan_edge.runtime.source import Source

#: As nodes are called by the export: these are the front end's, these the network's.
_FRONT_END, _NETWORK = "frontend", ("model", "head")
_CALLS, _WARM_UP = 15, 3
_MARK = "_kernel_time"
#: Before the name of what ONNX Runtime computes in fp32 because it has no kernel for halves.
_CAST = "InsertedPrecisionFreeCast_"

Parts = dict[str, float]  # name -> milliseconds of a call


def breakdown(
    variant: Variant, runner: Runner, windows: NDArray[np.float32], wall: float, threads: int = 0
) -> Parts:
    """Return milliseconds of a prediction by part, as far as the runtime tells; empty where it does not.

    Parts are `front_end` and `network`, or `compute` for both together; `copy` of waveforms and results; `host`,
    what is left of the time outside: Python, checks, and waiting for the runtime.

    Args:
        variant: what runs.
        runner: the same, open.
        windows: (n, spec.window).
        wall: milliseconds of such a prediction as timed from outside, without a profiler.
        threads: as the runner was opened with.

    Raises:
        BundleError: the file was changed since the runner was opened.
    """
    if variant.runtime == "onnxruntime-cpu":
        parts = _of_onnxruntime(variant, windows, threads)
    elif variant.runtime == "torch":
        parts = _of_torch(runner, windows)
    else:
        parts = _of_runner(runner, windows)
    rest = wall - sum(parts.values())
    # With a profiler a busy machine may take longer than without: then what is left cannot be told.
    return {**parts, "host": rest} if parts and rest >= 0 else parts


def _of_runner(runner: Runner, windows: NDArray[np.float32]) -> Parts:
    """Take copies and computation from a runner that times them itself."""
    measured: list[dict[str, float]] = []
    for _ in range(_CALLS):
        runner.predict(windows)
        measured.append(dict(getattr(runner, "times", {})))
    measured = [times for times in measured if times][_WARM_UP:]
    if not measured:
        return {}
    copies = [sum(ms for name, ms in times.items() if name.startswith("copy")) for times in measured]
    computing = [sum(ms for name, ms in times.items() if not name.startswith("copy")) for times in measured]
    return {"copy": float(np.median(copies)), "compute": float(np.median(computing))}


def _of_torch(runner: Runner, windows: NDArray[np.float32]) -> Parts:
    """Time PyTorch by hooks on the front end and on the whole path."""
    path: Any = getattr(runner, "path")  # noqa: B009 - a TorchRunner's, which is not imported here
    starts: dict[int, float] = {}
    spans: dict[int, list[float]] = {id(path): [], id(path.frontend): []}
    handles = []
    for module in (path, path.frontend):
        handles.append(module.register_forward_pre_hook(lambda m, _: starts.update({id(m): time.perf_counter()})))
        handles.append(
            module.register_forward_hook(lambda m, *_: spans[id(m)].append(time.perf_counter() - starts[id(m)]))
        )
    try:
        for _ in range(_CALLS):
            runner.predict(windows)
    finally:
        for handle in handles:
            handle.remove()
    whole, front = (1000 * np.array(spans[id(m)][_WARM_UP:]) for m in (path, path.frontend))
    return {"front_end": float(np.median(front)), "network": float(np.median(whole - front))}


def _of_onnxruntime(variant: Variant, windows: NDArray[np.float32], threads: int) -> Parts:
    """Time a second session with the profiler on, whose times are written to a file."""
    source = Source.open(Path(variant.target))
    path, content = source.file(variant.artifact), source.read(variant.artifact)
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {"enable_profiling": True, "profile_file_prefix": str(Path(folder) / "profile")}
        session = open_checked(path, content, intra_op_num_threads=threads, **options)
        name = session.get_inputs()[0].name
        for _ in range(_CALLS):
            session.run(None, {name: windows})
        events = json.loads(Path(session.end_profiling()).read_text())
    return of_profile(events)


def of_profile(events: Iterable[dict[str, Any]]) -> Parts:
    """Add up front end and network by ONNX Runtime's profile; empty where nodes have no module's name."""
    spans: dict[str, list[float]] = {}  # in the order of execution
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_MARK):
            spans.setdefault(event["name"].removesuffix(_MARK), []).append(event["dur"] / 1000)
    owners = _owners(list(spans))
    if _FRONT_END not in owners.values():
        return {}
    calls = min(map(len, spans.values()))
    # By call and then the median: on a busy machine some node is interrupted in almost every call.
    each = {"front_end": np.zeros(calls), "network": np.zeros(calls)}
    for name, times in spans.items():
        each["front_end" if owners[name] == _FRONT_END else "network"] += times[:calls]
    first = _WARM_UP if calls > _WARM_UP else 0
    return {part: float(np.median(times[first:])) for part, times in each.items()}


def _owners(names: list[str]) -> dict[str, str]:
    """Return which module each node belongs to; what ONNX Runtime has put in belongs to its neighbour."""
    owners = {name: name.removeprefix(_CAST).split("/")[0].split(".")[0] for name in names}
    known = (_FRONT_END, *_NETWORK)
    last = ""
    for name in names:  # a change of layout after a node is due to that node
        last = owners[name] = owners[name] if owners[name] in known else last
    following = ""
    for name in reversed(names):  # and one before a node, to that
        if name.startswith("ReorderInput"):
            owners[name] = following
        else:
            following = owners[name]
    return owners
