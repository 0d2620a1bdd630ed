"""StreamSettings of a stream that cannot work are refused in one line."""

from __future__ import annotations

from typing import Any

import pytest

from fdan_edge.errors import ConfigError
from fdan_edge.streaming.settings import StreamSettings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hop": 0.01}, r"hop = 0.01: valid are 0.05 to 60"),
        ({"hop": float("nan")}, r"hop = nan: not a number"),
        ({"hop": "1"}, r"hop = '1': not a number"),
        ({"unknown_below": 1.5}, r"unknown_below = 1.5: valid are 0 to 1"),
        ({"vad": "silera"}, r"unknown vad 'silera' \(did you mean silero\?\); valid: auto, silero, energy, none"),
        ({"vad": 3}, r"unknown vad 3; valid: auto"),
        ({"speech_off": None}, r"speech_off = None: not a number"),
        ({"pause": ["x" * 9000]}, r"pause = \['x{70,80}\.\.\.: not a number"),
        ({"speech_off": 0.6}, r"speech_off = 0.6 is above speech_on = 0.5"),
    ],
)
def test_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        StreamSettings(**values)


def test_what_works() -> None:
    assert StreamSettings(hop=1, unknown_below=0, smoothing=0, hold=0, margin=0).vad == "auto"
