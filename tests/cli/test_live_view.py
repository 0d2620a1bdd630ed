"""The view on a terminal: what stands where, at any size."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from fdan_edge.cli.render.live_view import Timeline, View, letters
from fdan_edge.data.labels import EMOTIONS
from fdan_edge.streaming.events import InputWarning, Lost, Result, Segment, Silence, Speech

LABELS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")


def result(time: float, label: str = "happy", latency: float | None = 0.012) -> Result:
    probabilities = dict.fromkeys(LABELS, 0.05) | {"happy": 0.7}
    return Result(time, time - 1, label, 0.7, probabilities, probabilities, latency=latency)


class Screen:
    """A view on a terminal of a size, and its lines."""

    def __init__(self, width: int = 80, height: int = 24, labels: Any = LABELS, **kinds: Any) -> None:
        self.now = 0.0
        self.file = io.StringIO()
        self.console = Console(
            file=self.file, width=width, height=height, force_terminal=True, color_system=None, **kinds
        )
        self.view = View("model, talk.wav", labels, lambda: self.now, self.console)

    def lines(self) -> list[str]:
        with self.console.capture() as captured:
            self.console.print(self.view.picture())
        return [line.rstrip() for line in captured.get().rstrip("\n").split("\n")]


def draw(screen: Screen, now: float, *events: Any) -> list[str]:
    screen.now = now
    screen.view(events)
    return screen.lines()


def test_every_label_has_its_letter() -> None:
    assert "".join(letters(EMOTIONS).values()) == "ABCODFHNSU"
    assert list(letters(["aa", "a", "ä", "b"]).values()) == ["A", "0", "1", "B"]


def test_somebody_speaks() -> None:
    screen = Screen()
    assert "silent" in draw(screen, 1.0)[3]
    assert "listening" in draw(screen, 2.0, Speech(1.5))[3]
    lines = draw(screen, 2.5, result(2.5))
    assert lines[0].endswith("0:02")
    assert lines[3].strip() == "HAPPY  70 %"
    (happy,) = [line for line in lines if line.startswith("H happy")]
    (sad,) = [line for line in lines if line.startswith("S sad")]
    assert happy.endswith(" 70 %")
    assert happy.count("█") > 10 * sad.count("█") > 0
    assert lines[-1] == "speaking  latency 12 ms  lost 0.0 s  Ctrl-C ends"
    lines = draw(screen, 4.0, Silence(3.0), Lost(3.2, 0.5, "why"))
    assert lines[3].strip() == "silent"
    assert lines[-1].startswith("silent  latency 12 ms  lost 0.5 s")


def test_a_warning_stays_for_some_time_and_until_somebody_speaks() -> None:
    screen = Screen()
    warning = "too quiet: its peak is at -50 dBFS; raise the microphone's level"
    assert draw(screen, 3.0, InputWarning(3.0, "too quiet", -50.2))[-2] == warning
    assert draw(screen, 8.0, Speech(8.0))[-2] == warning
    assert draw(screen, 30.0)[-2] == warning
    assert warning not in draw(screen, 31.0, Speech(31.0))


def test_unknown_and_no_latency() -> None:
    screen = Screen()
    lines = draw(screen, 2.5, Speech(1.0), result(2.5, "unknown", None))
    assert lines[3].strip() == "UNKNOWN  70 %"
    assert "latency" not in lines[-1]


def test_the_timeline_reads_without_colours() -> None:
    screen = Screen()
    draw(screen, 2.0, Speech(1.0))
    lines = draw(screen, 3.0, result(2.0), result(3.0, "unknown"))
    row = next(line for line in lines if line.startswith("   0:00 "))
    assert row == "   0:00 ..--HH?"
    events = [Segment(1.0, 2.5, "happy", 0.7, {}), Silence(3.0), Lost(4.0, 1.0, "why")]
    lines = draw(screen, 6.4, *events)
    row = next(line for line in lines if line.startswith("   0:00 "))
    assert row == "   0:00 ..HHHH..!!..."
    assert any("? unknown  . silent  - wait  ! lost" in line for line in lines)


@pytest.mark.parametrize("width", [20, 40, 60, 80, 132, 200])
@pytest.mark.parametrize("height", [8, 16, 24, 50])
@pytest.mark.parametrize("labels", [LABELS, EMOTIONS, ("a label whose name is very long indeed", "情绪"), ("a",)])
def test_it_fits(width: int, height: int, labels: tuple[str, ...]) -> None:
    screen = Screen(width, height, labels)
    label = labels[0]
    event = Result(3700.0, 3699.0, label, 1.0, dict.fromkeys(labels, 1.0), {}, latency=12.3456)
    screen.view([Segment(3640.0, 3700.0, label, 1.0, {}), Speech(3700.0), InputWarning(3700.0, "clipped", 0.5)])
    lines = draw(screen, 3700.0, event)
    assert len(lines) <= height
    assert max(map(cell_len, lines)) <= width
    assert lines[0].endswith("1:01:40")
    if width >= 40 and height >= 24:
        assert sum("AAAAA" in line or "BBBB" in line for line in lines) >= 2


def test_the_timeline_shows_the_last_minute_and_is_bounded() -> None:
    line = Timeline({"a": "A"})
    line.grow(3599.9)
    assert [start for start, _ in line.rows(72, 9)] == [3510.0, 3540.0, 3570.0]
    line.grow(3610)
    assert [(start, len(cells)) for start, cells in line.rows(72, 9)] == [(3540.0, 60), (3570.0, 60), (3600.0, 21)]
    assert [start for start, _ in line.rows(72, 1)] == [3600.0]
    line.grow(1e6)
    assert len(line.cells) == 1200


def test_without_unicode_bars_are_hashes() -> None:
    screen = Screen()
    screen.console.file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    lines = draw(screen, 2.5, Speech(1.0), result(2.5))
    assert all(line.isascii() for line in lines)
    assert any("####" in line for line in lines)


def test_it_is_drawn_in_place_and_not_too_often() -> None:
    screen = Screen()
    with screen.view as view:
        for step in range(100):
            view([result(step / 4)])
    drawn = screen.file.getvalue()
    assert drawn.startswith("\x1b[?1049h")
    assert drawn.rstrip().endswith("\x1b[?25h") or "\x1b[?1049l" in drawn
    assert 1 <= drawn.count("model, talk.wav") < 60
