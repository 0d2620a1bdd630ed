"""What a device pays from the start of Python to the first answer, in a fresh process. Imports no torch."""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fdan_edge.errors import FdanEdgeError

_PROBE = """
import json, sys, time
begun = time.monotonic()
target, artifact, runtime, threads, sys.path[:] = json.loads(sys.argv[1])

# Not getrusage: its peak starts with that of the process that this one was forked from.
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

import numpy
bare = peak()
from fdan_edge.runtime import opening
from fdan_edge.utils import gpu
used = gpu.used_memory()
modules = {"torch": "fdan_edge.runs.torch_runner", "tensorrt-rtx": "tensorrt_rtx", "tensorrt": "tensorrt"}
__import__(modules.get("torch" if runtime.startswith("torch") else runtime, "onnxruntime"))
imported = time.monotonic()
with opening.open_runner(target, threads, artifact=artifact or None, runtime=runtime) as runner:
    loaded = time.monotonic()
    runner.predict(numpy.zeros((1, runner.spec.window), numpy.float32))
    answered = time.monotonic()
    device = None if used is None else gpu.used_memory() - used
times = {"begun": begun, "imported": imported, "loaded": loaded, "answered": answered}
print(json.dumps({**times, "peak": peak(), "bare": bare, "device": device}))
"""


@dataclass(frozen=True)
class ColdStart:
    """One cold start; milliseconds, and MiB of resident memory at its peak."""

    total: float
    python: float  # until the interpreter runs its first line
    imports: float  # numpy, fdan-edge and the runtime
    load: float  # open the model
    first: float  # the first answer
    peak_mib: float
    bare_mib: float  # of these, what Python and numpy alone take
    device_mib: float | None = None  # more in use on the GPU than before; None where NVML does not tell


def cold_start(target: str, artifact: str, runtime: str, threads: int = 0, times: int = 1) -> ColdStart:
    """Measure some cold starts; give their medians.

    Args:
        target: a bundle, an .onnx file or a run folder.
        artifact: of a bundle the file to run, of a run folder the precision; empty: what fits the runtime.
        runtime: of `fdan_edge.runtime.opening`.
        threads: of the runtime; 0: all cores.
        times: how many processes are started, one after another.

    Raises:
        FdanEdgeError: a process failed; its last words are in the message.
    """
    return median_start([_start(target, artifact, runtime, threads) for _ in range(times)])


def median_start(starts: Sequence[ColdStart]) -> ColdStart:
    """Give the median of each figure; of the GPU's memory over the starts that know it."""
    names = ("total", "python", "imports", "load", "first", "peak_mib", "bare_mib")
    medians = {name: statistics.median(getattr(start, name) for start in starts) for name in names}
    device = [start.device_mib for start in starts if start.device_mib is not None]
    return ColdStart(**medians, device_mib=statistics.median(device) if device else None)


def _start(target: str, artifact: str, runtime: str, threads: int) -> ColdStart:
    arguments = json.dumps([target, artifact, runtime, threads, [p or str(Path.cwd()) for p in sys.path]])
    begin = time.monotonic()  # the same clock for all processes of a machine
    command = [sys.executable, *_flags(), "-c", _PROBE, arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        words = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise FdanEdgeError(f"{target}: the cold start failed: {words[-1]}")
    report = json.loads(done.stdout.splitlines()[-1])
    marks = [begin, *(report[name] for name in ("begun", "imported", "loaded", "answered"))]
    steps = [1000 * (after - before) for before, after in itertools.pairwise(marks)]
    peak, bare, device = (None if report[n] is None else report[n] / 2**20 for n in ("peak", "bare", "device"))
    assert peak is not None
    assert bare is not None
    python, imports, load, first = steps
    return ColdStart(sum(steps), python, imports, load, first, peak, bare, device)


def _flags() -> list[str]:
    """Give the interpreter flags of this process that decide which packages a child finds besides `sys.path`."""
    flags = {"-I": sys.flags.isolated, "-S": sys.flags.no_site}
    return [flag for flag, is_set in flags.items() if is_set]
