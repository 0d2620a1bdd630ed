"""The processes of one training, as torchrun starts them; alone, everything here does nothing.

Every process holds the whole model and an equal part of each batch. What is computed from the batch as a whole,
attention between voices and faces, LMMD and the losses, every process computes from the rows of all of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from fdan_edge.errors import ConfigError
from fdan_edge.utils.launcher import is_launched, restarts
from fdan_edge.utils.progress import console

#: While one process decodes a corpus or scores, the others wait.
_TIMEOUT = timedelta(hours=2)


class _AllRows(torch.autograd.Function):
    """Rows of all processes, in the order of their ranks; gradients of all of them are summed on the way back."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.rows = len(rows)
        parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[rank() * ctx.rows : (rank() + 1) * ctx.rows]


class _HasSpeaker(Protocol):
    @property
    def speaker_key(self) -> str | None: ...
    @property
    def key(self) -> str: ...


T = TypeVar("T", bound=_HasSpeaker)


def broadcast(value: bool) -> bool:
    """Return the value that the first process has, in all of them."""
    if world_size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values)
    return values[0]


@contextmanager
def process_group() -> Iterator[None]:
    """Join the other processes of this training, where there are any; only the first one logs.

    Raises:
        ConfigError: there are more processes than GPUs.
    """
    if not is_launched():
        yield
        return
    cuda = torch.cuda.is_available()
    if cuda:
        if local_rank() >= (gpus := torch.cuda.device_count()):
            raise ConfigError(f"--nproc-per-node {local_rank() + 1} or more: this machine has {gpus} GPUs")
        torch.cuda.set_device(local_rank())
    store, own_rank, count = next(iter(rendezvous("env://", timeout=_TIMEOUT)))
    store.set_timeout(_TIMEOUT)
    # Processes that were started again must not find the addresses of those before them.
    fresh = dist.PrefixStore(f"start {restarts()}", store)  # type: ignore[attr-defined]
    backend = "nccl" if cuda else "gloo"
    dist.init_process_group(backend, store=fresh, rank=own_rank, world_size=count, timeout=_TIMEOUT)
    console.quiet = not is_main()
    try:
        yield
    finally:
        console.quiet = False
        dist.destroy_process_group()


def world_size() -> int:
    """Count the processes of this training."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return which of the processes this is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def local_rank() -> int:
    """Return which of the processes on its machine this is, from 0: the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_world_size() -> int:
    """Count the processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if world_size() > 1 else 1


def is_main() -> bool:
    """Tell whether this is the first process: the only one that writes and logs."""
    return rank() == 0


def barrier() -> None:
    """Wait until all processes have come here."""
    if world_size() > 1:
        dist.barrier()


def own_rows(rows: int) -> slice:
    """Return which rows of a batch, of `rows` in all, are this process's."""
    each = rows // world_size()
    return slice(rank() * each, (rank() + 1) * each)


def own_items(items: Sequence[T]) -> list[T]:
    """Choose this process's part of some items: all of a speaker, the others in turn."""
    names = sorted({item.speaker_key for item in items if item.speaker_key})
    number = {name: index for index, name in enumerate(names)}
    return [
        item
        for index, item in enumerate(items)
        if (number[item.speaker_key] if item.speaker_key else index) % world_size() == rank()
    ]


def all_gather(rows: Tensor, parts: Sequence[int]) -> Tensor:
    """Gather the rows of all processes, (world size * n, ...), with gradient.

    Every process computes the same loss from them, so the gradient that comes back to its own rows is the sum over
    the processes; DistributedDataParallel's mean makes it that of the one loss.

    Args:
        rows: this process's, (n, ...).
        parts: how many of them are of each kind. Kinds stay together: first the first kind of all processes.
    """
    if world_size() == 1:
        return rows
    kinds = torch.split(rows, list(parts))
    return torch.cat([_AllRows.apply(kind) for kind in kinds])


def all_reduce(values: Tensor) -> Tensor:
    """Sum over the processes, in place."""
    if world_size() > 1:
        dist.all_reduce(values)
    return values
