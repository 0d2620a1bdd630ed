"""What a training computes on, and how: device, threads, number format, repeatability."""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch

from fdan_edge.config import Config
from fdan_edge.errors import ConfigError
from fdan_edge.training import distributed

_FORMATS = {"bf16": torch.bfloat16, "fp16": torch.float16}
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def prepare_device(config: Config) -> torch.device:
    """Set up this process for a training, and return the device that it computes on."""
    torch.set_num_threads(config.threads or default_threads())
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuBLAS may add up in any order
    torch.use_deterministic_algorithms(config.deterministic, warn_only=True)
    torch.backends.cudnn.deterministic = config.deterministic
    torch.backends.cudnn.benchmark = not config.deterministic  # picks by timing, not always the same
    return torch.device("cuda", distributed.local_rank())


def number_format(config: Config, device: torch.device) -> torch.dtype:
    """Choose what autocast computes in; float32 is none.

    Raises:
        ConfigError: the device does not have what is asked for.
    """
    if config.precision in _FORMATS:
        asked = _FORMATS[config.precision]
        if device.type == "cuda" and asked == torch.bfloat16 and not torch.cuda.is_bf16_supported(False):
            name = torch.cuda.get_device_name(device)
            raise ConfigError(f"precision = bf16: {name} has none; valid: auto, fp32, fp16")
        return asked
    if config.precision == "auto" and _has_bf16(device):
        return torch.bfloat16
    return torch.float32


def precision_name(config: Config, device: torch.device) -> str:
    """Name the format that is computed in: fp32, bf16 or fp16."""
    dtype = number_format(config, device)
    return next((name for name, known in _FORMATS.items() if known == dtype), "fp32")


def device_name(device: torch.device) -> str:
    """Name the device, for people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"the CPU, {threads} thread{'s' if threads > 1 else ''}"


def _has_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32: AVX2 and older GPUs only imitate it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(able.get("amx_bf16") or able.get("avx512_bf16"))


def default_threads() -> int:
    """Choose one thread for each core that this process may use, however the container limits them."""
    cores = len(os.sched_getaffinity(0))
    usual = min(cores, torch.get_num_threads()) if distributed.world_size() == 1 else cores
    return max(1, min(usual, container_cores()) // distributed.local_world_size())


def container_cores(quota: Path = CPU_QUOTA) -> int:
    """Count the cores that the container may use: PyTorch does not look, and more threads would only wait."""
    try:
        most, period = quota.read_text().split()
        return max(1, math.ceil(int(most) / int(period)))
    except (OSError, ValueError):  # no such group, or "max": no limit
        return os.cpu_count() or 1
