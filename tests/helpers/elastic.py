"""What torchrun does with two processes, which are forked from one that has imported PyTorch.

torchrun itself starts each process anew: four of them take 20 s to import PyTorch.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from fdan_edge.cli import main
from fdan_edge.utils.launcher import restarts


def launch(said: Path, sign: Path, words: list[str]) -> None:
    """Run `fdan-edge WORDS` in two processes, of which the second is lost once, and both are started again.

    Args:
        said: the file for what they print.
        sign: the second process is killed when this file is there.
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
    elastic_launch(settings, _work)(sign, words)


def _work(sign: Path, words: list[str]) -> None:
    if os.environ["RANK"] == "1" and restarts() == 0:
        threading.Thread(target=_die, args=(sign,), daemon=True).start()
    try:
        main(words)
    except SystemExit as end:  # the launcher waits for what a function returns
        sys.stdout.flush()
        if end.code:
            raise RuntimeError(f"exit code {end.code}") from end


def _die(sign: Path) -> None:
    while not sign.exists():
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGKILL)
