"""The settings of how a training runs: seeds, threads, precision, what is kept on disk."""

from __future__ import annotations

from dataclasses import dataclass

from fdan_edge.config.setting import Settings, setting


@dataclass(frozen=True)
class MachineSettings(Settings):
    """Seeds, threads and precision."""

    seed: int = setting(0, "seed of the training", low=0, high=2**31 - 1)
    split_seed: int = setting(
        0, "seed of protocol random, and of a validation part that is drawn at random", low=0, high=2**31 - 1
    )
    threads: int = setting(0, "CPU threads; 0: PyTorch's choice", low=0, high=1024)
    precision: str = setting(
        "auto",
        "what the networks compute in; weights are always float32; auto: bf16 where the device has it, else fp32",
        choices=("auto", "fp32", "bf16", "fp16"),
    )
    torch_compile: str = setting(
        "none",
        "mode of torch.compile for the backbones; reduce-overhead uses CUDA graphs",
        choices=("none", "default", "reduce-overhead", "max-autotune"),
    )
    deterministic: bool = setting(True, "bit for bit the same again on a GPU too, at the price of some speed")
    bad_steps: int = setting(
        20,
        "the training ends after so many steps in a row with a loss or gradient that is not finite",
        low=1,
        high=100_000,
    )
    save_minutes: float = setting(
        10.0,
        "minutes between savings within an epoch; 0: at its end only",
        low=0,
        high=1e6,
        decisive=False,
    )
    cache: bool = setting(True, "keep log-mels, outputs of frozen stages and face crops on disk", decisive=False)
