"""Many arrays, memory-mapped or not, that are indexed like one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class ItemRows:
    """The rows of one item: `count` rows of `block` from `first` on."""

    block: NDArray[Any]
    first: int
    count: int
    missed: int = 0  # frames in which no face was found


class MappedRows:
    """A read-only stand-in for a tensor of shape (*where.shape, *row). Only what is indexed is read.

    Args:
        blocks: arrays of shape (n_i, *row), of one dtype.
        where: row numbers through all blocks, int64. Indexing is by its dimensions: `rows[variant, index]`.
    """

    def __init__(self, blocks: Sequence[NDArray[Any]], where: Tensor) -> None:
        self._blocks = [np.asarray(block) for block in blocks]  # np.memmap's own indexing is slow
        self._starts = np.cumsum([0, *map(len, blocks)])[:-1]
        self._where = where

    @property
    def shape(self) -> torch.Size:
        """The shape of the tensor that this stands for."""
        return torch.Size([*self._where.shape, *self._blocks[0].shape[1:]])

    def __len__(self) -> int:
        return len(self._where)

    def __getitem__(self, index: Any) -> Tensor:
        numbers = self._where[index]
        rows = self._read(numbers.flatten().numpy())
        return torch.from_numpy(rows).view(*numbers.shape, *rows.shape[1:])

    def grouped(self, count: int) -> MappedRows:
        """Reshape (n * count,) rows, those of one item side by side, to (count, n)."""
        return MappedRows(self._blocks, self._where.view(-1, count).T)

    def _read(self, numbers: NDArray[np.int64]) -> NDArray[Any]:
        out = np.empty((len(numbers), *self._blocks[0].shape[1:]), self._blocks[0].dtype)
        block = np.searchsorted(self._starts, numbers, side="right") - 1
        order = np.argsort(block, kind="stable")
        for chosen in np.split(order, np.flatnonzero(np.diff(block[order])) + 1):
            if not len(chosen):  # nothing is picked at all
                continue
            b = block[chosen[0]]
            out[chosen] = self._blocks[b][numbers[chosen] - self._starts[b]]
        return out


def concatenate(parts: Sequence[ItemRows]) -> MappedRows:
    """Put the rows of all items, at least one, one after another."""
    blocks = {id(part.block): part.block for part in parts}
    starts = dict(zip(blocks, np.cumsum([0, *map(len, blocks.values())]), strict=False))
    firsts = torch.tensor([int(starts[id(part.block)]) + part.first for part in parts])
    counts = torch.tensor([part.count for part in parts])
    before = counts.cumsum(0) - counts
    where = torch.arange(int(counts.sum())) + torch.repeat_interleave(firsts - before, counts)
    return MappedRows(list(blocks.values()), where)
