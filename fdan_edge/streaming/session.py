"""The streaming engine: samples in, events out. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from fdan_edge.errors import AudioError
from fdan_edge.runtime.log_mel import FrameRunner
from fdan_edge.runtime.model_spec import ModelSpec
from fdan_edge.runtime.runner import Probabilities, Runner
from fdan_edge.streaming.events import Ended, Event, Lost, Silence, Speech
from fdan_edge.streaming.incremental_mel import IncrementalMel, RingBuffer
from fdan_edge.streaming.label_tracker import LabelTracker
from fdan_edge.streaming.settings import StreamSettings
from fdan_edge.streaming.speech_turns import Mark, TurnDetector, TurnStart, WindowDue, window_grid
from fdan_edge.streaming.unknown_threshold import unknown_threshold
from fdan_edge.streaming.vad import open_vad

_BLOCK = 4096  # samples that enter the ring at once


class Stream:
    """Follows one stream of speech.

    While somebody speaks, the model hears the last `window` samples of that speech at every hop, centred in
    zeros like the short recordings of its training; pauses and what was before them are not heard. Events depend
    on the samples alone, not on the blocks that they come in. Streams may share a runner.

    Args:
        runner: the model; `open_stream_runner` gives one that computes shared frames once, where there is one.
        settings: times and thresholds.

    Raises:
        ConfigError: a setting does not fit the model.
        MissingDependencyError: the voice activity detection that is asked for is not installed.
    """

    def __init__(self, runner: Runner | FrameRunner, settings: StreamSettings | None = None) -> None:
        settings = settings or StreamSettings()
        self.spec: ModelSpec = runner.spec
        self.rate = self.spec.sample_rate
        vad = open_vad(settings.vad, self.rate)
        self.vad_name = vad.name
        threshold = unknown_threshold(self.spec, settings.unknown_below)
        self.unknown_below = threshold(self.spec.window / self.rate)  # of a full window; higher before that
        self._hearing = hearing(runner)
        self._turns = TurnDetector(self.rate, self.spec.window, self._hearing.grid, settings, vad)
        self.hop = self._turns.hop / self.rate  # s
        self._tracker = LabelTracker(self.spec.labels, settings, threshold, self.hop)
        reserve = round((settings.pause + settings.min_speech + 1) * self.rate) + 2 * self._hearing.grid
        self._ring = RingBuffer(self.spec.window + _BLOCK + reserve)
        self._ended = False

    @property
    def time(self) -> float:
        """Seconds so far, lost ones included."""
        return self._turns.position / self.rate

    def push(self, samples: NDArray[np.floating]) -> list[Event]:
        """Hear samples (n,) at `rate`, and tell what happened.

        Raises:
            AudioError: they are not one channel of finite numbers.
            ValueError: the stream was finished.
        """
        self._check_open()
        samples = np.asarray(samples)
        if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating) or not np.isfinite(samples).all():
            raise AudioError(
                f"a stream hears one channel of finite floating-point samples, got {samples.dtype} {samples.shape}"
            )
        samples = samples.astype(np.float32, copy=False)
        events: list[Event] = []
        for first in range(0, len(samples), _BLOCK):
            block = samples[first : first + _BLOCK]
            self._ring.append(block)
            events += self._told(self._turns.hear(block))
        return events

    def lost(self, samples: int, reason: str) -> list[Event]:
        """So many samples never came: what is being said ends there, and time goes on."""
        self._check_open()
        events = self._told(self._turns.end())
        events.append(Lost(self.time, samples / self.rate, reason))
        self._turns.skip(samples)
        self._ring.skip(samples)
        return events

    def finish(self, reason: str = "the sound ended") -> list[Event]:
        """Nothing more comes."""
        self._check_open()
        self._ended = True
        return [*self._told(self._turns.end()), Ended(self.time, reason)]

    def _check_open(self) -> None:
        if self._ended:
            raise ValueError("the stream was finished; begin a new one")

    def _told(self, marks: Iterable[Mark]) -> list[Event]:
        return list(
            events_from_marks(marks, self._tracker, self.rate, lambda due: self._hearing.hear(self._ring, due))
        )


def center_window(heard: NDArray[np.float32], window: int, grid: int) -> NDArray[np.float32]:
    """What is heard in the middle of a window of zeros, moved by whole frames: (n,) to (window,)."""
    before = (window // grid * grid - len(heard)) // 2 // grid * grid
    return np.pad(heard, (before, window - before - len(heard)))


def events_from_marks(
    marks: Iterable[Mark], tracker: LabelTracker, rate: int, hear: Callable[[WindowDue], Probabilities]
) -> Iterator[Event]:
    """What a stream tells of what its turns notices; `hear` gives the probabilities (C,) of a window."""
    for mark in marks:
        if isinstance(mark, TurnStart):
            tracker.begin(mark.at / rate)
            yield Speech(mark.at / rate)
        elif isinstance(mark, WindowDue):
            result, ended = tracker.hear(mark.start / rate, mark.end / rate, hear(mark), final=mark.final)
            if ended:
                yield ended
            yield result
        else:
            if ended := tracker.end(mark.at / rate):
                yield ended
            yield Silence(mark.at / rate)


class _Hearing(Protocol):
    grid: int

    def hear(self, ring: RingBuffer, due: WindowDue) -> Probabilities: ...


class _ByFrames:
    """IncrementalMel that windows share are computed once."""

    def __init__(self, runner: FrameRunner) -> None:
        self._runner, self._frames = runner, IncrementalMel(runner.frontend)
        self.grid = runner.frontend.hop

    def hear(self, ring: RingBuffer, due: WindowDue) -> Probabilities:
        power = self._frames.window(ring, due.start, due.end)
        return check_finite(self._runner.predict_power(power[None])[0])


class _ByWindows:
    """The model has its front end inside."""

    def __init__(self, runner: Runner) -> None:
        self._runner, self.grid = runner, window_grid(runner.spec)

    def hear(self, ring: RingBuffer, due: WindowDue) -> Probabilities:
        window = center_window(ring.get(due.start, due.end), self._runner.spec.window, self.grid)
        return check_finite(self._runner.predict(window[None])[0])


def hearing(runner: Runner | FrameRunner) -> _Hearing:
    """How a runner hears windows of a stream."""
    if hasattr(runner, "frontend"):
        return _ByFrames(cast("FrameRunner", runner))
    return _ByWindows(runner)


def check_finite(probabilities: Probabilities) -> Probabilities:
    """The same.

    Raises:
        AudioError: they are not finite numbers, which no label can be made of.
    """
    if not np.isfinite(probabilities).all():
        raise AudioError("the model gave probabilities that are not finite numbers")
    return probabilities
