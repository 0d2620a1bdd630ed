"""A live stream: samples in, events out. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from fdan_edge.audio.high_pass import HighPass
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

_BLOCK = 4096  # samples that enter the ring buffer at once


class Stream:
    """Recognizes emotions in one live stream.

        stream = recognizer.stream()
        for block in blocks:  # (n,) at stream.rate
            for event in stream.push(block):
                print(event)
        stream.finish()

    During speech, the model infers the emotion at every hop from the last `window` samples of that speech,
    centred in zeros like the short recordings of its training; pauses and what came before them are left out.
    Events depend on the samples alone, not on the blocks that they come in. Streams may share a runner.

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
        self._model = window_model(runner)
        self._turns = TurnDetector(self.rate, self.spec.window, self._model.grid, settings, vad)
        self.hop = self._turns.hop / self.rate  # s
        self._tracker = LabelTracker(self.spec.labels, settings, threshold, self.hop)
        reserve = round((settings.pause + settings.min_speech + 1) * self.rate) + 2 * self._model.grid
        self._ring = RingBuffer(self.spec.window + _BLOCK + reserve)
        self._high_pass = HighPass(self.spec.high_pass, self.rate)
        self._ended = False

    @property
    def time(self) -> float:
        """Seconds so far, lost ones included."""
        return self._turns.position / self.rate

    def push(self, samples: NDArray[np.floating]) -> list[Event]:
        """Process samples (n,) at `rate`, and return the events within them.

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
            block = self._high_pass(samples[first : first + _BLOCK])
            self._ring.append(block)
            events += self._events(self._turns.process(block))
        return events

    def lost(self, samples: int, reason: str) -> list[Event]:
        """Note that so many samples never came: the speech ends there, and time goes on."""
        self._check_open()
        events = self._events(self._turns.end())
        events.append(Lost(self.time, samples / self.rate, reason))
        self._high_pass.restart()
        self._turns.skip(samples)
        self._ring.skip(samples)
        return events

    def finish(self, reason: str = "the sound ended") -> list[Event]:
        """Note that nothing more comes, and return the last events."""
        self._check_open()
        self._ended = True
        return [*self._events(self._turns.end()), Ended(self.time, reason)]

    def _check_open(self) -> None:
        if self._ended:
            raise ValueError("the stream was finished; begin a new one")

    def _events(self, marks: Iterable[Mark]) -> list[Event]:
        def infer(due: WindowDue) -> Probabilities:
            return self._model.infer(self._ring, due)

        return list(events_from_marks(marks, self._tracker, self.rate, infer))


def center_window(speech: NDArray[np.float32], window: int, grid: int) -> NDArray[np.float32]:
    """Place speech in the middle of a window of zeros, moved by whole frames: (n,) to (window,)."""
    before = (window // grid * grid - len(speech)) // 2 // grid * grid
    return np.pad(speech, (before, window - before - len(speech)))


def events_from_marks(
    marks: Iterable[Mark], tracker: LabelTracker, rate: int, infer: Callable[[WindowDue], Probabilities]
) -> Iterator[Event]:
    """Turn what a `TurnDetector` found into events.

    Args:
        marks: in the order of time.
        tracker: of this stream.
        rate: of the samples, Hz.
        infer: gives the probabilities (C,) of a window.
    """
    for mark in marks:
        if isinstance(mark, TurnStart):
            tracker.begin(mark.at / rate)
            yield Speech(mark.at / rate)
        elif isinstance(mark, WindowDue):
            result, segment = tracker.update(mark.start / rate, mark.end / rate, infer(mark), final=mark.final)
            if segment:
                yield segment
            yield result
        else:
            if segment := tracker.end(mark.at / rate):
                yield segment
            yield Silence(mark.at / rate)


class WindowModel(Protocol):
    """A model that infers the emotion in a stretch of a stream."""

    grid: int  # samples; stretches begin and end on multiples of it

    def infer(self, ring: RingBuffer, due: WindowDue) -> Probabilities:
        """Return the probabilities (C,) of the samples that are due."""
        ...


class _FrameModel:
    """Computes frames that windows share once."""

    def __init__(self, runner: FrameRunner) -> None:
        self._runner, self._mel = runner, IncrementalMel(runner.frontend)
        self.grid = runner.frontend.hop

    def infer(self, ring: RingBuffer, due: WindowDue) -> Probabilities:
        power = self._mel.window(ring, due.start, due.end)
        return check_finite(self._runner.predict_power(power[None])[0])


class _WaveformModel:
    """Passes whole windows to a model that has its front end inside."""

    def __init__(self, runner: Runner) -> None:
        self._runner, self.grid = runner, window_grid(runner.spec)

    def infer(self, ring: RingBuffer, due: WindowDue) -> Probabilities:
        window = center_window(ring.get(due.start, due.end), self._runner.spec.window, self.grid)
        return check_finite(self._runner.predict(window[None])[0])


def window_model(runner: Runner | FrameRunner) -> WindowModel:
    """Wrap a runner for windows of a stream."""
    if hasattr(runner, "frontend"):
        return _FrameModel(cast("FrameRunner", runner))
    return _WaveformModel(runner)


def check_finite(probabilities: Probabilities) -> Probabilities:
    """Return probabilities as they are.

    Raises:
        AudioError: they are not finite numbers.
    """
    if not np.isfinite(probabilities).all():
        raise AudioError("the model gave probabilities that are not finite numbers")
    return probabilities
