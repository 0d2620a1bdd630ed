"""A live stream: samples in, events out. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from fdan_edge.errors import AudioError
from fdan_edge.runtime.log_mel import FrameRunner
from fdan_edge.runtime.model_spec import ModelSpec
from fdan_edge.runtime.runner import Probabilities, Runner
from fdan_edge.streaming.events import Ended, Event, InputWarning, Lost, Silence, Speech
from fdan_edge.streaming.incremental_mel import IncrementalMel, RingBuffer
from fdan_edge.streaming.intake import BLOCK, Finding, Intake
from fdan_edge.streaming.label_tracker import LabelTracker
from fdan_edge.streaming.settings import StreamSettings
from fdan_edge.streaming.speech_turns import TurnStart, WindowDue, window_grid
from fdan_edge.streaming.unknown_threshold import unknown_threshold


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
        threshold = unknown_threshold(self.spec, settings.unknown_below)
        self.unknown_below = threshold(self.spec.window / self.rate)  # of a full window; higher before that
        self._model = window_model(runner)
        self._intake = Intake(self.spec, self._model.grid, settings)
        self.vad_name = self._intake.vad_name
        self.hop = self._intake.hop / self.rate  # s
        self._tracker = LabelTracker(self.spec.labels, settings, threshold, self.hop)
        reserve = round((settings.pause + settings.min_speech + 1) * self.rate) + 2 * self._model.grid
        self._ring = RingBuffer(self.spec.window + BLOCK + reserve)
        self._ended = False

    @property
    def time(self) -> float:
        """Seconds so far, lost ones included."""
        return self._intake.time

    def push(self, samples: NDArray[np.floating]) -> list[Event]:
        """Process samples (n,) at `rate`, and return the events within them.

        Full scale is 1. Where they are whole numbers of 16 or more bits, a warning says so.

        Raises:
            AudioError: they are not one channel of finite numbers, or no sound has such values.
            ValueError: the stream was finished.
        """
        self._check_open()
        samples = np.asarray(samples)
        if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating) or not np.isfinite(samples).all():
            raise AudioError(
                f"a stream hears one channel of finite floating-point samples, got {samples.dtype} {samples.shape}"
            )
        events: list[Event] = []
        with np.errstate(over="ignore"):  # becomes infinite, which is refused as what is too large
            samples = samples.astype(np.float32, copy=False)
        for block in self._intake(samples):
            if block.factor != 1:
                self._ring.rescale(block.factor)
                self._model.forget()
            self._ring.append(block.samples)
            events += self._events(block.findings)
        return events

    def lost(self, samples: int, reason: str) -> list[Event]:
        """Note that so many samples never came: the speech ends there, and time goes on."""
        self._check_open()
        events = self._events(self._intake.end())
        events.append(Lost(self.time, samples / self.rate, reason))
        self._intake.skip(samples)
        self._ring.skip(samples)
        return events

    def finish(self, reason: str = "the sound ended") -> list[Event]:
        """Note that nothing more comes, and return the last events."""
        self._check_open()
        self._ended = True
        return [*self._events(self._intake.end()), Ended(self.time, reason)]

    def _check_open(self) -> None:
        if self._ended:
            raise ValueError("the stream was finished; begin a new one")

    def _events(self, findings: Iterable[Finding]) -> list[Event]:
        def infer(due: WindowDue) -> Probabilities:
            return self._model.infer(self._ring, due)

        return list(events_from_findings(findings, self._tracker, self.rate, infer))


def center_window(speech: NDArray[np.float32], window: int, grid: int) -> NDArray[np.float32]:
    """Place speech in the middle of a window of zeros, moved by whole frames: (n,) to (window,)."""
    before = (window // grid * grid - len(speech)) // 2 // grid * grid
    return np.pad(speech, (before, window - before - len(speech)))


def events_from_findings(
    findings: Iterable[Finding], tracker: LabelTracker, rate: int, infer: Callable[[WindowDue], Probabilities]
) -> Iterator[Event]:
    """Turn what an `Intake` found into events.

    Args:
        findings: in the order of time.
        tracker: of this stream.
        rate: of the samples, Hz.
        infer: gives the probabilities (C,) of a window.
    """
    for finding in findings:
        if isinstance(finding, TurnStart):
            tracker.begin(finding.at / rate)
            yield Speech(finding.at / rate)
        elif isinstance(finding, WindowDue):
            start, end = finding.start / rate, finding.end / rate
            result, segment = tracker.update(start, end, infer(finding), final=finding.final)
            if segment:
                yield segment
            yield result
        elif isinstance(finding, InputWarning):
            yield finding
        else:
            if segment := tracker.end(finding.at / rate):
                yield segment
            yield Silence(finding.at / rate)


class WindowModel(Protocol):
    """A model that infers the emotion in a stretch of a stream."""

    grid: int  # samples; stretches begin and end on multiples of it

    def infer(self, ring: RingBuffer, due: WindowDue) -> Probabilities:
        """Return the probabilities (C,) of the samples that are due."""
        ...

    def forget(self) -> None:
        """Forget what was computed of the ring: its samples have changed."""
        ...


class _FrameModel:
    """Computes frames that windows share once."""

    def __init__(self, runner: FrameRunner) -> None:
        self._runner, self._mel = runner, IncrementalMel(runner.frontend)
        self.grid = runner.frontend.hop

    def infer(self, ring: RingBuffer, due: WindowDue) -> Probabilities:
        power = self._mel.window(ring, due.start, due.end)
        return check_finite(self._runner.predict_power(power[None])[0])

    def forget(self) -> None:
        self._mel.forget()


class _WaveformModel:
    """Passes whole windows to a model that has its front end inside."""

    def __init__(self, runner: Runner) -> None:
        self._runner, self.grid = runner, window_grid(runner.spec)

    def infer(self, ring: RingBuffer, due: WindowDue) -> Probabilities:
        window = center_window(ring.get(due.start, due.end), self._runner.spec.window, self.grid)
        return check_finite(self._runner.predict(window[None])[0])

    def forget(self) -> None:
        pass


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
