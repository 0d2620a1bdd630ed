"""What is TensorRT's is freed by one thread at a time, and never by the garbage collector."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from fdan_edge.errors import FdanEdgeError
from fdan_edge.runtime.tensorrt import freeing


class Thing:
    """Can be referred to weakly."""


def test_one_thread_at_a_time() -> None:
    inside, log = threading.Event(), list[str]()

    def other() -> None:
        inside.wait(20)
        with freeing.alone():
            log.append("other")

    thread = threading.Thread(target=other)
    thread.start()
    with freeing.alone(), freeing.alone():  # one within the other is the same thread
        inside.set()
        thread.join(0.05)
        log.append("first")
    thread.join(20)
    assert log == ["first", "other"]


def test_what_waits_is_freed_by_the_next_that_is_alone() -> None:
    freed: list[int] = []

    def fails() -> None:
        raise FdanEdgeError("CUDA failed")

    freeing.later(lambda: freed.append(1))
    freeing.later(fails)
    assert freed == []
    for _ in range(2):
        with freeing.alone():
            assert freed == [1]


def test_an_error_keeps_nothing_of_the_functions_it_came_through() -> None:
    kept: list[weakref.ref[Thing]] = []

    def inner(thing: Thing) -> None:
        try:
            int("x")
        except ValueError as error:
            raise KeyError(repr(thing)) from error

    def outer() -> None:
        thing = Thing()
        kept.append(weakref.ref(thing))
        inner(thing)

    gc.disable()
    try:
        with pytest.raises(KeyError) as caught, freeing.nothing_in_tracebacks():
            outer()
        assert kept[0]() is None
        assert caught.value.__cause__ is not None
    finally:
        gc.enable()
