"""Mel power of new frames alone equals that of whole windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fdan_edge.audio import decode
from fdan_edge.runtime.log_mel import FrontEnd
from fdan_edge.streaming.incremental_mel import IncrementalMel, RingBuffer
from fdan_edge.streaming.session import center_window
from tests.conftest import SHARED
from tests.helpers.stream_parts import RATE, babble

librosa = pytest.importorskip("librosa")
SHAPES = [(1024, 256, 128, 48000), (400, 160, 80, 48000), (1024, 512, 32, 16000), (512, 320, 40, 8000)]


def front_end(n_fft: int, hop: int, n_mels: int, window: int) -> FrontEnd:
    return FrontEnd(n_fft, hop, 1 + window // hop, librosa.filters.mel(sr=RATE, n_fft=n_fft, n_mels=n_mels))


def expected(window: NDArray[np.float32], of: FrontEnd) -> NDArray[np.float64]:
    """What librosa makes of a whole window."""
    n_mels = len(of.filters)
    made: NDArray[np.float64] = librosa.feature.melspectrogram(
        y=window.astype(np.float64), sr=RATE, n_fft=of.n_fft, hop_length=of.hop, n_mels=n_mels, pad_mode="constant"
    )
    return made


def decibel(power: NDArray[np.floating]) -> NDArray[np.float64]:
    """As the front end goes on: nothing is more than 80 dB below the loudest point."""
    made = 10 * np.log10(np.maximum(power.astype(np.float64), 1e-10))
    return np.asarray(np.maximum(made - made.max(), -80))


def spans(of: FrontEnd, window: int, length: int) -> list[tuple[int, int]]:
    """Windows of two stretches of speech, growing and then moving, on the grid of the hop."""
    hop, longest = of.hop, window // of.hop * of.hop
    found = []
    for begin, end in ((3 * hop, length // 2), (length // 2, length)):
        begin = begin // hop * hop
        for to in range(begin + hop, end // hop * hop + 1, 7 * hop):
            found.append((max(begin, to - longest), to))
    return found


@pytest.mark.parametrize("shape", SHAPES)
def test_equal_to_librosa_over_whole_windows(shape: tuple[int, int, int, int]) -> None:
    of, window = front_end(*shape), shape[-1]
    sound = babble((1.0, 0.3), (1.0, 0.0), (2.0, 0.01), (3.0, 0.1), seed=1)
    compare(of, window, sound)


@pytest.mark.corpora
@pytest.mark.parametrize("shape", SHAPES[:2])
def test_equal_on_real_speech(shape: tuple[int, int, int, int]) -> None:
    folder = SHARED / "ravdess" / "Actor_05"
    sound = np.concatenate([decode.load(Path(p), RATE) for p in sorted(folder.glob("*.flac"))[:2]])
    compare(front_end(*shape), shape[-1], sound)


def compare(of: FrontEnd, window: int, sound: NDArray[np.float32]) -> None:
    frames, ring, fed = IncrementalMel(of), RingBuffer(len(sound)), 0
    for start, end in spans(of, window, len(sound)):
        ring.append(sound[fed:end])
        fed = end
        got = frames.window(ring, start, end)
        want = expected(center_window(sound[start:end], window, of.hop), of)
        assert got.shape == (len(of.filters), of.frames) == want.shape
        assert got.dtype == np.float32
        np.testing.assert_allclose(decibel(got), decibel(want), atol=1e-4)
        assert (got[want == 0] == 0).all()


def test_frames_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    of = front_end(*SHAPES[0])
    sizes: list[int] = []
    rfft = np.fft.rfft

    def counted(frames: NDArray[np.float64]) -> NDArray[np.complex128]:
        sizes.append(len(frames))
        return np.asarray(rfft(frames))

    monkeypatch.setattr(np.fft, "rfft", counted)
    frames, ring = IncrementalMel(of), RingBuffer(2 * 48000)
    ring.append(babble((6.0, 0.1)))
    for end in range(47872, 2 * 47872 - 4096, 4096):
        frames.window(ring, end - 47872, end)
    first = sizes.index(4)
    assert sum(sizes[:first]) == 187 - 3
    assert sizes[first:] == [4, *[16, 4] * 10]  # 16 new frames a hop, and 2 that reach beyond either end


def test_ring_keeps_what_it_promises() -> None:
    ring = RingBuffer(100)
    numbers = np.arange(1000, dtype=np.float32)
    for first in range(0, 1000, 37):
        ring.append(numbers[first : first + 37])
        end = min(1000, first + 37)
        start = max(0, end - 100)
        np.testing.assert_array_equal(ring.get(start, end), numbers[start:end])
    for start, end in ((700, 750), (950, 1001), (960, 950)):
        with pytest.raises(IndexError, match="of a ring that holds"):
            ring.get(start, end)


def test_ring_after_a_loss() -> None:
    ring = RingBuffer(100)
    ring.append(np.ones(50, np.float32))
    ring.skip(20)
    with pytest.raises(IndexError):
        ring.get(40, 60)
    ring.append(np.full(10, 2, np.float32))
    np.testing.assert_array_equal(ring.get(70, 80), np.full(10, 2))
