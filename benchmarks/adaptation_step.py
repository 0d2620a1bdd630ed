"""What aligning two corpora costs in a training step: each method's term beside all the rest of the step.

    python benchmarks/adaptation_step.py --out benchmarks/results/adaptation-step.json
    python benchmarks/adaptation_step.py --device cuda --steps 50

The rest is forward, loss of the labels, backward and optimiser on 32 + 32 windows of noise. All are timed by
turns; medians are compared. `frozen whisper_tiny` trains on what the encoder gave before. A GPU is waited for
after every call. What a training reads, and moves to the device before a step, is not timed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from fdan_edge.config import Config
from fdan_edge.models.fdan import Fdan, Output
from fdan_edge.training.objective import Batch, forward, loss_terms, transfer
from fdan_edge.training.optimizer import build_optimizer, keep_freed_memory
from fdan_edge.utils.files import write_json
from fdan_edge.utils.machine import machine_info

METHODS = ("didan", "mmd", "lmmd", "coral", "dann")
#: name -> settings, and the shape of one window as the network gets it
NETWORKS: dict[str, tuple[list[str], tuple[int, ...]]] = {
    "frozen whisper_tiny": (["backbone=whisper_tiny", "frozen_stages=3", "masks=0"], (1536,)),
    "vgg8, 64x94": (["backbone=vgg8", "n_mels=64", "hop=512"], (1, 64, 94)),
    "mobilenet_v2, 128x188": (["backbone=mobilenet_v2"], (1, 128, 188)),
}
CLASSES, ROWS = 4, 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=15, help="timed of each")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: as torch chooses")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    on_cpu = arguments.device == "cpu"
    if not on_cpu and not torch.cuda.is_available():
        parser.error("no CUDA GPU that this PyTorch can use")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    result: dict[str, Any] = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine_info() | ({} if on_cpu else {"gpu": torch.cuda.get_device_name()}),
        "torch": torch.__version__,
        "device": arguments.device,
        "threads": torch.get_num_threads(),
        "rows": f"{ROWS}+{ROWS}",
        "networks": {},
    }
    for name in NETWORKS:
        result["networks"][name] = measure(name, arguments)
        if arguments.out:  # after every network: a run that is stopped leaves what it has
            write_json(arguments.out, result)


def measure(network: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Median milliseconds of the rest of a step, and of each method's term with its gradient; their shares."""
    calls = {"rest": rest_of_step(network, arguments.device)}
    calls |= {method: term(network, method, arguments.device) for method in METHODS}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(arguments.steps + 2):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn >= 2:  # the first two warm up
                seconds[name].append(time.perf_counter() - start)
    median = {name: 1000 * statistics.median(values) for name, values in seconds.items()}
    made: dict[str, Any] = {"rest": {"ms": round(median["rest"], 3)}}
    for method in METHODS:
        share = median[method] / (median[method] + median["rest"])
        made[method] = {"ms": round(median[method], 3), "share_of_step": round(share, 4)}
    print(network, made, flush=True)
    return made


def rest_of_step(network: str, device: str) -> Callable[[], None]:
    """Forward, loss of the labels, backward and optimiser; the target is heard, and nothing aligned."""
    config, model, batch = prepared(network, "source", device)
    optimizer = build_optimizer(model, config)

    def call() -> None:
        made = loss_terms(forward(model, batch), batch, config, progress=0.5)
        optimizer.zero_grad(set_to_none=True)
        made.total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        float(made.total.detach())  # waits for the device

    return call


def term(network: str, method: str, device: str) -> Callable[[], None]:
    """A method's term on the network's own features, with the gradient towards them."""
    config, model, batch = prepared(network, method, device)
    with torch.no_grad():
        out = forward(model, batch)
    hidden = [z.requires_grad_() for z in out.hidden]
    outputs = Output(out.logits_acoustic, hidden)

    def call() -> None:
        value = transfer(outputs, batch, config, 0.5, model.domain)
        (gradient,) = torch.autograd.grad(value, hidden[-1])
        float(gradient[0, 0])  # waits for the device

    return call


def prepared(network: str, method: str, device: str) -> tuple[Config, Fdan, Batch]:
    words, shape = NETWORKS[network]
    config = Config.load(None, [*words, "weights=none", f"method={method}", "alpha_ramp=0"])
    torch.manual_seed(0)
    model = Fdan(config, CLASSES, faces=False, pretrained=False)
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    source, target = (scaled(torch.rand(ROWS, *shape, device=device)) for _ in range(2))
    return config, model.train(), Batch(source, torch.arange(ROWS, device=device) % CLASSES, target)


def scaled(chance: torch.Tensor) -> torch.Tensor:
    """-80 to 0 dB, or an encoder's features as they are."""
    return chance if chance.ndim == 2 else -80 * chance


if __name__ == "__main__":
    main()
