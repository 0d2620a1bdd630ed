"""Files as sources of live sound."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fdan_edge.audio.resample import Samples
from fdan_edge.errors import AudioError
from fdan_edge.streaming.backlog import Backlog, End, Sound
from fdan_edge.streaming.sources import (
    ENDED,
    STOPPED,
    AudioSource,
    FileSource,
)

NOISE = np.random.default_rng(0).uniform(-0.9, 0.9, (24_000, 2)).astype(np.float32)


def drained(source: AudioSource, limit: float = 5.0) -> tuple[Samples, str]:
    """All that a source brings, and its last word."""
    backlog, parts = Backlog(source.rate, limit), []

    def bring() -> None:
        try:
            backlog.close(source.feed(backlog))
        except AudioError as error:
            backlog.close(str(error))

    thread = threading.Thread(target=bring)
    thread.start()
    while not isinstance(piece := backlog.take(timeout=10), End):
        assert isinstance(piece, Sound)
        parts.append(piece.samples)
    thread.join()
    return np.concatenate(parts), piece.reason


@pytest.mark.parametrize(("suffix", "rate"), [("wav", 16_000), ("flac", 48_000), ("ogg", 44_100)])
def test_a_file_is_heard_whole(tmp_path: Path, suffix: str, rate: int) -> None:
    path = tmp_path / f"two channels.{suffix}"
    soundfile.write(path, NOISE, rate)
    source = FileSource(path)
    assert (source.name, source.rate, source.live) == (path.name, rate, False)
    got, reason = drained(source, limit=0.1)
    assert reason == ENDED
    expected = soundfile.read(path, dtype="float32")[0]
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_a_long_file_waits_for_its_listener(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.tile(NOISE, (10, 1)), 16_000)
    source, backlog = FileSource(tmp_path / "x.wav"), Backlog(16_000, limit=1.0)
    reasons: list[str] = []
    thread = threading.Thread(target=lambda: reasons.append(source.feed(backlog)))
    thread.start()
    while backlog.waiting < 15_200:
        time.sleep(0.01)
    backlog.close("enough")
    thread.join(timeout=10)
    assert reasons == [STOPPED]
    assert backlog.waiting <= 16_000
    assert backlog.dropped == 0


def test_real_time_takes_its_time(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", NOISE[:4800], 16_000)
    source, begun = FileSource(tmp_path / "x.wav", realtime=True), time.monotonic()
    assert source.live
    got, reason = drained(source)
    assert time.monotonic() - begun >= 0.3
    assert (len(got), reason) == (4800, ENDED)


def test_real_time_can_be_ended(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.tile(NOISE, (100, 1)), 16_000)
    source = FileSource(tmp_path / "x.wav", realtime=True)
    threading.Timer(0.1, source.close).start()
    assert source.feed(Backlog(16_000)) == STOPPED


def test_a_damaged_file_says_so_after_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "x.flac"
    soundfile.write(path, np.tile(NOISE, (100, 1)), 16_000)
    data = bytearray(path.read_bytes())
    middle = len(data) * 3 // 4
    data[middle : middle + 20_000] = bytes(20_000)
    path.write_bytes(data)
    got, reason = drained(FileSource(path))
    assert 0 < len(got) < 2_400_000
    assert "damaged" in reason


def test_what_is_no_sound_file(tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(b"no sound")
    with pytest.raises(AudioError, match="not a readable sound file"):
        FileSource(tmp_path / "x.wav")
    with pytest.raises(AudioError, match="no such file"):
        FileSource(tmp_path / "y.wav")
    soundfile.write(tmp_path / "z.wav", NOISE[:0], 16_000)
    with pytest.raises(AudioError, match="holds no samples"):
        FileSource(tmp_path / "z.wav")
