"""Describe the machine that figures were measured on. Imports no torch."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fdan_edge.utils import gpu

#: Of /proc/cpuinfo: what float and int8 kernels are chosen by, on x86 and on ARM.
_INSTRUCTIONS = (
    "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8",
    "amx_bf16", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve",
)  # fmt: skip
_PACKAGES = ("numpy", "onnxruntime", "onnxruntime-gpu", "tensorrt-rtx-cu13", "tensorrt", "torch")
_BUSY = 0.5  # load, in cores, above which others' work disturbs a measurement
_ROOT = Path("/")


def machine_info(root: Path = _ROOT) -> dict[str, Any]:
    """Return processor, system, versions of the runtimes, GPU and load; what cannot be read is left out.

    Args:
        root: where the system's files are: proc/cpuinfo, proc/device-tree and sys/devices.
    """
    values: dict[str, Any] = {
        "processor": processor(root),
        "cores": len(os.sched_getaffinity(0)),
        "instructions": instructions(root),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions(),
        "load": round(os.getloadavg()[0], 2),  # of the last minute, in cores
    }
    frequency = root / "sys/devices/system/cpu/cpu0/cpufreq"
    governor, megahertz = _read(frequency / "scaling_governor"), _read(frequency / "cpuinfo_max_freq")
    if governor:
        values["governor"] = governor
    if megahertz.isdigit():
        values["max_mhz"] = int(megahertz) // 1000
    board = _read(root / "proc/device-tree/model").rstrip("\0")  # a Jetson's name
    if board:
        values["board"] = board
    gpus = gpu.describe()
    return values | ({"gpus": gpus} if gpus else {})


def busy_warning() -> str:
    """Return a line that warns of others' work on this machine; empty where it is idle."""
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    if load <= _BUSY:
        return ""
    return f"this machine is busy (load {load:.1f} on {cores} cores): times are too long, ratios less certain"


def processor(root: Path = _ROOT) -> str:
    """Return the processor's name."""
    return _field("model name", root) or platform.processor() or platform.machine()


def instructions(root: Path = _ROOT) -> list[str]:
    """List the processor's sets of vector instructions that matter here."""
    flags = {*(_field("flags", root) or _field("Features", root)).split()}
    return [name for name in _INSTRUCTIONS if name in flags]


def versions(packages: Sequence[str] = _PACKAGES) -> dict[str, str]:
    """Return the versions of packages, without those that are not installed."""
    installed = {}
    for package in packages:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    return installed


def machine_line(values: dict[str, Any]) -> str:
    """Write what `machine_info` returns as one line for people."""
    parts = [values.get("board") or values["processor"], f"{values['cores']} cores"]
    parts += [" ".join(values["instructions"])] if values["instructions"] else []
    parts += [f"{card['name']} (driver {card['driver']})" for card in values.get("gpus", [])]
    runtimes = {name: v for name, v in values["versions"].items() if name not in ("numpy", "torch")}
    return ", ".join([*parts, *(f"{name} {v}" for name, v in runtimes.items()), f"load {values['load']:.1f}"])


def _field(name: str, root: Path) -> str:
    """Return the first entry of that name in /proc/cpuinfo."""
    for line in _read(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
