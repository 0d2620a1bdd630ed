"""NVML: a stand-in for the package tells what a card would, and machines without one tell nothing."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from fdan_edge.utils import gpu


class NVMLError(Exception):
    """As the package's."""


def library(**overrides: Any) -> ModuleType:
    """The package's functions that are used, with its names and units."""
    module: Any = ModuleType("pynvml")
    module.NVMLError, module.NVML_CLOCK_SM = NVMLError, 1
    module.nvmlInit = lambda: None
    module.nvmlSystemGetDriverVersion = lambda: "580.1"
    module.nvmlDeviceGetCount = lambda: 1
    module.nvmlDeviceGetHandleByIndex = lambda index: index
    module.nvmlDeviceGetName = lambda _: b"NVIDIA Card"  # bytes in earlier versions
    module.nvmlDeviceGetMemoryInfo = lambda _: SimpleNamespace(total=8 << 30, used=3 << 20)
    module.nvmlDeviceGetMaxClockInfo = lambda *_: 2460
    module.nvmlDeviceGetTotalEnergyConsumption = lambda _: 12500  # mJ
    for name, value in overrides.items():
        setattr(module, name, value)
    made: ModuleType = module
    return made


def refuse(*_: Any) -> None:
    raise NVMLError("Not Supported")


def test_what_a_card_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", library())
    described = {"name": "NVIDIA Card", "driver": "580.1", "memory_mib": 8192, "max_mhz": 2460}
    assert gpu.describe() == [described]
    assert gpu.used_memory() == 3 << 20
    assert gpu.energy() == 12.5


def test_what_a_card_does_not_tell_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = library(nvmlDeviceGetTotalEnergyConsumption=refuse, nvmlDeviceGetMemoryInfo=refuse)
    monkeypatch.setitem(sys.modules, "pynvml", silent)
    assert gpu.energy() is None
    assert gpu.used_memory() is None
    assert gpu.describe() == [{"name": "NVIDIA Card", "driver": "580.1"}]


@pytest.mark.parametrize("module", [None, library(nvmlInit=refuse)], ids=["not installed", "no driver"])
def test_without_nvml_nothing_is_told(monkeypatch: pytest.MonkeyPatch, module: ModuleType | None) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", module)  # None: it cannot be imported
    assert gpu.describe() == []
    assert gpu.used_memory() is None
    assert gpu.energy() is None
