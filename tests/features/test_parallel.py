"""One function over many items, on threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from fdan_edge.features.parallel import in_parallel


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_items_are_worked_on_at_once_and_come_in_their_order() -> None:
    meeting = threading.Barrier(2, timeout=10)  # broken unless two items are at work together

    def work(i: int) -> int:
        meeting.wait()
        time.sleep(0.01 * (i % 2))
        return i

    assert list(in_parallel(work, range(20), "work")) == list(range(20))


@pytest.mark.usefixtures("two_threads")
def test_each_thread_computes_on_itself_alone() -> None:
    """Results would depend on the number of cores else."""
    assert list(in_parallel(lambda _: torch.get_num_threads(), range(4), "work")) == [1] * 4
    assert torch.get_num_threads() == 2
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [2]


@pytest.mark.usefixtures("two_threads")
def test_an_error_ends_it_without_the_items_that_wait() -> None:
    begun: list[int] = []

    def work(i: int) -> None:
        begun.append(i)
        time.sleep(0.005)
        if i == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(in_parallel(work, range(1000), "work"))
    assert len(begun) < 50


def test_no_items() -> None:
    assert list(in_parallel(str, [], "work")) == []
