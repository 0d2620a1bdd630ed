"""LMMD's CUDA kernels under Nsight Compute: time, bytes and occupancy of each, beside the roofline of the card.

    python benchmarks/lmmd_profile.py --out benchmarks/results/lmmd-profile.json
    python benchmarks/lmmd_profile.py --sizes 32+32 --dtype bfloat16

Every size is a process under `ncu`, which runs each kernel several times to read its counters. The two ceilings
are measured here, without `ncu`: a large copy on the device, and a large matrix product in fp32 without TF32. A
kernel's `floor` is the longer of its bytes over the one and its multiply-adds over the other; `of_floor` is the
floor over its time, 1 being as fast as the card allows.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from fdan_edge.errors import FdanEdgeError
from fdan_edge.utils.files import write_json
from fdan_edge.utils.machine import machine_info

#: What is asked of ncu -> what it is called here. Seconds, bytes and counts; shares in percent.
METRICS = {
    "gpu__time_duration.sum": "seconds",
    "dram__bytes.sum": "dram_bytes",
    "lts__t_bytes.sum": "l2_bytes",
    "smsp__sass_thread_inst_executed_op_ffma_pred_on.sum": "multiply_adds",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed": "compute_percent",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed": "memory_percent",
    "sm__warps_active.avg.pct_of_peak_sustained_active": "occupancy_percent",
    "launch__registers_per_thread": "registers",
    "launch__grid_size": "blocks",
    "launch__block_size": "threads",
}
_UNITS = {
    "nsecond": 1e-9,
    "ns": 1e-9,
    "usecond": 1e-6,
    "us": 1e-6,
    "msecond": 1e-3,
    "ms": 1e-3,
    "second": 1,
    "s": 1,
    "byte": 1,
    "Kbyte": 1e3,
    "Mbyte": 1e6,
    "Gbyte": 1e9,
    "Tbyte": 1e12,
}
CALL = """
import sys
sys.path.insert(0, {folder!r})
import torch
from lmmd_contenders import contender, lmmd_step, random_problem
step = lmmd_step(contender("fdan_edge"), random_problem(({faces}, {voices}), 256, 7, torch.{dtype}, "cuda"))
step()
torch.cuda.synchronize()
torch.cuda.profiler.start()
step()
torch.cuda.synchronize()
torch.cuda.profiler.stop()
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Profile every size; gives the exit code, 1 where none gave anything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--sizes", nargs="+", default=["32+32", "512+512", "16384+16384"], metavar="FACES+VOICES")
    add("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    add("--out", type=Path, help="JSON")
    arguments = parser.parse_args(argv)
    if not torch.cuda.is_available():
        parser.error("no CUDA GPU that this PyTorch can use")
    ncu = find_ncu()
    if ncu is None:
        parser.error("ncu is not installed: it comes with CUDA's toolkit")
    copy, product = ceilings()
    result: dict[str, Any] = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine_info(),
        "gpu": torch.cuda.get_device_name(),
        "dtype": arguments.dtype,
        "copy_bytes_per_second": copy,
        "product_operations_per_second": product,
        "sizes": {},
    }
    for size in arguments.sizes:
        try:
            kernels = against(profiled(ncu, size, arguments.dtype), copy, product)
        except FdanEdgeError as error:
            result["sizes"][size] = {"error": str(error)}
        else:
            result["sizes"][size] = {"kernels": kernels}
        print("\n".join(table(size, result["sizes"][size])), flush=True)
        if arguments.out:
            write_json(arguments.out, result)
    return int(all("error" in made for made in result["sizes"].values()))


def find_ncu() -> str | None:
    """Nsight Compute's command, on the path or beside nvcc."""
    toolkit = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "bin"
    return shutil.which("ncu") or shutil.which("ncu", path=str(toolkit))


def ceilings() -> tuple[float, float]:
    """Bytes per second of a copy, read and written ones counted, and fp32 operations per second of a product."""
    torch.set_float32_matmul_precision("highest")  # no TF32: LMMD uses none
    source = torch.empty(1 << 28, device="cuda")
    target = torch.empty_like(source)
    square = torch.randn(8192, 8192, device="cuda")
    copy = 2 * source.nbytes / _seconds(lambda: target.copy_(source))
    return copy, 2 * len(square) ** 3 / _seconds(lambda: square @ square)


def _seconds(work: Any, times: int = 5) -> float:
    """The fastest of some, after one that warms up."""
    work()
    found = []
    for _ in range(times):
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        before.record()
        work()
        after.record()
        torch.cuda.synchronize()
        found.append(before.elapsed_time(after) / 1000)
    return float(min(found))


def profiled(ncu: str, size: str, dtype: str) -> list[dict[str, Any]]:
    """Every kernel of one call, forward and backward.

    Raises:
        FdanEdgeError: ncu failed; many machines let only root read the counters.
    """
    faces, _, voices = size.partition("+")
    code = CALL.format(folder=str(Path(__file__).parent), faces=int(faces), voices=int(voices), dtype=dtype)
    command = [ncu, "--csv", "--page", "raw", "--clock-control", "none", "--profile-from-start", "off"]
    command += ["--print-units", "base", "--metrics", ",".join(METRICS), sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = kernels_of(done.stdout)
    if done.returncode or not found:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise FdanEdgeError(f"ncu gave nothing: {(said or [f'exit code {done.returncode}'])[-1][:200]}")
    return found


def kernels_of(text: str) -> list[dict[str, Any]]:
    """What `ncu --csv --page raw` prints, in seconds, bytes and counts; other lines are the program's."""
    lines = text.splitlines()
    first = next((i for i, line in enumerate(lines) if line.startswith('"ID"')), None)
    if first is None:
        return []
    rows_of_text = "\n".join(line for line in lines[first:] if line.startswith('"'))  # ncu's farewell is none
    units, *rows = [*csv.DictReader(io.StringIO(rows_of_text))] or [{}]
    found = []
    for row in rows:
        kernel: dict[str, Any] = {"kernel": row["Kernel Name"]}
        for metric, name in METRICS.items():
            cell = (row.get(metric) or "").replace(",", "")
            kernel[name] = float(cell) * _UNITS.get(units[metric], 1) if _is_number(cell) else None
        found.append(kernel)
    return found


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def against(kernels: list[dict[str, Any]], copy: float, product: float) -> list[dict[str, Any]]:
    """The same with the least time that the card would take for each one's bytes and multiply-adds."""
    found = []
    for kernel in kernels:
        memory, compute = (kernel["dram_bytes"] or 0) / copy, 2 * (kernel["multiply_adds"] or 0) / product
        floor = max(memory, compute)
        share = floor / kernel["seconds"] if kernel["seconds"] else None
        found.append({**kernel, "floor": floor, "bound": "compute" if compute > memory else "memory"})
        found[-1]["of_floor"] = share
    return found


def table(size: str, made: dict[str, Any]) -> list[str]:
    """For the terminal."""
    if "error" in made:
        return [f"{size}: {made['error']}"]
    lines = [f"{size:<34} {'us':>9} {'of floor':>9} {'bound':>8} {'warps %':>8} {'regs':>5} {'blocks':>7}"]
    for kernel in made["kernels"]:
        name = kernel["kernel"].split("(")[0][-34:]
        cells = [
            _told(kernel["seconds"], ".1f", 1e6),
            _told(kernel["of_floor"], ".2f"),
            kernel["bound"],
            *(_told(kernel[key], ".0f") for key in ("occupancy_percent", "registers", "blocks")),
        ]
        lines.append(f"{name:<34} " + " ".join(c.rjust(w) for c, w in zip(cells, (9, 9, 8, 8, 5, 7), strict=True)))
    return lines


def _told(value: float | None, form: str, scale: float = 1) -> str:
    return "-" if value is None else format(scale * value, form)


if __name__ == "__main__":
    sys.exit(main())
