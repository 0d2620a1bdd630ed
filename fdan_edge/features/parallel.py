"""One function over many items, on as many threads as PyTorch may use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from fdan_edge.utils.progress import track
from fdan_edge.utils.threads import in_order

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 8  # items per thread that may wait to be taken


def in_parallel(function: Callable[[T], R], items: Sequence[T], description: str) -> Iterator[R]:
    """Yield a function's results in the order of the items, with a progress bar.

    Threads, not processes: decoding, resampling and the log-mel release Python's lock, and a process would first
    import PyTorch for seconds (benchmarks/results/cache.json). In each thread PyTorch computes on one core, so
    results do not depend on how many threads there are. Ctrl-C waits only for the items that are being computed.
    """
    if not items:
        return
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield from track(in_order(pool, function, items, threads * _AHEAD), description, total=len(items))
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # the pool's setting is what later threads would begin with
