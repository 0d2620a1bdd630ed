"""Events as programs read them; every consumer knows every event."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any, get_args

import pytest

from fdan_edge.cli.render import live_view, stream
from fdan_edge.streaming import events as event_module
from fdan_edge.streaming.events import (
    Ended,
    Event,
    InputWarning,
    Lost,
    Result,
    Segment,
    Silence,
    Speech,
    describe,
    segments,
    to_dict,
)

SHARES = {"angry": 2 / 3, "sad": 1 / 3}
EXAMPLES: list[Event] = [
    Speech(1.00049),
    Result(2.0, 1.0, "angry", 2 / 3, SHARES, SHARES),
    Result(2.0, 1.0, "angry", 2 / 3, SHARES, SHARES, latency=0.0123456789),
    Segment(1.0, 2.5, "angry", 2 / 3, SHARES),
    Silence(2.5),
    Lost(3.0, 0.25, "the cable"),
    InputWarning(3.5, "clipped", 0.0123456789),
    Ended(4.0, "done"),
]
#: Every member of the union; a new one has no example above until somebody writes it.
MEMBERS: tuple[type[Any], ...] = get_args(Event)


def prometheus() -> ModuleType:
    pytest.importorskip("prometheus_client")
    from fdan_edge.server import prometheus

    return prometheus


def test_every_event_as_json() -> None:
    lines = [json.loads(json.dumps(to_dict(event))) for event in EXAMPLES]
    assert [line["type"] for line in lines] == [
        "speech", "result", "result", "segment", "silence", "lost", "warning", "ended",
    ]  # fmt: skip
    assert all(next(iter(line)) == "type" for line in lines)
    assert lines[0]["time"] == 1.0
    assert lines[1]["probabilities"] == {"angry": 0.666667, "sad": 0.333333}
    assert "latency" not in lines[1]
    assert lines[1]["final"] is False
    assert lines[2]["latency"] == 0.012346
    assert lines[3] == {
        "type": "segment",
        "start": 1.0,
        "end": 2.5,
        "label": "angry",
        "confidence": 0.666667,
        "probabilities": {"angry": 0.666667, "sad": 0.333333},
    }


def test_a_warning_as_json_and_in_words() -> None:
    assert to_dict(InputWarning(3.5, "clipped", 0.0123456789)) == {
        "type": "warning", "time": 3.5, "problem": "clipped", "value": 0.012346,
    }  # fmt: skip
    problems = {"too quiet": -52.3, "clipped": 0.031, "only DC": 0.1, "no signal": 0.0, "integers": 32768.0}
    lines = [describe(InputWarning(1.0, problem, value)) for problem, value in problems.items()]
    assert all(
        part in line for part, line in zip(["-52 dBFS", "3.1 %", "0.1", "muted", "32768"], lines, strict=True)
    )
    assert len(set(lines)) == len(problems)


def test_latency_is_no_part_of_what_was_heard() -> None:
    assert Result(1, 0, "a", 1, {}, {}, latency=0.1) == Result(1, 0, "a", 1, {}, {}, latency=0.2)


def test_segments() -> None:
    assert segments(EXAMPLES) == [EXAMPLES[3]]


def test_every_event_is_a_member_with_an_example_and_a_type_of_its_own() -> None:
    classes = {one for one in vars(event_module).values() if inspect.isclass(one) and hasattr(one, "type")}
    assert classes == set(MEMBERS) == {type(event) for event in EXAMPLES}
    assert len({event.type for event in EXAMPLES}) == len(MEMBERS)


def exhaustive_matches(module: ModuleType) -> list[set[str]]:
    """For each `match` that ends with assert_never: the names of the classes that it has a case for."""
    found = []
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Match) and "assert_never(" in ast.unparse(node.cases[-1]):
            patterns = [part for case in node.cases for part in ast.walk(case.pattern)]
            found.append({ast.unparse(part.cls) for part in patterns if isinstance(part, ast.MatchClass)})
    return found


@pytest.mark.parametrize(
    ("module", "count"),
    [(lambda: stream, 1), (lambda: live_view, 2), (prometheus, 1)],
    ids=["stream", "live_view", "prometheus"],  # the same in every process of pytest-xdist
)
def test_every_consumer_matches_on_every_event(module: Callable[[], ModuleType], count: int) -> None:
    """`assert_never` makes a forgotten event an error of mypy; this holds that it stays there."""
    assert exhaustive_matches(module()) == [{one.__name__ for one in MEMBERS}] * count


def test_consumers_take_every_event() -> None:
    stream.Summary()(EXAMPLES)
    timeline = live_view.Timeline({"angry": "A", "sad": "S"})
    for event in EXAMPLES:
        timeline(event)
    prometheus().ServerMetrics().record(1.0, EXAMPLES)


def test_the_page_has_words_for_every_problem() -> None:
    pytest.importorskip("starlette")
    from fdan_edge.server import routes

    table = re.search(r"const WARNINGS = \{\n(.*?)\n\};", (routes.STATIC / "view.js").read_text(), re.DOTALL)
    assert table
    problems = [event_module.TOO_QUIET, event_module.CLIPPED, event_module.ONLY_DC, event_module.NO_SIGNAL]
    assert re.findall(r'^  "([\w ]+)":', table[1], re.MULTILINE) == [*problems, event_module.INTEGERS]


def test_the_page_has_an_entry_for_every_event() -> None:
    pytest.importorskip("starlette")
    from fdan_edge.server import routes

    page = (routes.STATIC / "app.js").read_text()
    table = re.search(r"const SHOW = \{\n(.*?)\n\};", page, re.DOTALL)
    assert table
    types = [event.type for event in EXAMPLES]
    assert re.findall(r"^  (\w+):", table[1], re.MULTILINE) == list(dict.fromkeys(types))
