"""Latency of any runner, waveform on the host to probabilities on the host. Imports no torch."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdan_edge.errors import FdanEdgeError
from fdan_edge.runners import Runner

_BLOCKS = 5
_REST = 0.3  # seconds before a block, in which the other runtime's threads go to sleep
_WARM_UP = 3  # calls before a block's timed ones

#: A fresh process: what a device pays from the start of Python to the first answer.
_COLD_START = """
import json, sys, time
target, threads, sys.path[:] = json.loads(sys.argv[1])
import numpy
from fdan_edge.runners import open_runner
with open_runner(target, threads) as runner:
    runner.predict(numpy.zeros((1, runner.spec.window), numpy.float32))
    answered = time.monotonic()
# Not getrusage: its peak starts with that of the process that this one was forked from.
with open("/proc/self/status") as status:
    (peak,) = (int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
print(json.dumps({"answered": answered, "peak": peak}))
"""


@dataclass(frozen=True)
class Latency:
    """Times of one runner; milliseconds unless named otherwise."""

    target: str
    runner: str
    batch: int
    seconds_of_audio: float  # heard per call
    runs: int
    p50: float
    p95: float
    p99: float
    real_time_factor: float  # p50 over the audio's length: below 1 is faster than real time
    cold_start: float  # start of Python to first answer, in a fresh process
    peak_memory_mib: float  # resident, of that fresh process

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, rounded to what a clock can tell."""
        return {k: round(v, 5) if isinstance(v, float) else v for k, v in asdict(self).items()}


def bench(
    targets: Sequence[tuple[str, Runner]], *, runs: int = 50, batch: int = 1, threads: int = 0
) -> list[Latency]:
    """Time runners against each other, in turn by blocks, so that drift meets all alike.

    Blocks, not single calls: the threads of one runtime spin for a while after a call, waiting for the next,
    and take the cores from another's (measured: PyTorch at 71 ms by turns with ONNX Runtime, 24 ms alone).

    Args:
        targets: (path as given, open runner).
        runs: timed calls of each.
        batch: windows per call.
        threads: of each cold start's process, as the runners were opened with.
    """
    chance = np.random.default_rng(0)
    inputs = [_noise(chance, batch, runner.spec.window) for _, runner in targets]
    times: list[list[float]] = [[] for _ in targets]
    for block in np.array_split(np.arange(runs), min(_BLOCKS, runs)):
        for index, (_, runner) in enumerate(targets):
            time.sleep(_REST)
            times[index] += _time_block(runner, inputs[index], len(block))
    cold = [cold_start(path, threads) for path, _ in targets]
    return [
        _latency(path, runner, batch, np.array(t) * 1000, c)
        for (path, runner), t, c in zip(targets, times, cold, strict=True)
    ]


def _time_block(runner: Runner, windows: NDArray[np.float32], calls: int) -> list[float]:
    """Seconds of each of `calls` calls, after some that warm up caches, clocks and threads."""
    seconds = []
    for call in range(-_WARM_UP, calls):
        start = time.perf_counter()
        runner.predict(windows)
        if call >= 0:
            seconds.append(time.perf_counter() - start)
    return seconds


def cold_start(target: str, threads: int = 0) -> dict[str, float]:
    """Seconds from starting Python to the first answer, and peak bytes, in a fresh process.

    Raises:
        FdanEdgeError: that process failed; its last words are in the message.
    """
    arguments = json.dumps([target, threads, [p or str(Path.cwd()) for p in sys.path]])
    begin = time.monotonic()  # the same clock for all processes of a machine
    command = [sys.executable, *_flags(), "-c", _COLD_START, arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        words = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise FdanEdgeError(f"{target}: the cold start failed: {words[-1]}")
    values: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {"seconds": values["answered"] - begin, "peak": values["peak"]}


def machine() -> dict[str, Any]:
    """The machine that figures were measured on."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _flags() -> list[str]:
    """Interpreter flags of this process that decide which packages a child finds besides `sys.path`."""
    flags = {"-I": sys.flags.isolated, "-S": sys.flags.no_site}
    return [flag for flag, is_set in flags.items() if is_set]


def _noise(chance: np.random.Generator, batch: int, window: int) -> np.ndarray:
    return (0.1 * chance.standard_normal((batch, window))).astype(np.float32)


def _latency(
    path: str,
    runner: Runner,
    batch: int,
    milliseconds: np.ndarray,
    cold: dict[str, float],
) -> Latency:
    p50, p95, p99 = (float(v) for v in np.percentile(milliseconds, [50, 95, 99]))
    heard = batch * runner.spec.window / runner.spec.sample_rate
    return Latency(
        target=path,
        runner=runner.name,
        batch=batch,
        seconds_of_audio=heard,
        runs=len(milliseconds),
        p50=p50,
        p95=p95,
        p99=p99,
        real_time_factor=p50 / 1000 / heard,
        cold_start=cold["seconds"] * 1000,
        peak_memory_mib=cold["peak"] / 2**20,
    )
