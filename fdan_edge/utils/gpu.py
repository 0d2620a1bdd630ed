"""Read name, memory and energy of a GPU from NVIDIA's management library, NVML. Imports no torch.

It needs the package nvidia-ml-py and a driver. Jetsons have none of this: there `tegrastats` shows power.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def _library() -> Any:
    """Return the library, initialised; None where it or the driver is missing."""
    try:
        library = importlib.import_module("pynvml")
        library.nvmlInit()
    except Exception:  # ImportError, or the library's own for a missing driver
        return None
    return library


def describe() -> list[dict[str, Any]]:
    """List name, driver, memory in MiB and highest clock in MHz of each GPU; empty without NVML."""
    library = _library()
    if library is None:
        return []
    driver = _text(library.nvmlSystemGetDriverVersion())
    handles = [library.nvmlDeviceGetHandleByIndex(i) for i in range(library.nvmlDeviceGetCount())]
    return [_described(library, handle, driver) for handle in handles]


def _described(library: Any, handle: Any, driver: str) -> dict[str, Any]:
    values: dict[str, Any] = {"name": _text(library.nvmlDeviceGetName(handle)), "driver": driver}
    try:
        values["memory_mib"] = library.nvmlDeviceGetMemoryInfo(handle).total >> 20
        values["max_mhz"] = library.nvmlDeviceGetMaxClockInfo(handle, library.NVML_CLOCK_SM)
    except library.NVMLError:  # not told of this GPU
        pass
    return values


def used_memory() -> int | None:
    """Return the bytes in use on the first GPU, by all processes; None where NVML does not report them."""
    return _ask(lambda library, handle: int(library.nvmlDeviceGetMemoryInfo(handle).used))


def energy() -> float | None:
    """Return the joules that the first GPU has used since its driver was loaded; None where not reported."""
    return _ask(lambda library, handle: float(library.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000)


def _ask(question: Callable[[Any, Any], T]) -> T | None:
    library = _library()
    if library is None:
        return None
    try:
        return question(library, library.nvmlDeviceGetHandleByIndex(0))
    except library.NVMLError:
        return None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value  # bytes in earlier versions
