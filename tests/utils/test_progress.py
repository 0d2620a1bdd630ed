"""The line that shows how far a training is, on terminals of several widths."""

from __future__ import annotations

import io
import itertools
import logging
import re
from collections.abc import Callable

import pytest
from rich.console import Console

from fdan_edge.utils import progress
from fdan_edge.utils.progress import TrainingLine

TERMS = {"loss": 1.234, "voice": 0.9, "face": 0.3, "LMMD": 0.1}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which only tests move."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])  # type: ignore[attr-defined]
    return now


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], io.StringIO]:
    def make(width: int) -> io.StringIO:
        file = io.StringIO()
        made = Console(file=file, force_terminal=True, width=width, highlight=False, legacy_windows=False)
        monkeypatch.setattr(progress, "console", made)
        return file

    return make


def drawn(file: io.StringIO) -> list[str]:
    """What was written from one carriage return to the next, without colours, and once where it is repeated."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())
    return [line for line, _ in itertools.groupby(re.split(r"[\r\n]+", plain)) if line]


def line_at(width: int, terminal: Callable[[int], io.StringIO], clock: list[float]) -> str:
    file = terminal(width)
    with TrainingLine(20, 33, done_epochs=2) as line:
        line.best_uar = 0.612
        for step in range(1, 13):
            clock[0] += 0.5
            line.advance(3, step, TERMS, 84.4)
    lines = drawn(file)
    assert all(len(text) < width for text in lines)
    return lines[-1]


def test_the_least_important_goes_first(terminal: Callable[[int], io.StringIO], clock: list[float]) -> None:
    """17 epochs and 21 steps are left, at 0.5 s a step."""
    bar = {width: f"{cells * '━'} " for width, cells in ((130, 20), (100, 8), (65, 8), (40, 5), (30, 6), (20, 8))}
    terms = "loss 1.234 voice 0.900 face 0.300 LMMD 0.100"
    assert {width: line_at(width, terminal, clock) for width in (130, 100, 80, 65, 50, 40, 30, 20, 12)} == {
        130: f"epoch 3/20 {bar[130]}12/33 {terms} best UAR 61.2 % 84 voices/s ETA 0:04:51",
        100: f"epoch 3/20 {bar[100]}12/33 {terms[:33]} best UAR 61.2 % 84 voices/s ETA 0:04:51",
        80: f"epoch 3/20 12/33 {terms[:22]} best UAR 61.2 % 84 voices/s ETA 0:04:51",
        65: f"epoch 3/20 {bar[65]}12/33 loss 1.234 best UAR 61.2 % ETA 0:04:51",
        50: "epoch 3/20 loss 1.234 best UAR 61.2 % ETA 0:04:51",
        40: f"epoch 3/20 {bar[40]}loss 1.234 ETA 0:04:51",
        30: f"epoch 3/20 {bar[30]}ETA 0:04:51",
        20: f"epoch 3/20 {bar[20]}".rstrip(),
        12: "epoch 3/20",
    }


def test_narrower_than_its_smallest_part(terminal: Callable[[int], io.StringIO], clock: list[float]) -> None:
    assert line_at(6, terminal, clock) == "epoch"


def test_the_time_between_epochs_counts(terminal: Callable[[int], io.StringIO], clock: list[float]) -> None:
    """10 steps of a second and 5 s of validation: 15 s an epoch, whichever step it is asked at."""
    file = terminal(120)
    with TrainingLine(6, 10, done_epochs=0) as line:
        for epoch in range(1, 5):
            for step in range(1, 11):
                clock[0] += 1
                line.advance(epoch, step)
            clock[0] += 5
    assert drawn(file)[-1].endswith("ETA 0:00:30")


def test_what_is_not_known_yet(terminal: Callable[[int], io.StringIO], clock: list[float]) -> None:
    file = terminal(120)
    with TrainingLine(20, 33, done_epochs=2) as line:
        clock[0] += 1
        line.advance(3, 1, None, None)
    assert drawn(file) == [f"epoch 3/20 {20 * '━'} {step}/33 ETA -:--:--" for step in (0, 1)]


def test_values_stay_until_there_are_new_ones(terminal: Callable[[int], io.StringIO], clock: list[float]) -> None:
    file = terminal(120)
    with TrainingLine(2, 9, done_epochs=0) as line:
        for step, values in enumerate(({"loss": 2.0}, None, {"loss": 1.0}), 1):
            clock[0] += 1
            line.advance(1, step, values, 5.0 if step == 1 else None)
    assert [re.findall("loss [0-9.]+|[0-9]+ voices", text) for text in drawn(file)] == [
        [],
        ["loss 2.000", "5 voices"],
        ["loss 2.000", "5 voices"],
        ["loss 1.000", "5 voices"],
    ]


def test_it_is_drawn_a_few_times_a_second(terminal: Callable[[int], io.StringIO], clock: list[float]) -> None:
    file = terminal(120)
    with TrainingLine(2, 1000, done_epochs=0) as line:
        for step in range(1, 1001):
            clock[0] += 0.001
            line.advance(1, step, TERMS, 1.0)
    assert 5 <= len(drawn(file)) <= 12
    assert "1000/1000" in drawn(file)[-1]


def test_messages_stand_above_it(terminal: Callable[[int], io.StringIO], clock: list[float]) -> None:
    file = terminal(60)
    with TrainingLine(2, 9, done_epochs=0) as line:
        for step in (1, 2):
            clock[0] += 1
            line.advance(1, step, TERMS)
            logging.getLogger("fdan_edge.training").info(f"message {step}")
    lines = drawn(file)
    assert "message 1" in lines
    assert "message 2" in lines
    assert all(text.startswith(("epoch 1/2 ", "message ")) for text in lines)


def test_nothing_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=file, width=80))
    with TrainingLine(2, 9, done_epochs=0) as line:
        line.advance(1, 1, TERMS, 1.0)
    assert file.getvalue() == ""


def test_a_terminal_without_line_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    bytes_ = io.BytesIO()
    file = io.TextIOWrapper(bytes_, encoding="ascii")
    monkeypatch.setattr(progress, "console", Console(file=file, force_terminal=True, width=80))
    with TrainingLine(2, 4, done_epochs=0) as line:
        line.advance(1, 2)
        line.advance(1, 4)
    file.flush()
    assert b"epoch 1/2" in bytes_.getvalue()
    assert f"{20 * '-'}".encode() in bytes_.getvalue()
