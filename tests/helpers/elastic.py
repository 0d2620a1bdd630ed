"""What torchrun does with two processes, which are forked from one that has imported PyTorch.

torchrun itself starts each process anew: four of them take 20 s to import PyTorch.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from unittest import mock

from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from fdan_edge.cli import main
from fdan_edge.training.objective import Batch
from fdan_edge.training.trainer import Trainer
from fdan_edge.utils.launcher import restarts


def launch(said: Path, words: list[str]) -> None:
    """Run `fdan-edge WORDS` in two processes, of which the second is lost once, and both are started again.

    Args:
        said: the file for what they print.
        words: of the command.
    """
    descriptor = os.open(said, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    settings = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        max_restarts=1,
        monitor_interval=0.1,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        start_method="fork",
    )
    elastic_launch(settings, _work)(words)


def _work(words: list[str]) -> None:
    if os.environ["RANK"] == "1" and restarts() == 0:
        mock.patch.object(Trainer, "train_step", _die_in_the_third_epoch).start()
    try:
        main(words)
    except SystemExit as end:  # the launcher waits for what a function returns
        sys.stdout.flush()
        if end.code:
            raise RuntimeError(f"exit code {end.code}") from end


def _die_in_the_third_epoch(trainer: Trainer, batch: Batch) -> None:
    """Train a step, or be killed: both step together, so that the first epoch is saved by the third."""
    if trainer.epoch == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    _train_step(trainer, batch)


_train_step = Trainer.train_step
