"""Parse the messages of a client on the WebSocket at /ws.

The client begins with JSON text, and the server answers with a description of its model:

    {"type": "start", "rate": 48000, "token": "..."}    rate of the sound in Hz; the token where one is needed
    {"type": "ready", "labels": [...], "rate": 16000, "window": 3.0, "hop": 0.25, "vad": "silero",
     "unknown_below": 0.4, "model": "...", "runtime": "..."}    rate of the model in Hz, times in seconds

Then the client sends binary messages: mono samples as little-endian float32 in -1..1, at most 64 KiB each and
best 50 to 250 ms. The server sends events as JSON text, as `streaming.events.to_dict` writes them: speech,
result (with `latency`, seconds from the arrival of its last sample; a `final` one waits for the pause that ends
the speech, and has none), segment, silence, lost, warning. Their times are seconds of sound since the start.
Whole numbers of 16, 24 or 32 bits as float32 are told from sound in -1..1, and a warning says so.

    {"type": "stop"}    the client has no more; the server sends what is open, `ended`, and closes with 1000

Closes, each with one line that says why:

    1000  after stop
    1001  the server ends
    1003  a message of a kind that was not expected
    1007  a message that cannot be read: not JSON, not float32, not finite, beyond 32 bits, another rate
    1008  token wrong or missing, more sound than real time allows, silence on the line, results not read, too many
          frames
    1009  a message that is too large
    1011  this client's stream failed
    1013  as many clients as this server takes are there, or more than its machine is fast enough for: of these the
          youngest are closed; too many connections wait, or too many wrong tokens came from this address
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fdan_edge.audio.full_scale import LARGEST
from fdan_edge.audio.resample import Samples

NORMAL, GOING_AWAY, UNSUPPORTED, INVALID = 1000, 1001, 1003, 1007
POLICY, TOO_LARGE, FAILED, TRY_LATER = 1008, 1009, 1011, 1013

#: Hz, of sound cards and recordings.
RATES = (8000, 192_000)
_LONGEST_START = 4096  # characters; nobody has shown a token yet
_REASON = 123  # bytes that a close frame has room for


class Close(Exception):  # noqa: N818 (not every close is an error)
    """Raised to end the connection, with a code and one line of reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason.encode()[:_REASON].decode(errors="ignore")


@dataclass(frozen=True)
class Start:
    """A client's first message."""

    rate: int  # Hz
    token: str


def parse_start(message: Mapping[str, Any]) -> Start:
    """Parse the first message, as ASGI gives it.

    Raises:
        Close: it is not a start.
    """
    if len(message.get("text") or "") > _LONGEST_START:
        raise Close(TOO_LARGE, f"the first message has at most {_LONGEST_START} characters")
    values = _parse_text(message)
    if values.get("type") != "start":
        raise Close(UNSUPPORTED, 'the first message must be {"type": "start", "rate": 48000}')
    rate, token = values.get("rate"), values.get("token", "")
    if type(rate) is not int or not RATES[0] <= rate <= RATES[1]:
        raise Close(INVALID, f"rate must be a whole number of Hz from {RATES[0]} to {RATES[1]}")
    if not isinstance(token, str):
        raise Close(INVALID, "token must be text")
    return Start(rate, token)


def parse_sound(message: Mapping[str, Any], largest: int) -> Samples | None:
    """Parse a later message, as ASGI gives it, to samples (n,); None: the client stops.

    Args:
        message: of ASGI.
        largest: bytes that it may have.

    Raises:
        Close: it is neither.
    """
    data = message.get("bytes")
    if data is None:
        if _parse_text(message).get("type") != "stop":
            raise Close(UNSUPPORTED, 'after the start there is sound and {"type": "stop"}')
        return None
    if len(data) > largest:
        raise Close(TOO_LARGE, f"a message has at most {largest} bytes")
    if len(data) % 4:
        raise Close(INVALID, f"{len(data)} bytes are no whole number of float32 samples")
    samples: Samples = np.frombuffer(data, "<f4").astype(np.float32, copy=False)
    loudest = float(np.abs(samples).max(initial=0))
    if not np.isfinite(loudest):
        raise Close(INVALID, "samples that are not finite numbers")
    if loudest > LARGEST:
        raise Close(INVALID, f"samples up to {loudest:.3g}; they must lie in -1..1")
    return samples


def _parse_text(message: Mapping[str, Any]) -> dict[str, Any]:
    text = message.get("text")
    if text is None:
        raise Close(UNSUPPORTED, "expected text, got binary data")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise Close(INVALID, "text that is not JSON") from None
    if not isinstance(values, dict):
        raise Close(INVALID, "JSON that is not an object")
    return values
