"""Who is heard, and who must go when the machine is too slow."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest

from fdan_edge.server.hub import TOO_MANY, Hub
from fdan_edge.server.limits import Limits
from fdan_edge.server.protocol import TRY_LATER, Close


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def hub(clock: Clock, **limits: Any) -> Hub:
    return Hub(lambda: pytest.fail("no stream is asked for"), {}, "", 2, limits=Limits(**limits), clock=clock)


def seated(of: Hub, stack: ExitStack, count: int) -> list[int]:
    """So many clients; gives where the numbers of those who must leave will be."""
    left: list[int] = []
    for number in range(count):
        stack.enter_context(of.client_slot()).leave = lambda number=number: left.append(number)  # type: ignore[misc]
    return left


def test_the_youngest_tenth_goes_where_sound_waits_too_long() -> None:
    clock = Clock()
    of = hub(clock, clients=50, late=0.5)
    with ExitStack() as stack:
        left = seated(of, stack, 40)
        for _ in range(400):
            of.waited(0.4)  # slow, and still in time
        assert left == []
        for _ in range(400):
            of.waited(2.0)
        assert left == [36, 37, 38, 39]  # once: the machine gets a respite to catch up
        clock.now += 1.1
        of.waited(2.0)
        assert left == [36, 37, 38, 39] * 2


def test_a_single_delay_sends_nobody_away() -> None:
    of = hub(Clock(), late=0.5)
    with ExitStack() as stack:
        left = seated(of, stack, 10)
        for _ in range(5):
            of.waited(2.0)
            for _ in range(30):
                of.waited(0.01)
        assert left == []


def test_the_last_client_stays() -> None:
    of = hub(Clock(), late=0.5)
    with ExitStack() as stack:
        left = seated(of, stack, 1)
        for _ in range(100):
            of.waited(9.0)
        assert left == []


def test_nobody_is_let_in_while_others_must_go() -> None:
    clock = Clock()
    of = hub(clock, late=0.5, busy=10.0)
    with ExitStack() as stack:
        seated(of, stack, 3)
        for _ in range(100):
            of.waited(9.0)
        with pytest.raises(Close) as refused:
            stack.enter_context(of.client_slot())
        assert (refused.value.code, refused.value.reason) == (TRY_LATER, TOO_MANY)
        assert of.client_count == 3
        clock.now += 10.1
        stack.enter_context(of.client_slot())
        assert of.client_count == 4
    assert of.client_count == 0
