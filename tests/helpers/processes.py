"""Processes that start in milliseconds: forked from one that has imported PyTorch, which takes seconds, once."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from functools import cache
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from typing import Any

#: What the process that is forked has imported.
_IMPORTED = [
    *("torch.distributed.launcher.api", "fdan_edge.training.run", "fdan_edge.tuning.search", "optuna"),
    *("torch._dynamo", "matplotlib.figure", "tests.conftest"),
]


@cache
def context() -> ForkServerContext:
    """Give the context whose processes start so; what one of them changes, no other one sees."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(_IMPORTED)
    return made


def started(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Start a function of a module in a process of its own; a negative exit code is the signal that ended it."""
    process = context().Process(target=target, args=arguments)
    process.start()
    return process


def run_ranks(target: Callable[..., None], count: int, *arguments: Any) -> None:
    """Call `target(rank, *arguments)` in as many processes.

    Raises:
        AssertionError: one of them failed; it has printed why.
    """
    processes = [started(target, rank, *arguments) for rank in range(count)]
    for process in processes:
        process.join(240)
        if process.is_alive():
            process.kill()
    assert [process.exitcode for process in processes] == [0] * count
