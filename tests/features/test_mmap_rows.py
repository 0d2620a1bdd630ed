"""Rows of several arrays are picked as from one tensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fdan_edge.features.mmap_rows import ItemRows, MappedRows, concatenate

BLOCKS = [np.arange(24, dtype=np.float16).reshape(4, 2, 3) + 100 * i for i in range(3)]
#: Out of order, with gaps, and one without rows.
PARTS = [
    ItemRows(BLOCKS[2], 1, 2),
    ItemRows(BLOCKS[0], 0, 2),
    ItemRows(BLOCKS[1], 4, 0),
    ItemRows(BLOCKS[2], 0, 2),
]
WHOLE = torch.from_numpy(np.concatenate([BLOCKS[2][1:3], BLOCKS[0][:2], BLOCKS[2][:2]]))


@pytest.mark.parametrize(
    "index", [..., 3, slice(1, 4), slice(2, 2), torch.tensor([5, 0, 0, 2]), torch.tensor([[1, 2], [3, 4]])]
)
def test_picking_equals_that_from_a_tensor(index: object) -> None:
    rows = concatenate(PARTS)
    assert rows.shape == WHOLE.shape
    assert len(rows) == len(WHOLE)
    picked = rows[index]
    assert picked.dtype == torch.float16
    assert torch.equal(picked, WHOLE[index])  # type: ignore[index]


def test_groups_lie_along_the_first_dimension() -> None:
    rows, tensor = concatenate(PARTS).grouped(2), WHOLE.view(3, 2, 2, 3).transpose(0, 1)
    assert rows.shape == tensor.shape == (2, 3, 2, 3)
    assert torch.equal(rows[...], tensor)
    variant, index = torch.tensor([1, 0, 1]), torch.tensor([2, 2, 0])
    assert torch.equal(rows[variant, index], tensor[variant, index])
    assert torch.equal(rows[0, index], tensor[0, index])


def test_what_is_picked_is_a_copy(tmp_path: Path) -> None:
    """A batch may be written to; a memory-mapped file may not."""
    np.save(tmp_path / "rows.npy", BLOCKS[0])
    block = np.load(tmp_path / "rows.npy", mmap_mode="r")
    rows = MappedRows([block], torch.arange(4))
    rows[torch.tensor([1])].zero_()
    assert torch.equal(rows[...], torch.from_numpy(BLOCKS[0]))
