"""Events as programs read them."""

from __future__ import annotations

import json

from fdan_edge.streaming.events import Ended, Event, Lost, Result, Segment, Silence, Speech, to_dict


def test_every_event_as_json() -> None:
    shares = {"angry": 2 / 3, "sad": 1 / 3}
    events: list[Event] = [
        Speech(1.00049),
        Result(2.0, 1.0, "angry", 2 / 3, shares, shares),
        Result(2.0, 1.0, "angry", 2 / 3, shares, shares, latency=0.0123456789),
        Segment(1.0, 2.5, "angry", 2 / 3, shares),
        Silence(2.5),
        Lost(3.0, 0.25, "the cable"),
        Ended(4.0, "done"),
    ]
    lines = [json.loads(json.dumps(to_dict(event))) for event in events]
    assert [line["type"] for line in lines] == [
        "speech", "result", "result", "segment", "silence", "lost", "ended",
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


def test_latency_is_no_part_of_what_was_heard() -> None:
    assert Result(1, 0, "a", 1, {}, {}, latency=0.1) == Result(1, 0, "a", 1, {}, {}, latency=0.2)
