"""What MP3 promises is what FFmpeg reads of it, which in pipes it does not."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from fdan_edge.audio import mp3


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 48_000])
@pytest.mark.parametrize("seconds", [0.3, 2.0])
def test_seconds(tmp_path: Path, rate: int, seconds: float) -> None:
    """Of MPEG 1, 2 and 2.5; without what the encoder added at both ends."""
    noise = np.random.default_rng(0).normal(0, 0.1, round(rate * seconds))
    soundfile.write(tmp_path / "a.mp3", noise, rate)
    data = (tmp_path / "a.mp3").read_bytes()
    assert mp3.promised_seconds(io.BytesIO(data)) == pytest.approx(seconds, abs=1e-3)
    with av.open(str(tmp_path / "a.mp3")) as container:
        (stream,) = container.streams.audio
        assert stream.duration
        assert stream.time_base
        assert mp3.promised_seconds(io.BytesIO(data)) == pytest.approx(float(stream.duration * stream.time_base))


def test_who_promises_nothing(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.mp3", np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000)
    data = (tmp_path / "a.mp3").read_bytes()
    place = max(data.find(b"Xing"), data.find(b"Info"))
    for changed in (
        data[:place] + b"none" + data[place + 4 :],
        data[: place + 7] + b"\0" + data[place + 8 :],  # no flag
        data[: place + 3],
        b"",
        b"\xff" * 50 + b"Xing" + b"\xff" * 200,
        b"Xing" + b"\xff" * 12,
    ):
        assert mp3.promised_seconds(io.BytesIO(changed)) == 0
