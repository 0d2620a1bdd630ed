"""LMMD forward and backward, every way of writing it in the same run: time, extra memory, error.

    python benchmarks/lmmd.py --out benchmarks/results/lmmd.json
    python benchmarks/lmmd.py --device cuda --dtype bfloat16 --sizes 32+32 16384+16384

Needs torch and numpy only, and this checkout on PYTHONPATH where it is not installed. The contenders and the
float64 answer are in lmmd_contenders.py. Times are medians; each contender is timed in blocks of calls, by
turns with the others.

Extra memory is the most that one call held on top of its inputs, the gradient that it gives (its size is above
each table) included: resident memory of a fresh process on a CPU, torch's own count on a GPU. The row `matmul`
is one square matrix product of as many FLOPs as LMMD needs, sum_c 4 n_c^2 d; GFLOP/s are of those FLOPs.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from ctypes import CDLL
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lmmd_contenders import (
    NAMES,
    TRITON,
    Problem,
    Step,
    UnavailableError,
    bytes_needed,
    contender,
    exact,
    lmmd_step,
    matmul_step,
    random_problem,
)
from lmmd_winners import winners, winners_table
from torch import Tensor

from fdan_edge.errors import one_line
from fdan_edge.models.ops import lmmd
from fdan_edge.utils.files import write_json
from fdan_edge.utils.machine import machine_info

DTYPES = {name: getattr(torch, name) for name in ("float64", "float32", "bfloat16", "float16")}
MATMUL = "matmul"
SIZES = ((32, 32), (128, 128), (512, 512), (4096, 4096), (16384, 16384))

_CPU_LIMIT = 18 * 2**30  # bytes; a benchmark must not push a 24 GB machine into its last memory
_BLOCKS = 5
_REST = 0.3  # seconds before a block: another contender's threads go to sleep (see fdan_edge/profiling/bench.py)
_WARM_UP = 3  # calls before a block's timed ones
_CHILD_SECONDS = 600


@dataclass
class Row:
    """One line of the table. What was not measured is None, and `note` says why."""

    contender: str
    faces: int
    voices: int
    ms: float | None = None
    calls: int = 0
    times_fdan_edge: float | None = None  # ms over that of fdan_edge: above 1 is slower
    times_vectorised: float | None = None
    extra_mb: float | None = None
    value_error: float | None = None  # relative to float64
    gradient_error: float | None = None  # norm of the difference over the norm of the gradient
    gflops_per_second: float | None = None
    launches: float | None = None  # what a GPU runs per call: kernels, copies and fills
    note: str = ""


def main(argv: Sequence[str] | None = None) -> None:
    words = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    arguments = parser.parse_args(words)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("no CUDA GPU that this PyTorch can use")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.set_float32_matmul_precision("highest")  # no TF32
    if arguments.peak_of:
        print(json.dumps(peak_in_this_process(arguments)))
        return
    rows: list[Row] = []
    for size in arguments.sizes:
        made = rows_of_size(size, arguments, words, rows)
        print(table(made, arguments), flush=True)
        rows += made
        if arguments.out:  # after every size: a run that is stopped leaves what it has
            write_json(arguments.out, report(rows, arguments))
    print("\n".join(["", *winners_table(winners([dataclasses.asdict(row) for row in rows]))]))


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add, everyone = parser.add_argument, [*NAMES, *TRITON, MATMUL]
    add("--sizes", nargs="+", type=_size, default=list(SIZES), metavar="FACES+VOICES")
    add("--dim", type=int, default=256)
    add("--classes", type=int, default=7)
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--dtype", choices=DTYPES, default="float32")
    add("--contenders", nargs="+", choices=everyone, default=everyone)
    add("--compile-mode", default="default", help="of torch.compile, e.g. reduce-overhead")
    add("--threads", type=int, default=0, help="of torch on the CPU; 0: as torch chooses")
    add("--repeats", type=int, default=1000, help="most timed calls of a measurement")
    add("--budget-seconds", type=float, default=3.0, help="of timed calls of a measurement")
    add("--longest-call", type=float, default=120.0, help="seconds; what would take longer is left out")
    add("--no-memory", action="store_true", help="leave out the extra memory, slow to measure on a CPU")
    add("--out", type=Path, help="JSON")
    add("--peak-of", help=argparse.SUPPRESS)
    return parser


def _size(text: str) -> tuple[int, int]:
    faces, _, voices = text.partition("+")
    return int(faces), int(voices)


def rows_of_size(
    size: tuple[int, int], arguments: argparse.Namespace, words: list[str], before: Sequence[Row] = ()
) -> list[Row]:
    """Everything about one size, in the order of `--contenders`.

    Args:
        size: faces and voices.
        arguments: of the command line.
        words: the command line, for child processes.
        before: rows of other sizes, which tell what would take too long.
    """
    problem = random_problem(size, arguments.dim, arguments.classes, DTYPES[arguments.dtype], arguments.device)
    answer = exact(problem)
    rows = [Row(name, *size) for name in arguments.contenders]
    steps: list[tuple[Row, Step]] = []
    for row in rows:
        try:
            _refuse(row, arguments, before)
            steps.append((row, prepare(row, problem, answer, arguments, words)))
        except Exception as error:  # whatever stops one contender is a note in its row; the others go on
            row.note = _reason(error)
    for (row, _), seconds in zip(steps, time_by_turns([step for _, step in steps], arguments), strict=True):
        row.calls, row.ms = len(seconds), 1000 * statistics.median(seconds)
    _ratios(rows, problem.useful_flops)
    return rows


def _refuse(row: Row, arguments: argparse.Namespace, before: Sequence[Row]) -> None:
    """Raise UnavailableError for what would not fit into memory, or into the time that somebody waits."""
    n = row.faces + row.voices
    needed = bytes_needed(row.contender, n, arguments.dim, DTYPES[arguments.dtype])
    free = free_bytes(arguments.device)
    if needed > free:
        raise UnavailableError(f"out of memory: needs about {_gb(needed)}, {_gb(free)} may be used")
    measured = [(r.faces + r.voices, r.ms) for r in before if r.contender == row.contender and r.ms]
    m, ms = max((other for other in measured if other[0] < n), default=(n, 0.0))
    seconds = ms / 1000 * (n / m) ** 2
    if seconds > arguments.longest_call:
        raise UnavailableError(f"not run: a call would take about {seconds:.0f} s, going by {m} rows")


def prepare(
    row: Row, problem: Problem, answer: tuple[float, Tensor], arguments: argparse.Namespace, words: list[str]
) -> Step:
    """A contender ready to be timed; its memory and its errors against the exact `answer` go into `row`."""
    if row.contender == MATMUL:
        return matmul_step(problem)
    step = lmmd_step(contender(row.contender, arguments.compile_mode), problem)
    if arguments.device == "cpu" and not arguments.no_memory:
        row.extra_mb = peak_in_a_child(row, words)
    loss, gradients = step()
    difference = torch.cat(list(gradients)).double() - answer[1]
    row.value_error = abs(float(loss) - answer[0]) / max(abs(answer[0]), 1e-300)
    row.gradient_error = float(difference.norm() / answer[1].norm())
    if arguments.device == "cuda" and not arguments.no_memory:
        row.extra_mb = _peak_on_cuda(step)
        row.launches = _launches(step) if problem.rows <= 64 else None
    return step


def free_bytes(device: str) -> float:
    """What a contender may use."""
    if device == "cuda":
        torch.cuda.empty_cache()
        return 0.9 * torch.cuda.mem_get_info()[0]
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return min(_CPU_LIMIT, 0.8 * 1024 * int(lines["MemAvailable"].split()[0]))


def peak_in_a_child(row: Row, words: list[str]) -> float:
    """MB that one call needs, in a fresh process that may not have more than `free_bytes`."""
    extra = ["--sizes", f"{row.faces}+{row.voices}", "--peak-of", row.contender]
    command = [sys.executable, __file__, *words, *extra]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_CHILD_SECONDS)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise UnavailableError(f"its process failed: {lines[-1][:160]}")
    answer = json.loads(done.stdout.splitlines()[-1])
    if "error" in answer:
        raise UnavailableError(answer["error"])
    return float(answer["mb"])


def peak_in_this_process(arguments: argparse.Namespace) -> dict[str, Any]:
    """In the child: {"mb": ...} by which resident memory rises in one call, or {"error": why there was none}."""
    limit = int(free_bytes("cpu"))
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    shape = (arguments.dim, arguments.classes, DTYPES[arguments.dtype], "cpu")
    try:
        function = contender(arguments.peak_of, arguments.compile_mode)
        step = lmmd_step(function, random_problem(arguments.sizes[0], *shape))
        # A small call loads libraries and starts threads; what is compiled, is compiled for one shape.
        (step if arguments.peak_of == "compiled" else lmmd_step(function, random_problem((8, 8), *shape)))()
        CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
        before = _resident("VmRSS")
        step()
    except Exception as error:
        return {"error": _reason(error)}
    return {"mb": (_resident("VmHWM") - before) / 1e6}


def _resident(field: str) -> int:
    """Bytes, from /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (kib,) = (line.split()[1] for line in lines if line.startswith(field))
    return 1024 * int(kib)


def _peak_on_cuda(step: Step) -> float:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 1e6


def _launches(step: Step, calls: int = 4) -> float | None:
    """Kernels, copies and fills per call; None where the profiler does not see them."""
    from torch.profiler import ProfilerActivity, profile

    torch.cuda.synchronize()
    try:
        with profile(activities=[ProfilerActivity.CUDA]) as seen:
            for _ in range(calls):
                step()
            torch.cuda.synchronize()
    except Exception:  # no permission for the counters, for one: the times are worth having without
        return None
    events = [event for event in seen.events() or [] if event.device_type.name == "CUDA"]
    return len(events) / calls or None


def time_by_turns(steps: Sequence[Step], arguments: argparse.Namespace) -> list[list[float]]:
    """Seconds of every timed call of every step."""
    time_calls = _time_on_cuda if arguments.device == "cuda" else _time_on_cpu
    rest = min(_REST, arguments.budget_seconds) if arguments.device == "cpu" else 0
    seconds = [time_calls(step, 1) for step in steps]
    for step, first in zip(steps, seconds, strict=True):
        first += time_calls(step, _WARM_UP) if first[0] < arguments.budget_seconds / 10 else []
    calls = [_affordable(min(first), arguments) for first in seconds]
    # Of a step over the budget one call is enough; of the others the first ones warmed up.
    seconds = [first if n == 1 else [] for first, n in zip(seconds, calls, strict=True)]
    blocks = [np.array_split(np.arange(n if n > 1 else 0), _BLOCKS) for n in calls]
    for block, (index, step) in itertools.product(range(_BLOCKS), enumerate(steps)):
        if share := len(blocks[index][block]):
            time.sleep(rest)
            time_calls(step, min(_WARM_UP, share))
            seconds[index] += time_calls(step, share)
    return seconds


def _affordable(seconds: float, arguments: argparse.Namespace) -> int:
    """Calls to time: 3 at least, for a median, unless one alone is over the budget."""
    fit = int(arguments.budget_seconds / max(seconds, 1e-6))
    return max(1, min(int(arguments.repeats), max(fit, 3) if fit else 1))


def _time_on_cpu(step: Step, calls: int) -> list[float]:
    seconds = []
    for _ in range(calls):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return seconds


def _time_on_cuda(step: Step, calls: int) -> list[float]:
    """By events in the stream, without waiting between calls, as in training."""
    event: Any = torch.cuda.Event
    events = [event(enable_timing=True) for _ in range(calls + 1)]
    torch.cuda.synchronize()
    events[0].record()
    for after in events[1:]:
        step()
        after.record()
    torch.cuda.synchronize()
    return [a.elapsed_time(b) / 1000 for a, b in itertools.pairwise(events)]


def _ratios(rows: list[Row], flops: float) -> None:
    ms = {row.contender: row.ms for row in rows}
    ours, plain = ms.get("fdan_edge"), ms.get("vectorised")
    for row in rows:
        if row.ms:
            row.times_fdan_edge = row.ms / ours if ours else None
            row.times_vectorised = row.ms / plain if plain else None
            row.gflops_per_second = flops / row.ms / 1e6


def _reason(error: BaseException) -> str:
    """One line; every way of running out of memory is called that."""
    text = one_line(error, 160)
    short = isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)
    return f"out of memory: {text}" if short and not text.startswith("out of memory") else text


def _gb(size: float) -> str:
    return f"{size / 1e9:.3g} GB"


def table(rows: list[Row], arguments: argparse.Namespace) -> str:
    """Text for people."""
    first = rows[0]
    gradient = (first.faces + first.voices) * arguments.dim * DTYPES[arguments.dtype].itemsize / 1e6
    lines = [
        f"\n{first.faces}+{first.voices} rows of {arguments.dim}, {arguments.classes} classes, {arguments.dtype} "
        f"on {arguments.device}; the gradient is {gradient:.3g} MB",
        f"{'':12}{'ms':>10}{'calls':>7}{'/ fdan_edge':>13}{'/ vectorised':>14}{'extra MB':>10}"
        f"{'value err':>11}{'grad err':>10}{'GFLOP/s':>9}{'launches':>10}",
    ]
    return "\n".join([*lines, *(_line(row) for row in rows)])


def _line(row: Row) -> str:
    if row.note:
        return f"{row.contender:12}  {row.note}"
    cells = [
        (row.ms, 10, ".4g"),
        (row.calls, 7, "d"),
        (row.times_fdan_edge, 13, ".3g"),
        (row.times_vectorised, 14, ".3g"),
        (row.extra_mb, 10, ".1f"),
        (row.value_error, 11, ".0e"),
        (row.gradient_error, 10, ".0e"),
        (row.gflops_per_second, 9, ".3g"),
        (row.launches, 10, ".3g"),
    ]
    return f"{row.contender:12}" + "".join(f"{'' if v is None else format(v, f):>{w}}" for v, w, f in cells)


def report(rows: list[Row], arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything for JSON."""
    status = getattr(lmmd, "native_status", None)
    given = {k: str(v) if isinstance(v, Path) else v for k, v in vars(arguments).items() if k != "peak_of"}
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine_info() | ({"gpu": torch.cuda.get_device_name()} if arguments.device == "cuda" else {}),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "threads": torch.get_num_threads(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "native": dataclasses.asdict(status()) if status else None,
        "arguments": given | {"sizes": [f"{a}+{b}" for a, b in arguments.sizes]},
        "winners": winners([dataclasses.asdict(row) for row in rows]),
        "rows": [{k: _rounded(v) for k, v in dataclasses.asdict(row).items()} for row in rows],
    }


def _rounded(value: Any) -> Any:
    """To 5 digits; JSON has no NaN."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.5g}") if math.isfinite(value) else str(value)


if __name__ == "__main__":
    main()
