"""What strangers may write into the log."""

from __future__ import annotations

import logging

import pytest

from fdan_edge.server.log_limits import LogLimit, limit_log


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def logger() -> logging.Logger:
    """A logger whose name no other test uses."""
    made = logging.getLogger("fdan_edge.tests.log_limits")
    made.filters.clear()
    return made


def test_strangers_are_counted_and_written_nowhere(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    counted = list[int]()
    for _ in range(2):  # the second limit takes the place of the first
        limit_log(logger.name, lambda: counted.append(1))
    for message in (
        "Invalid HTTP request received.",
        "Unsupported upgrade request.",
        "Invalid UTF-8 sequence",
    ):
        logger.warning(message)
    assert not caplog.records
    assert len(counted) == 3


def test_some_lines_a_minute_without_tracebacks(logger: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    logger.addFilter(LogLimit(lambda: None, 2, 60.0, clock))
    for number in range(5):
        try:
            raise ValueError(f"{number}\x1b[2J\nmore")
        except ValueError:
            logger.exception("Exception in ASGI application\n")
    clock.now += 61
    logger.warning("%d is well", 1)
    assert [record.getMessage() for record in caplog.records] == [
        r"Exception in ASGI application: ValueError: 0\x1b[2J",
        r"Exception in ASGI application: ValueError: 1\x1b[2J",
        "(3 lines were left out here) 1 is well",
    ]
    assert "Traceback" not in caplog.text
