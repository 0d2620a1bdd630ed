"""Batches: every voice once an epoch, chance by place, read ahead or not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fdan_edge.training import distributed
from fdan_edge.training.loader import read_ahead
from fdan_edge.training.objective import Batch
from tests.helpers.training_parts import trainer

CPU = torch.device("cpu")


def tensors(batch: Batch) -> list[Tensor]:
    return [value for value in vars(batch).values() if value is not None]


def same(one: list[Batch], other: list[Batch]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(
        torch.equal(a, b) for mine, theirs in pairs for a, b in zip(tensors(mine), tensors(theirs), strict=True)
    )


def test_every_voice_is_heard_once_in_an_epoch(tmp_path: Path) -> None:
    loader = trainer(tmp_path, masks=0).loader
    sums = torch.cat([batch.decibel.flatten(1).sum(1) for batch in loader.epoch(3)])
    given = loader.train.decibel[0][:].float().flatten(1).sum(1)
    torch.testing.assert_close(sums.sort().values, given.sort().values)  # shifted in time, no more


def test_voices_of_several_corpora_are_drawn_as_often_as_is_said_with_the_classes_that_theirs_have(
    tmp_path: Path,
) -> None:
    loader = trainer(tmp_path, masks=0).loader
    count = len(loader.train.labels)
    drawn = torch.full((count,), 0.5)
    drawn[0] = count - 0.5 * (count - 1)
    known = torch.zeros(count, 3, dtype=torch.bool)
    known[torch.arange(count), loader.train.labels] = True  # a row says whose it is
    known[0] = True
    loader.train = replace(loader.train, drawn=drawn, known=known)
    batches = list(loader.epoch(0))
    rows = torch.cat([batch.known for batch in batches if batch.known is not None])
    labels = torch.cat([batch.labels for batch in batches])
    assert len(rows) == len(labels) == loader.steps * loader.batch_size
    assert int(rows.all(1).sum()) in (6, 7)  # of 12, by its weight of 6.5
    assert rows[torch.arange(len(rows)), labels].all()
    assert same(batches[1:], list(loader.epoch(0, 1)))


def test_an_epoch_is_the_same_again_and_from_its_middle(tmp_path: Path) -> None:
    loader = trainer(tmp_path, with_target=True, method="mmd", visual_dropout=0.5).loader
    first = list(loader.epoch(0))
    torch.manual_seed(99)
    assert same(first, list(loader.epoch(0)))
    assert same(first[1:], list(loader.epoch(0, 1)))
    assert not same(first, list(loader.epoch(1)))


def test_what_is_read_ahead_is_the_same(tmp_path: Path) -> None:
    loader, threads = trainer(tmp_path).loader, torch.get_num_threads()
    assert list(read_ahead(lambda step: 10 * step, range(2, 9), CPU)) == [20, 30, 40, 50, 60, 70, 80]
    assert torch.get_num_threads() == threads
    ahead = read_ahead(lambda _: next(iter(loader.epoch(0))), range(3), CPU)
    assert same([next(ahead)], [next(iter(loader.epoch(0)))])
    ahead.close()  # type: ignore[attr-defined]


def test_errors_of_reading_come_through() -> None:
    def read(step: int) -> int:
        if step == 3:
            raise OSError("a disk is gone")
        return step

    steps = read_ahead(read, range(9), CPU)
    assert [next(steps), next(steps), next(steps)] == [0, 1, 2]
    with pytest.raises(OSError, match="a disk is gone"):
        next(steps)


def test_processes_share_the_batch_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = trainer(tmp_path, with_target=True, method="mmd", visual_dropout=0.5).loader
    whole, parts = next(iter(loader.epoch(0))), []
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        parts.append(next(iter(loader.epoch(0))))
    for name in ("decibel", "target", "images"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))
    for name in ("labels", "faces", "keep"):
        assert all(torch.equal(getattr(part, name), getattr(whole, name)) for part in parts)


def test_visual_dropout_is_a_share_of_the_voices(tmp_path: Path) -> None:
    loader = trainer(tmp_path, visual_dropout=0.25).loader
    share = torch.cat(
        [batch.keep for epoch in range(300) for batch in loader.epoch(epoch) if batch.keep is not None]
    )
    assert set(share.flatten().tolist()) == {0.0, 1.0}
    assert float(share.mean()) == pytest.approx(0.75, abs=0.03)
    assert next(iter(trainer(tmp_path).loader.epoch(0))).keep is None
