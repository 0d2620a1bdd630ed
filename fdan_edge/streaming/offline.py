"""The events of a whole recording, computed from whole windows, by the batch.

A live stream's ring buffer, shared frames and blocks are not used, so each proves the other. Imports no torch.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import cast

import numpy as np

from fdan_edge.audio.high_pass import filtered
from fdan_edge.audio.windows import Waveform
from fdan_edge.runtime.log_mel import FrameRunner
from fdan_edge.runtime.runner import Probabilities, Runner
from fdan_edge.streaming.events import Ended, Event
from fdan_edge.streaming.incremental_mel import WholeWindowRunner
from fdan_edge.streaming.label_tracker import LabelTracker
from fdan_edge.streaming.session import center_window, check_finite, events_from_marks, window_model
from fdan_edge.streaming.settings import StreamSettings
from fdan_edge.streaming.speech_turns import TurnDetector, WindowDue
from fdan_edge.streaming.unknown_threshold import unknown_threshold
from fdan_edge.streaming.vad import open_vad

_BATCH = 16


def recording_events(
    runner: Runner | FrameRunner, waveform: Waveform, settings: StreamSettings | None = None
) -> list[Event]:
    """Return the events of a recording (n,) at the model's rate, not yet filtered.

    Raises:
        ConfigError, MissingDependencyError: as `Stream`.
        AudioError: the model gave no finite numbers.
    """
    settings, spec = settings or StreamSettings(), runner.spec
    waveform = filtered(waveform, spec.high_pass, spec.sample_rate)
    grid = window_model(runner).grid
    turns = TurnDetector(spec.sample_rate, spec.window, grid, settings, open_vad(settings.vad, spec.sample_rate))
    threshold = unknown_threshold(spec, settings.unknown_below)
    tracker = LabelTracker(spec.labels, settings, threshold, turns.hop / spec.sample_rate)
    marks = [*turns.process(waveform), *turns.end()]
    due = [mark for mark in marks if isinstance(mark, WindowDue)]
    rows = iter([row for batch in _predict(runner, waveform, due, grid) for row in batch])
    events = list(events_from_marks(marks, tracker, spec.sample_rate, lambda _: next(rows)))
    return [*events, Ended(len(waveform) / spec.sample_rate, "the sound ended")]


def _predict(
    runner: Runner | FrameRunner, waveform: Waveform, due: list[WindowDue], grid: int
) -> Iterator[Probabilities]:
    whole = WholeWindowRunner(cast("FrameRunner", runner)) if hasattr(runner, "frontend") else runner
    for first in range(0, len(due), _BATCH):
        batch = itertools.islice(due, first, first + _BATCH)
        windows = [center_window(waveform[mark.start : mark.end], runner.spec.window, grid) for mark in batch]
        yield check_finite(whole.predict(np.stack(windows)))
