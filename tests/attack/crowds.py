"""Attacks with many clients: those that come and go, those that stay, and those that keep others out."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from tests.attack.attack import attack, check
from tests.attack.place import Place, noise
from tests.attack.served import SLOWEST, Served
from tests.attack.wire import BINARY, TEXT, Wire, frame_bytes, streaming

_GROWTH = 30.0  # MB, at most, of a server after all its clients have gone
_AT_ONCE = 8  # clients
_CROWD = 300  # connections: more than a server keeps of those that are not let in
_HIGH = 192_000  # Hz, the highest rate of a client


@attack(f"at most {_GROWTH:g} MB more")
def clients_that_come_and_go(place: Place) -> str:
    """Let clients stream for a moment each, and leave: some with a word, some without."""
    block = noise(0.1).tobytes()

    def visit(served: Served, number: int) -> None:
        with streaming(served.port) as wire:
            wire.frame(BINARY, block)
            if number % 3 == 0:
                wire.frame(TEXT, b'{"type": "stop"}')
                wire.close_code()
            elif number % 3 == 1:
                wire.abort()

    return _growth(place, visit, place.clients)


@attack(f"at most {_GROWTH:g} MB more")
def bursts_of_the_highest_rate(place: Place) -> str:
    """Send 15 s of sound of 192 kHz as fast as it goes, and leave."""
    block = frame_bytes(BINARY, noise(0.08, _HIGH).tobytes())

    def visit(served: Served, _: int) -> None:
        with streaming(served.port, rate=_HIGH) as wire:
            for _ in range(round(14.5 / 0.08)):
                wire.send(block)
            wire.abort()

    return _growth(place, visit, max(20, place.clients // 20))


@attack("10 of 10 are let in within 5 s each")
def waiting_connections(place: Place) -> str:
    """Keep 300 connections that show no token, and open 13 more each second."""
    with place.serve(token=True) as served, _crowd(served, _CROWD, 1 / 13):
        time.sleep(0.5)
        times = [_time_to_stream(served) for _ in range(10)]
    let_in = [seconds for seconds in times if seconds < SLOWEST]
    measured = f"{len(let_in)} of 10, {max(let_in, default=0):.1f} s at most"
    return check(len(let_in) == len(times) and max(let_in) <= 5, measured)


@attack("/health answers within 20 s; at most 10 lines in the log", waits=True)
def more_connections_than_descriptors(place: Place) -> str:
    """Send a request on each of 330 connections, and then a byte now and then; the server has 300 descriptors."""
    with place.serve(descriptors=300) as served, contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(served.port)) for _ in range(330)]
        for wire in wires:
            wire.send(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        begun, answered = time.monotonic(), False
        while not answered and time.monotonic() < begun + 30:
            for wire in wires:
                with contextlib.suppress(OSError):
                    wire.send(b"G")
            answered = served.health() < SLOWEST
        took, lines = time.monotonic() - begun, served.log().count("\n")
    words = f"after {took:.1f} s" if answered else "no answer"
    return check(answered and took <= 20 and lines <= 10, f"{words}; {lines} lines in the log")


@attack("exit code 0 within 10 s, nothing in the log")
def the_end_in_a_crowd(place: Place) -> str:
    """End the server as systemd does, while 16 clients stream, others wait, and one sends a flood of pings."""
    with place.serve() as served, contextlib.ExitStack() as stack:
        for _ in range(16):
            stack.enter_context(streaming(served.port)).frame(BINARY, noise(0.5).tobytes())
        for _ in range(20):
            stack.enter_context(Wire(served.port)).upgrade()
        begun = time.monotonic()
        code = served.end()
        took, log = time.monotonic() - begun, served.log()
    return check(
        code == 0 and took <= 10 and not log, f"exit code {code} after {took:.1f} s; {len(log)} characters"
    )


def _growth(place: Place, visit: Callable[[Served, int], None], count: int) -> str:
    """Return by how much a server has grown when so many clients have gone."""

    def go(number: int) -> bool:
        for _ in range(50):  # one that is told to try again does so
            try:
                visit(served, number)
            except OSError:
                time.sleep(0.2)
            else:
                return True
        return False

    with place.serve("--clients", str(2 * _AT_ONCE)) as served, ThreadPoolExecutor(_AT_ONCE) as pool:
        before = served.megabytes
        came = sum(pool.map(go, range(count)))
        more = served.settled() - before
    check(came >= 0.9 * count, f"only {came} of {count} clients were served")
    return check(more <= _GROWTH, f"{came} clients, {more:+.0f} MB")


@contextlib.contextmanager
def _crowd(served: Served, size: int, interval: float) -> Iterator[None]:
    """Keep so many connections open that say nothing, and open another one every `interval` seconds."""
    stop, begun = threading.Event(), threading.Event()

    def open_more() -> None:
        with contextlib.ExitStack() as stack:
            for number in itertools.count():
                with contextlib.suppress(OSError):
                    stack.enter_context(Wire(served.port)).upgrade()
                if number >= size:
                    begun.set()
                    if stop.wait(interval):
                        return

    thread = threading.Thread(target=open_more)
    thread.start()
    try:
        begun.wait(SLOWEST)
        yield
    finally:
        stop.set()
        thread.join()


def _time_to_stream(served: Served) -> float:
    """Return the seconds until a client with the right token is welcomed; SLOWEST where it is not."""
    begun = time.monotonic()
    try:
        with streaming(served.port, served.token):
            return time.monotonic() - begun
    except OSError:
        return SLOWEST
