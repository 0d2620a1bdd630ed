"""What clients say: read as it is meant, or refused with a code and a reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fdan_edge.server.protocol import Close, Start, parse_sound, parse_start


def test_start() -> None:
    assert parse_start({"text": '{"type": "start", "rate": 44100}'}) == Start(44100, "")
    said = '{"type": "start", "rate": 8000, "token": "abc", "later": 1}'
    assert parse_start({"text": said, "bytes": None}) == Start(8000, "abc")


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        ({"bytes": b"\0" * 4}, 1003, "expected text"),
        ({"text": "{"}, 1007, "not JSON"),
        ({"text": "[" * 4000}, 1007, "not JSON"),
        ({"text": "[" * 4097}, 1009, "at most 4096 characters"),
        ({"text": "[]"}, 1007, "not an object"),
        ({"text": '{"type": "stop"}'}, 1003, "the first message must be"),
        ({"text": '{"type": "start"}'}, 1007, "rate must be a whole number of Hz from 8000 to 192000"),
        ({"text": '{"type": "start", "rate": 7999}'}, 1007, "rate must"),
        ({"text": '{"type": "start", "rate": 192001}'}, 1007, "rate must"),
        ({"text": '{"type": "start", "rate": 44100.5}'}, 1007, "rate must"),
        ({"text": '{"type": "start", "rate": true}'}, 1007, "rate must"),
        ({"text": '{"type": "start", "rate": NaN}'}, 1007, "rate must"),
        ({"text": '{"type": "start", "rate": 16000, "token": 5}'}, 1007, "token must be text"),
    ],
)
def test_first_message_that_is_none(message: dict[str, Any], code: int, reason: str) -> None:
    with pytest.raises(Close) as close:
        parse_start(message)
    assert close.value.code == code
    assert reason in close.value.reason


def test_sound_and_stop() -> None:
    samples = np.array([0.5, -1.5, 0.0], "<f4")
    heard = parse_sound({"bytes": samples.tobytes()}, 12)
    assert heard is not None
    assert heard.dtype == np.float32
    assert heard.tolist() == samples.tolist()
    nothing = parse_sound({"bytes": b""}, 12)
    assert nothing is not None
    assert len(nothing) == 0
    assert parse_sound({"text": '{"type": "stop"}'}, 12) is None


def test_whole_numbers_are_left_to_the_stream() -> None:
    for full in (32768.0, 2.0**31):
        samples = parse_sound({"bytes": np.array([0, -full], "<f4").tobytes()}, 8)
        assert samples is not None
        assert samples.tolist() == [0, -full]


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        ({"text": '{"type": "start", "rate": 16000}'}, 1003, "after the start"),
        ({"text": "stop"}, 1007, "not JSON"),
        ({"bytes": b"\0" * 7}, 1007, "7 bytes are no whole number"),
        ({"bytes": b"\0" * 404}, 1009, "at most 400 bytes"),
        ({"bytes": np.array([0, np.nan], "<f4").tobytes()}, 1007, "not finite"),
        ({"bytes": np.array([0, -np.inf], "<f4").tobytes()}, 1007, "not finite"),
        ({"bytes": np.array([0, 1e11], "<f4").tobytes()}, 1007, "samples up to 1e+11; they must lie in -1..1"),
    ],
)
def test_later_message_that_is_neither(message: dict[str, Any], code: int, reason: str) -> None:
    with pytest.raises(Close) as close:
        parse_sound(message, 400)
    assert close.value.code == code
    assert reason in close.value.reason


def test_a_reason_fits_its_frame() -> None:
    assert len(Close(1008, "ü" * 200).reason.encode()) <= 123
