"""Batch normalisation with ReLU6 in training on the CPU: PyTorch's two modules against the compiled ops.

    python benchmarks/norm.py --out benchmarks/results/norm.json
    python benchmarks/norm.py --threads 1 --steps 5 --format bfloat16

First forward and backward of one layer, in channels-last order; then whole training steps of two MobileNetV2, of
32 log-mels of 128x188 and of 32 faces of 48x48, with AdamW. Contenders take turns call by call; `ratio` is the
median over turns of PyTorch's time over theirs in the same turn: what else the machine does counts for both.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from fdan_edge.models.backbones import build
from fdan_edge.models.layers.norm import NATIVE_TYPES, BatchNormAct
from fdan_edge.training.optimizer import keep_freed_memory
from fdan_edge.utils.files import write_json
from fdan_edge.utils.machine import machine_info

SHAPES = ((32, 96, 64, 94), (32, 144, 32, 47), (32, 32, 64, 94), (32, 960, 4, 6))
#: Before the ops were written: they should take half of the 248 ms that a step of 750 had for these layers.
PREDICTION = {"layer": 2.0, "step": 1.2}
PLAIN = "pytorch"
FORMATS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--steps", type=int, default=15, help="whole steps timed of each; of a layer four times as many"
    )
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: as torch chooses")
    parser.add_argument("--format", choices=FORMATS, default="float32", help="of numbers; bfloat16 by autocast")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if not NATIVE_TYPES:
        parser.error("the ops are not compiled: pip install --no-build-isolation -e .")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    result: dict[str, Any] = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine_info(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "format": arguments.format,
        "predicted_ratio": PREDICTION,
        "layers": {},
    }
    for shape in SHAPES:
        name = "x".join(map(str, shape))
        result["layers"][name] = by_turns(layers(shape, FORMATS[arguments.format]), 4 * arguments.steps)
        print(name, result["layers"][name], flush=True)
    result["steps"] = by_turns(steps(FORMATS[arguments.format]), arguments.steps)
    print("step", result["steps"], flush=True)
    result["load_after"] = machine_info()["load"]
    if arguments.out:
        write_json(arguments.out, result)


def by_turns(calls: dict[str, Callable[[], object]], turns: int) -> dict[str, dict[str, float]]:
    """Median and least milliseconds of each call, and the median of PyTorch's time over its own, turn by turn.

    `cpu_ratio` is that of processor time: of one thread it counts no waiting for other programs.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    busy: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(turns + 2):
        for name, call in calls.items():
            start, started = time.perf_counter(), time.process_time()
            call()
            if turn >= 2:  # the first two warm up
                seconds[name].append(time.perf_counter() - start)
                busy[name].append(time.process_time() - started)
    return {
        name: {
            "ms": round(1000 * statistics.median(own), 2),
            "least_ms": round(1000 * min(own), 2),
            "ratio": _ratio(seconds[PLAIN], own),
            "cpu_ratio": _ratio(busy[PLAIN], busy[name]),
        }
        for name, own in seconds.items()
    }


def _ratio(others: list[float], own: list[float]) -> float:
    return round(statistics.median(a / b for a, b in zip(others, own, strict=True)), 3)


def layers(shape: tuple[int, ...], dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    """Forward and backward of one layer, both ways."""
    torch.manual_seed(0)
    x, slopes = (torch.randn(shape, dtype=dtype).to(memory_format=torch.channels_last) for _ in range(2))
    x.requires_grad_()

    def call(layer: nn.Module) -> Callable[[], object]:
        parameters = list(layer.parameters())

        def run() -> tuple[Tensor, ...]:
            return torch.autograd.grad(layer(x), [x, *parameters], slopes)

        return run

    plain = nn.Sequential(nn.BatchNorm2d(shape[1]), nn.ReLU6(inplace=True))
    return {PLAIN: call(plain), "fused": call(BatchNormAct(shape[1], "relu6"))}


def steps(dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    """Whole steps: PyTorch's own modules, with fused normalisation, and with `convolution` as well."""
    made = {}
    left_out = {PLAIN: ("fuse", "suit_cpu"), "fused": ("suit_cpu",), "fused, convolutions": ()}
    for name, functions in left_out.items():
        with contextlib.ExitStack() as stack:
            for function in functions:
                stack.enter_context(mock.patch.object(build, function, _as_it_is))
            made[name] = step(dtype)
    return made


def _as_it_is(network: nn.Module) -> nn.Module:
    return network


def step(dtype: torch.dtype) -> Callable[[], object]:
    torch.manual_seed(0)
    sides = [(1, (128, 188)), (3, (48, 48))]
    networks = nn.ModuleList(build.build_backbone("mobilenet_v2", None, channels)[0] for channels, _ in sides)
    networks.train().to(memory_format=torch.channels_last)
    heads = nn.ModuleList(nn.Linear(1280, 7) for _ in sides)
    inputs = [torch.randn(32, channels, *size).to(memory_format=torch.channels_last) for channels, size in sides]
    labels = torch.arange(32) % 7
    optimizer = torch.optim.AdamW([*networks.parameters(), *heads.parameters()], 1e-4, fused=True)

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            made = [head(network(x)) for network, head, x in zip(networks, heads, inputs, strict=True)]
        loss = sum(nn.functional.cross_entropy(logits.float(), labels) for logits in made)
        assert isinstance(loss, Tensor)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return run


if __name__ == "__main__":
    main()
